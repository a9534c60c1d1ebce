"""Where the mouth is in a clip, for the close-up of the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dawn_bench.errors import InputError

#: Frames that are looked at, spread over the clip.
FRAMES = 5
#: The mouth among the 68 points, and the side of the close-up as a multiple of its width.
MOUTH, MARGIN = slice(48, 68), 1.35


def mouth_box(frames: np.ndarray) -> tuple[float, float, float, float] | None:
    """The close-up of the mouth in frames uint8 (T,H,W,3): left, top, width and height as shares of the frame.

    None where no face is detected, or no detector is installed. The box is the same for the whole clip and holds the
    mouth of every frame that is looked at.
    """
    from dawn_bench.pipelines.faces.base import pick_backend

    try:
        backend = pick_backend("dlib")
    except InputError:
        return None
    points = []
    for k in np.unique(np.linspace(0, len(frames) - 1, FRAMES).astype(int)):
        boxes = backend.detect(frames[k])
        if len(boxes):
            points.append(backend.landmarks(frames[k], boxes[0])[MOUTH])
    return _box(points, frames.shape[1], frames.shape[2])


def _box(points: Sequence[np.ndarray], height: int, width: int) -> tuple[float, float, float, float] | None:
    """A square in pixels around all `points` (n,2), within the frame, as shares of it."""
    known = [p for p in points if np.isfinite(p).all()]
    if not known:
        return None
    every = np.concatenate(known)
    low, high = every.min(0), every.max(0)
    side = min(float(MARGIN * (high - low).max()), float(width), float(height))
    left, top = np.clip((low + high) / 2 - side / 2, 0, [width - side, height - side])
    return tuple(round(float(v), 4) for v in (left / width, top / height, side / width, side / height))  # type: ignore[return-value]
