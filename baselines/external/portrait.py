"""The portrait that an external method gets: cut from the source video, at the size that the method works at.

A cache holds frames of one size, often 128 px. Enlarged to the 512 px of other methods they are blurred, and a method
would be scored for that blur. So the portrait is cut from the source video again, by the cache's own crop; the cached
frame is enlarged only where the video is not there any more, and the score's row says which.

Sound needs nothing of the kind: the bundled methods hear 16 kHz mono, which is what a cache holds and what is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.preparation.source_frame import source_frame, source_hash

#: The fact on an output that says where its portrait is from.
PORTRAIT = "portrait"


@dataclass(frozen=True)
class MethodPortrait:
    """uint8 RGB (S,S,3), where it is from for the reader of a score, and whether that is the source video."""

    picture: np.ndarray
    note: str
    from_source: bool = False


def portrait_key(clip: Clip, size: int | None) -> str:
    """Identifies the source video that a portrait of `size` px is best cut from; empty where the cached frame is it.

    None is the size of the cached frames.
    """
    own = clip["frames"].shape[1]
    known = source_hash(clip)
    return f"portrait/1/{known}" if known and size not in (None, own) else ""


def portrait_of(clip: Clip, size: int | None) -> MethodPortrait:
    """The first frame of a clip at `size` px: from the source video, else the cached frame at that size."""
    cached = np.asarray(clip["frames"][0])
    own = cached.shape[0]
    side = size or own
    if side == own:
        return MethodPortrait(cached, f"portraits are cached frames of {own} px")
    try:
        return MethodPortrait(source_frame(clip, size=side), f"portraits cut from the source videos at {side} px", True)
    except ItemError as error:
        verb = "enlarged" if side > own else "reduced"
        note = f"portraits are cached frames of {own} px, {verb} to {side} px: {error.detail}"
    how = cv2.INTER_AREA if side < own else cv2.INTER_CUBIC
    return MethodPortrait(cv2.resize(cached, (side, side), interpolation=how), note)
