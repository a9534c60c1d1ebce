"""The mask over the lower face: what a dubbing model must not see, and all that it may repaint (paper, Section 3).

T frames, S pixels a side.
"""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.models.dit_head.config import MaskConfig

#: iBUG points: base of the nose from wing to wing, and its tip.
NOSE_BASE, NOSE_TIP = slice(31, 36), 30
#: OpenCV draws in whole pixels; this many more bits keep the points' fractions.
_BITS = 4
#: What stands in the hole, in the models' range of -1 to 1 (black, as DiffTalk).
FILL = -1.0


def frame_mask(clip: Clip, frame: int, config: MaskConfig, *, size: int) -> np.ndarray:
    """bool (S,S): the mask of one frame of a clip, as `mouth_mask` gives it for the whole clip."""
    first = max(0, frame - config.spread)
    around = np.asarray(clip["landmarks"][first : frame + config.spread + 1])
    return mouth_mask(around, size, config)[frame - first]


def mouth_mask(landmarks: np.ndarray, size: int, config: MaskConfig) -> np.ndarray:
    """bool (T,S,S), True where the face is cut out, for a clip's points (T,68,2) in pixels of the S×S frame.

    The polygon runs along the jaw, a little inside it, and back over the base of the nose. The jaw line would tell how
    far the mouth is open, so the polygon is as deep and as wide as it gets, seen from the nose, in the frames around
    (`spread`), and a little deeper (`chin`).
    """
    points = np.asarray(landmarks, np.float64)
    if config.shape == "lower-half":
        rows = np.arange(size)[None, :, None]
        return np.broadcast_to(rows > points[:, NOSE_TIP, 1, None, None], (len(points), size, size)).copy()
    first, last = config.jaw
    centre = points[:, NOSE_BASE].mean(axis=1, keepdims=True)
    away = (1 - config.pull) * (points[:, first : last + 1] - centre)  # from the nose to the jaw
    middle = away.shape[1] // 2
    deepest = _running_max(away[..., 1], config.spread)
    leftmost = -_running_max(-away[:, :middle, 0], config.spread)
    rightmost = _running_max(away[:, middle + 1 :, 0], config.spread)
    across = np.concatenate([leftmost, away[:, middle : middle + 1, 0], rightmost], axis=1)
    # The ends of the line stand still while the jaw moves: what is added grows towards the chin.
    width = np.linalg.norm(points[:, 16] - points[:, 0], axis=-1, keepdims=True)  # no speech in it
    deepest = deepest + config.chin * width * np.sin(np.linspace(0, np.pi, away.shape[1]))
    outline = np.concatenate([centre + np.stack([across, deepest], axis=-1), points[:, NOSE_BASE][:, ::-1]], axis=1)
    return np.stack([_filled(polygon, size) for polygon in outline])


def _filled(polygon: np.ndarray, size: int) -> np.ndarray:
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon * 2**_BITS).astype(np.int32)], 1, shift=_BITS)
    return canvas.astype(bool)


def _running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """The largest of each row and `reach` rows on both sides, along the first axis."""
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0).max(axis=-1)
