"""Two kinds of face box: the square one of this package, from the brows to the chin, and the upright one of detectors
trained on WIDER FACE (S3FD, SCRFD), from the hairline to the chin.

Trackers hand the square kind back and forth (`box_around`); networks that were trained on upright boxes get those.
"""

from __future__ import annotations

import numpy as np

#: Side of the square over the root of the upright box's area, how much lower its middle lies, in sides, and height
#: over width of upright boxes: medians of SCRFD against `box_around` over 148 frames of 38 real clips.
_SIDE, _LOWER, _ASPECT = 0.935, 0.07, 1.43


def square_boxes(upright: np.ndarray) -> np.ndarray:
    """Square boxes float32 (n,4), largest first, of upright ones (n,4), x0, y0, x1, y1."""
    boxes = np.asarray(upright, np.float64)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    half = _SIDE * np.sqrt(width * height) / 2
    x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
    y = y + 2 * half * _LOWER
    squares = np.stack([x - half, y - half, x + half, y + half], axis=1).astype(np.float32)
    return squares[np.argsort(-half, kind="stable")]


def upright_box(square: np.ndarray) -> np.ndarray:
    """The upright box float32 (4,) of the usual proportions around the face that a square one (4,) shows."""
    side = float(square[2] - square[0])
    x, y = (np.asarray(square[:2], np.float64) + square[2:]) / 2 - (0, side * _LOWER)
    half_width, half_height = side / _SIDE / 2 * np.sqrt([1 / _ASPECT, _ASPECT])
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height], np.float32)
