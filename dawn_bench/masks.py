"""Face and lip masks, computed when needed from the cached box and points; and the reference's variants."""

from __future__ import annotations

import numpy as np

#: iBUG points of the mouth.
MOUTH = slice(48, 68)


def face_mask(bbox: np.ndarray, size: int) -> np.ndarray:
    """bool (T,size,size), or (size,size) for one box: the pixels that a box x0, y0, x1, y1 (T,4) or (4,) touches.

    Boxes are in pixels of the size×size frame; what lies outside it is cut off.
    """
    low = np.floor(bbox[..., :2] + 0.5)[..., None]
    high = np.floor(bbox[..., 2:] + 0.5)[..., None]
    index = np.arange(size)
    inside = (index >= low) & (index <= high)  # (...,2,size): columns, rows
    return inside[..., 1, :, None] & inside[..., 0, None, :]


def lip_mask(landmarks: np.ndarray, size: int, *, frame_size: int | None = None) -> np.ndarray:
    """bool (T,size,size), or (size,size) for one face: the box around the mouth of points (T,68,2) or (68,2).

    The points are in pixels of frames of side `frame_size` (default `size`); another size scales the mask.
    """
    scale = size / (frame_size or size)
    mouth = (np.asarray(landmarks[..., MOUTH, :], np.float64) + 0.5) * scale - 0.5
    return face_mask(np.concatenate([mouth.min(axis=-2), mouth.max(axis=-2)], axis=-1), size)


def reference_face_mask(bbox: np.ndarray, size: int) -> np.ndarray:
    """DAWN's face mask, bool (B,size,size), of boxes x_min, x_max, y_min, y_max, H, W (B,6).

    Columns run from floor(x_min/H·size) to floor(x_max/H·size + 1), both included, and rows likewise with W: H and W
    are swapped in the reference, which shows only for pictures that are not square.
    """
    x_min, x_max, y_min, y_max, height, width = np.asarray(bbox, np.float32).T[..., None]
    scale, index = np.float32(size), np.arange(size)
    columns = (index >= np.floor(x_min / height * scale)) & (index <= np.floor(x_max / height * scale + 1))
    rows = (index >= np.floor(y_min / width * scale)) & (index <= np.floor(y_max / width * scale + 1))
    return rows[:, :, None] & columns[:, None, :]


def reference_lip_mask(mouth: np.ndarray, height: float, width: float, size: int) -> np.ndarray:
    """DAWN's lip mask, bool (T,size,size), of mouth points (T,19,2) (iBUG 48 to 66) in a height×width picture.

    x is divided by the height and y by the width, as in the reference; pixels from min to max, compared as floats.
    """
    scaled = np.asarray(mouth, np.float32) / np.array([height, width], np.float32) * np.float32(size)
    low, high = scaled.min(axis=1)[..., None], scaled.max(axis=1)[..., None]
    inside = (np.arange(size) >= low) & (np.arange(size) <= high)
    return inside[:, 1, :, None] & inside[:, 0, None, :]
