"""Clips cut into pieces, which are clips themselves: what the paper calls the length of one inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
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
    arrays = _Cut(clip.arrays, start, stop)
    return Clip(f"{clip.id}_f{start:05d}", clip.speaker, clip.split, stop - start, arrays, clip.fps, meta)


def repeated(clip: Clip, length: int, *, name: str) -> Clip:
    """`length` frames of a clip, called `name`: its first ones, or from its start again where it ends."""
    meta = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}
    return Clip(name, clip.speaker, clip.split, length, _Repeated(clip.arrays, length), clip.fps, meta)


class _Repeated(Mapping[str, np.ndarray]):
    """Another clip's arrays brought to a length when they are asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], length: int) -> None:
        self._arrays, self._length = arrays, length

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        rate = SAMPLES_PER_FRAME if name == "audio" else 1
        return np.resize(array, (self._length * rate, *array.shape[1:]))

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class _Cut(Mapping[str, np.ndarray]):
    """Views of another clip's arrays, made when they are asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], start: int, stop: int) -> None:
        self._arrays, self._start, self._stop = arrays, start, stop

    def __getitem__(self, name: str) -> np.ndarray:
        rate = SAMPLES_PER_FRAME if name == "audio" else 1
        return self._arrays[name][self._start * rate : self._stop * rate]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
