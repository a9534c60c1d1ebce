"""Blinks from eye landmarks.

Canonical implementation: DinoMan/blink-detector, which came with the metric (Vougioukas et al., IJCV 2020): the eye
aspect ratio of both eyes, and a blink wherever it falls sharply.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks

#: iBUG points of each eye: corner, two on the upper lid, other corner, two on the lower lid.
_EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
#: Frames between two blinks, at least.
APART = 4


def openness(landmarks: np.ndarray) -> np.ndarray:
    """Eye aspect ratio, the mean of both eyes: float64 (T,) of iBUG points (T,68,2); about 0.3 open, below 0.2 shut."""
    points = landmarks.astype(np.float64)

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=1)

    eyes = [(distance(b, f) + distance(c, e)) / (2 * distance(a, d)) for a, b, c, d, e, f in _EYES]
    return np.mean(eyes, axis=0)


def closing_edges(ear: np.ndarray, *, edge: float = 0.072) -> np.ndarray:
    """Frames at which an eye falls shut: local peaks of the fall of `ear` (T,) of at least `edge` a frame, 4 apart."""
    return find_peaks(-np.diff(ear), height=edge, distance=APART)[0]


def closures(ear: np.ndarray, *, threshold: float = 0.2, frames: int = 2) -> np.ndarray:
    """First frames of the runs of at least `frames` frames below `threshold`; one still shut at the end is no blink."""
    shut = np.concatenate([[0], ear < threshold, [0]]).astype(np.int8)
    first, after = np.flatnonzero(np.diff(shut) == 1), np.flatnonzero(np.diff(shut) == -1)
    return first[(after - first >= frames) & (after < len(ear))]
