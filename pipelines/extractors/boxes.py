"""The square crop of 3DDFA_V2 around a face, whose 120 pixels a side are the unit of its scale and translation.

3DDFA_V2 derives the square from a detector's box, DAWN's preparation from that of FaceBoxes. Here the box is estimated
from the 68 landmarks, with factors measured against FaceBoxes.
"""

from __future__ import annotations

import numpy as np

#: Side of the square in 3DDFA's pixels.
SIDE = 120
#: Size of the FaceBoxes box (mean of width and height), and offset (x, y) of its centre from the landmarks' mean, both
#: in units of the landmarks' spread: medians over 180 frames of 36 real clips, which vary by 0.10, 0.13 and 0.08
#: between frames.
_BOX_SIDE, _BOX_SHIFT = 3.0, np.array([0.0, -0.347])
#: 3DDFA_V2's enlargement of the box, and shift downwards in sides of the box.
_ENLARGED, _LOWERED = 1.58, 0.14


def detector_box(landmarks: np.ndarray) -> np.ndarray:
    """Estimate FaceBoxes' boxes float64 (T,4), x0, y0, x1, y1, from landmarks (T,68,2).

    Centre and side follow from the landmarks' mean and spread (root mean square distance from the mean).
    """
    mean = landmarks.astype(np.float64).mean(axis=1)
    spread = np.sqrt(((landmarks - mean[:, None]) ** 2).sum(axis=2).mean(axis=1))[:, None]
    centre = mean + _BOX_SHIFT * spread
    half = _BOX_SIDE * spread / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def square(boxes: np.ndarray, *, whole: bool = True) -> np.ndarray:
    """3DDFA_V2's square crops float64 (T,4) for detector boxes (T,4): enlarged by 1.58, shifted down by 0.14 sides.

    `whole`: the side is rounded down to pixels, as there; without, the square is the same at every resolution.
    """
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    mean = (width + height) / 2
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2 + np.stack([np.zeros_like(mean), _LOWERED * mean], axis=1)
    side = (np.floor(mean * _ENLARGED) if whole else mean * _ENLARGED)[:, None]
    return np.concatenate([centre - side / 2, centre + side / 2], axis=1)


def in_square(points: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Points (T,K,2) of the picture in 3DDFA's coordinates of squares (T,4): float64, 120 pixels a side, y up.

    The inverse of the transform by which 3DDFA_V2 returns to the picture: x0 + (x - 1)·k, y0 + (120 - y)·k.
    """
    corner, scale = squares[:, None, :2], ((squares[:, 2] - squares[:, 0]) / SIDE)[:, None, None]
    right, down = np.moveaxis((np.asarray(points, np.float64) - corner) / scale, -1, 0)
    return np.stack([right + 1, SIDE - down], axis=-1)
