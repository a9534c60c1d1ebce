"""Faces in frames where the detector sees none: moved faster than the tracker expects, or found by a second search.

Landmark regressors place 68 points on anything, also on background, so the points of a second search are verified.
The measurements behind the thresholds are in docs/design/faces.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from dawn_bench.pipelines.faces.base import FaceBackend, box_around, extended, overlap

#: A face moves at most this many sides of its box between two detections, plus this many for each frame it was missed.
_REACH, _REACH_MISSED = 1.0, 0.2
#: Smallest and largest ratio of the sides of one face's boxes before and after such a move.
_RATIO = 0.65, 1.55
#: Largest mean distance between the landmarks of two passes, in face sides.
_SCATTER = 0.08
#: Least overlap (IoU) of the detected box and the box around its landmarks.
_OVERLAP = 0.5
#: The part of a face's box that must be inside the picture: x from, x to, y from, y to; it holds nose and mouth.
_INNER = 0.35, 0.65, 0.5, 0.85
#: Least correlation of a face's thumbnail with the latest one of its track, and side of the thumbnails in pixels.
_LIKENESS, _SIDE = 0.4, 24


def moved(box: np.ndarray, others: Iterable[np.ndarray], *, missed: int) -> int | None:
    """Index of the box in `others` that a face in `box` may have moved to, the nearest one; None if there is none."""
    side, middle = float(box[2] - box[0]), (box[:2] + box[2:]) / 2
    best, least = None, _REACH + _REACH_MISSED * missed
    for i, other in enumerate(others):
        distance = float(np.linalg.norm((other[:2] + other[2:]) / 2 - middle)) / side
        if distance <= least and _RATIO[0] <= float(other[2] - other[0]) / side <= _RATIO[1]:
            best, least = i, distance
    return best


def verified_points(
    backend: FaceBackend, frame: np.ndarray, box: np.ndarray, *, thumbnail: np.ndarray | None
) -> np.ndarray | None:
    """The landmarks (68,2) of the face in `box`; None where they are not plausible.

    They are where mouth and nose are in the picture, two passes of landmarks agree and lie in the box, and the face in
    them looks like the `thumbnail` of its track, if there is one.
    """
    side = float(box[2] - box[0])
    inner = np.array(
        [box[0] + _INNER[0] * side, box[1] + _INNER[2] * side, box[0] + _INNER[1] * side, box[1] + _INNER[3] * side]
    )
    if not _inside(inner.reshape(2, 2), frame):
        return None
    first = backend.landmarks(frame, box)
    if np.isnan(first[0, 0]):
        return None
    points = backend.landmarks(frame, box_around(first))
    around = box_around(points)
    scatter = float(np.linalg.norm(points - first, axis=1).mean())
    if not scatter <= _SCATTER * side or overlap(around, box) < _OVERLAP:
        return None
    if thumbnail is not None and likeness(thumbnail_of(frame, around), thumbnail) < _LIKENESS:
        return None
    return points if _inside(points[48:].mean(axis=0), frame) else None


def thumbnail_of(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The picture in a face's box in gray, float32 (24,24) of mean 0 and norm 1 (or 0 where it is flat)."""
    first = np.floor(box[:2]).astype(int)
    part = extended(frame, first, np.maximum(np.ceil(box[2:]).astype(int), first + 2))
    small = cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    gray = (small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)).astype(np.float32)
    gray -= gray.mean()
    return gray / max(float(np.linalg.norm(gray)), _SIDE)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two thumbnails, -1 to 1."""
    return float(np.vdot(a, b))


def _inside(points: np.ndarray, frame: np.ndarray) -> bool:
    """Whether points (...,2) lie in the picture."""
    return bool((points >= 0).all() and (points <= (frame.shape[1], frame.shape[0])).all())
