"""The mask over the lower face: hidden from the dubbing model, and the only region it may change (paper, Section 3).

T frames, S image side in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.models.dit_head.config import MaskConfig
from dawn_bench.training.data import finite

#: iBUG points: base of the nose from ala to ala, and its tip.
NOSE_BASE, NOSE_TIP = slice(31, 36), 30
#: Fractional bits of OpenCV's fixed-point pixel coordinates.
_BITS = 4
#: Fill value of the masked region, in the models' range of -1 to 1 (black, as in DiffTalk).
FILL = -1.0


def frame_mask(clip: Clip, frame: int, config: MaskConfig, *, size: int) -> np.ndarray:
    """The mask bool (S,S) of one frame of a clip, equal to that frame of `mouth_mask` over the whole clip."""
    first = max(0, frame - config.spread)
    around = finite(clip, "landmarks", slice(first, frame + config.spread + 1))
    return mouth_mask(around, size, config)[frame - first]


def mouth_mask(landmarks: np.ndarray, size: int, config: MaskConfig) -> np.ndarray:
    """The mask bool (T,S,S), True in the masked region, for landmarks (T,68,2) in pixels of the S×S frame.

    The polygon follows the jaw, slightly inside it, and returns over the base of the nose. The jaw line would leak the
    mouth opening, so the polygon takes the maximum depth and width, relative to the nose, over the surrounding frames
    (`spread`), and extends slightly further down (`chin`). Raises `ItemError("not_finite")` for landmarks with NaN.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        raise ItemError("not_finite", "the landmarks have values that are not finite")
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
    # The ends of the line do not move with the jaw: the extension grows towards the chin.
    width = np.linalg.norm(points[:, 16] - points[:, 0], axis=-1, keepdims=True)  # not affected by speech
    deepest = deepest + config.chin * width * np.sin(np.linspace(0, np.pi, away.shape[1]))
    outline = np.concatenate([centre + np.stack([across, deepest], axis=-1), points[:, NOSE_BASE][:, ::-1]], axis=1)
    return np.stack([_filled(polygon, size) for polygon in outline])


def _filled(polygon: np.ndarray, size: int) -> np.ndarray:
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon * 2**_BITS).astype(np.int32)], 1, shift=_BITS)
    return canvas.astype(bool)


def _running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """Running maximum along the first axis, over `reach` rows on both sides."""
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0).max(axis=-1)
