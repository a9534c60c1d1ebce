"""Clips split into segments, which are clips themselves: the paper's "length of one inference"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip, LazyArrays
from dawn_bench.provenance import fingerprint


def segments(clips: Sequence[Clip], length: int, *, exact: bool) -> list[Clip]:
    """Consecutive segments of `length` frames, each generated from its own first true frame, as in the released code.

    `exact` drops everything shorter; else shorter clips stay whole, and a remainder of at least half a segment counts.
    """
    chosen: list[Clip] = []
    for clip in clips:
        starts = range(0, clip.n_frames, length)
        for start in starts:
            stop = min(start + length, clip.n_frames)
            whole = start == 0 and stop == clip.n_frames
            if stop - start == length or (not exact and (whole or stop - start >= length / 2)):
                chosen.append(clip if whole else segment(clip, start, stop))
    return chosen


def segment(clip: Clip, start: int, stop: int) -> Clip:
    """Frames `start` to `stop` (exclusive) of a clip and their sound; the id ends with `_f` and the first frame."""
    meta = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}
    for field in ("frames", "audio"):
        if f"{field}_sha256" in clip.meta:
            meta[f"{field}_sha256"] = fingerprint([clip.meta[f"{field}_sha256"], start, stop], length=64)
    arrays = _viewed(clip.arrays, lambda array, rate: array[start * rate : stop * rate])
    return Clip(
        f"{clip.id}_f{start:05d}",
        clip.speaker,
        clip.split,
        stop - start,
        arrays,
        clip.fps,
        meta,
        extractors=clip.extractors,
    )


def repeated(clip: Clip, length: int, *, name: str) -> Clip:
    """`length` frames of a clip under the id `name`: the first frames, or the looped clip where it is shorter."""
    meta = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}
    arrays = _viewed(clip.arrays, lambda array, rate: np.resize(array, (length * rate, *array.shape[1:])))
    return Clip(name, clip.speaker, clip.split, length, arrays, clip.fps, meta, extractors=clip.extractors)


def _viewed(arrays: Mapping[str, np.ndarray], view: Callable[[np.ndarray, int], np.ndarray]) -> LazyArrays:
    """Lazy `view(array, rows per frame)` of each array of another clip."""
    return LazyArrays(arrays, lambda name: view(arrays[name], SAMPLES_PER_FRAME if name == "audio" else 1))
