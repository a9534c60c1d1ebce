"""Clips split into pieces, which are clips themselves: the paper's "length of one inference"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dawn_bench.baselines.base import modality_of
from dawn_bench.clip import PIECE_OF, PIECE_OF_FRAMES, PIECE_START, SAMPLES_PER_FRAME, Clip, LazyArrays
from dawn_bench.errors import InputError
from dawn_bench.lazy import stretch
from dawn_bench.metrics.protocols.base import Remainder, ScoringProtocol
from dawn_bench.provenance import fingerprint

#: Hashes in a clip's `meta` that are of the files that it was made from, and not of its arrays.
_OF_FILES = ("source_sha256", "sound_sha256")


def cut_pieces(clips: Sequence[Clip], protocol: ScoringProtocol) -> list[Clip]:
    """The clips that are generated and scored under a protocol: whole ones, or their pieces.

    Raises `InputError` for pieces of meshes, and where all clips are too short for a piece.
    """
    length = protocol.piece_length
    if length is None or not clips:
        return list(clips)
    if modality_of(clips[0]) == "mesh":
        raise InputError("pieces are cut from videos, and this cache has meshes.", hint="Leave out --piece-length.")
    chosen = pieces_of(clips, length, remainder=protocol.piece_remainder)
    if not chosen:
        longest = max(c.n_frames for c in clips)
        raise InputError(f"no chosen clip has {length} frames (longest: {longest}); prepare longer videos.")
    return chosen


def pieces_of(clips: Sequence[Clip], length: int, *, remainder: Remainder) -> list[Clip]:
    """Consecutive pieces of `length` frames, each generated from its own first true frame, as in the released code.

    `remainder` is that of `ScoringProtocol`.
    """
    chosen: list[Clip] = []
    for clip in clips:
        for start in range(0, clip.n_frames, length):
            stop = min(start + length, clip.n_frames)
            whole = start == 0 and stop == clip.n_frames
            if _is_scored(stop - start, length, remainder, whole=whole):
                chosen.append(clip if whole else cut_piece(clip, start, stop))
    return chosen


def _is_scored(frames: int, length: int, remainder: Remainder, *, whole: bool) -> bool:
    """Whether a part of a clip, or a `whole` clip, of so many frames is scored where a piece has `length` frames."""
    if frames == length or remainder == "drop":
        return frames == length
    return whole or remainder == "keep" or 2 * frames >= length


def cut_piece(clip: Clip, start: int, stop: int) -> Clip:
    """Frames `start` to `stop` (exclusive) of a clip and their sound; the id ends with `_f` and the first frame."""
    meta = _facts(clip) | {PIECE_OF: clip.id, PIECE_OF_FRAMES: clip.n_frames, PIECE_START: start}
    for field in ("frames", "audio"):
        if f"{field}_sha256" in clip.meta:
            meta[f"{field}_sha256"] = fingerprint([clip.meta[f"{field}_sha256"], start, stop], length=64)
    arrays = _viewed(clip.arrays, lambda array, rate: stretch(array, start * rate, stop * rate))
    return replace(clip, id=f"{clip.id}_f{start:05d}", n_frames=stop - start, arrays=arrays, meta=meta)


def repeated(clip: Clip, length: int, *, name: str) -> Clip:
    """`length` frames of a clip under the id `name`: the first frames, or the looped clip where it is shorter."""
    arrays = _viewed(clip.arrays, lambda array, rate: np.resize(array, (length * rate, *array.shape[1:])))
    return replace(clip, id=name, n_frames=length, arrays=arrays, meta=_facts(clip))


def _facts(clip: Clip) -> dict[str, Any]:
    """The facts on a clip without the hashes of its arrays."""
    return {k: v for k, v in clip.meta.items() if not k.endswith("_sha256") or k in _OF_FILES}


def _viewed(arrays: Mapping[str, np.ndarray], view: Callable[[np.ndarray, int], np.ndarray]) -> LazyArrays:
    """Lazy `view(array, rows per frame)` of each array of another clip."""
    return LazyArrays(arrays, lambda name: view(arrays[name], SAMPLES_PER_FRAME if name == "audio" else 1))
