"""Clips cut into pieces, which are clips themselves: what the paper calls the length of one inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip, LazyArrays
from dawn_bench.provenance import fingerprint


def pieces(clips: Sequence[Clip], length: int, *, exact: bool) -> list[Clip]:
    """Consecutive pieces of `length` frames, each starting from its own first true frame, as the released evaluation.

    `exact` leaves out what is shorter; else shorter clips stay whole, and a rest of at least half a piece counts.
    """
    cut: list[Clip] = []
    for clip in clips:
        starts = range(0, clip.n_frames, length)
        for start in starts:
            stop = min(start + length, clip.n_frames)
            whole = start == 0 and stop == clip.n_frames
            if stop - start == length or (not exact and (whole or stop - start >= length / 2)):
                cut.append(clip if whole else piece(clip, start, stop))
    return cut


def piece(clip: Clip, start: int, stop: int) -> Clip:
    """Frames `start` to `stop` of a clip and their sound, under an id that says where it starts."""
    meta = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}
    for field in ("frames", "audio"):
        if f"{field}_sha256" in clip.meta:
            meta[f"{field}_sha256"] = fingerprint([clip.meta[f"{field}_sha256"], start, stop], length=64)
    arrays = _viewed(clip.arrays, lambda array, rate: array[start * rate : stop * rate])
    return Clip(f"{clip.id}_f{start:05d}", clip.speaker, clip.split, stop - start, arrays, clip.fps, meta)


def repeated(clip: Clip, length: int, *, name: str) -> Clip:
    """`length` frames of a clip, called `name`: its first ones, or from its start again where it ends."""
    meta = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}
    arrays = _viewed(clip.arrays, lambda array, rate: np.resize(array, (length * rate, *array.shape[1:])))
    return Clip(name, clip.speaker, clip.split, length, arrays, clip.fps, meta)


def _viewed(arrays: Mapping[str, np.ndarray], view: Callable[[np.ndarray, int], np.ndarray]) -> LazyArrays:
    """`view(array, rows a frame)` of each of another clip's arrays, when it is asked for."""
    return LazyArrays(arrays, lambda name: view(arrays[name], SAMPLES_PER_FRAME if name == "audio" else 1))
