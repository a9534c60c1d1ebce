"""Face and lip regions of a clip: boxes and masks from face box and landmarks, and the released code's variants.

Boxes are x0, y0, x1, y1 in pixels of the S×S frame; points are iBUG's 68, x and y in pixels of that frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.lazy import LazyRows

if TYPE_CHECKING:
    import torch

#: iBUG points of the lips, outer and inner.
LIPS = slice(48, 68)


def lip_box(landmarks: np.ndarray) -> np.ndarray:
    """The lip region of points (...,68,2): the box (...,4) around the lips, in the points' own dtype."""
    lips = landmarks[..., LIPS, :]
    return np.concatenate([lips.min(axis=-2), lips.max(axis=-2)], axis=-1)


def face_mask(bbox: np.ndarray, size: int) -> np.ndarray:
    """bool (T,size,size), or (size,size) for one box: the pixels that a box (T,4) or (4,) touches.

    Boxes are in pixels of the size×size frame and are clipped to it.
    """
    low = np.floor(bbox[..., :2] + 0.5)[..., None]
    high = np.floor(bbox[..., 2:] + 0.5)[..., None]
    index = np.arange(size)
    inside = (index >= low) & (index <= high)  # (...,2,size): columns, rows
    return inside[..., 1, :, None] & inside[..., 0, None, :]


def lip_mask(landmarks: np.ndarray, size: int, *, frame_size: int | None = None) -> np.ndarray:
    """bool (T,size,size), or (size,size) for one face: the pixels that `lip_box` of points (T,68,2) or (68,2) touches.

    The points are in pixels of frames of side `frame_size` (default `size`); another size scales the mask.
    """
    scale = size / (frame_size or size)
    return face_mask((np.asarray(lip_box(landmarks), np.float64) + 0.5) * scale - 0.5, size)


#: The masks of a clip: the field that each is computed from, and the function, given the frame size. Where a cache does
#: not store them, they are computed when read.
MASKS: Mapping[str, tuple[str, Callable[[np.ndarray, int], np.ndarray]]] = {
    "face_mask": ("bbox", face_mask),
    "lip_mask": ("landmarks", lip_mask),
}


class ClipMask(LazyRows):
    """A mask of a clip, bool (T,S,S), computed for the frames that are read; `name` as in `MASKS`.

    `source` is the field it is computed from: boxes (T,4) or points (T,68,2).
    """

    dtype = np.dtype(np.bool_)

    def __init__(self, name: str, source: np.ndarray, size: int) -> None:
        self.source, self.compute = source, MASKS[name][1]
        self.shape = (len(source), size, size)

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        return self.compute(np.asarray(self.source)[numbers], self.shape[1])


def released_box_mask(
    box: torch.Tensor, size: int, *, height: torch.Tensor | float, width: torch.Tensor | float, swap_axes: bool
) -> torch.Tensor:
    """DAWN's mask of boxes (...,4) in a height×width picture: float32 (...,size,size), 1 inside, ends included.

    DAWN's training and generation use it for both face and lips. It differs from `face_mask`: edges are truncated to
    whole pixels, and one more column and row is included. `swap_axes` scales x by the height and y by the width, as the
    released code does; the difference shows only in images that are not square.

    Args:
        box: x0, y0, x1, y1 in pixels of the picture. (The released code stores x0, x1, y0, y1.)
        size: side of the mask.
        height: of the picture, in pixels: a number, or a tensor (...,) for each box.
        width: likewise.
        swap_axes: `A2VConfig.swap_mask_axes`.
    """
    columns, rows = _released_sides(box, size, height=height, width=width, swap_axes=swap_axes)
    return (rows[..., :, None] & columns[..., None, :]).float()


def released_box_area(
    box: torch.Tensor, size: int, *, height: torch.Tensor | float, width: torch.Tensor | float, swap_axes: bool
) -> torch.Tensor:
    """The number of ones of `released_box_mask` for each box, int64 (...), without the masks."""
    columns, rows = _released_sides(box, size, height=height, width=width, swap_axes=swap_axes)
    return columns.sum(-1) * rows.sum(-1)


def _released_sides(
    box: torch.Tensor, size: int, *, height: torch.Tensor | float, width: torch.Tensor | float, swap_axes: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns and the rows of `released_box_mask`, bool (...,size)."""
    import torch

    scale_x, scale_y = (size / height, size / width) if swap_axes else (size / width, size / height)
    x0, x1 = (box[..., 0] * scale_x).trunc(), (box[..., 2] * scale_x + 1).trunc()
    y0, y1 = (box[..., 1] * scale_y).trunc(), (box[..., 3] * scale_y + 1).trunc()
    line = torch.arange(size, device=box.device)
    columns = (line >= x0[..., None]) & (line <= x1[..., None])
    rows = (line >= y0[..., None]) & (line <= y1[..., None])
    return columns, rows


def released_lip_mask(lips: np.ndarray, height: float, width: float, size: int) -> np.ndarray:
    """The lip mask of DAWN's released training data, bool (T,size,size), of points (T,19,2) in a height×width picture.

    It differs from `lip_mask`: it uses iBUG 48 to 66 only, divides x by the height and y by the width, and compares
    whole pixels with the scaled box as floats.
    """
    scaled = np.asarray(lips, np.float32) / np.array([height, width], np.float32) * np.float32(size)
    low, high = scaled.min(axis=1)[..., None], scaled.max(axis=1)[..., None]
    inside = (np.arange(size) >= low) & (np.arange(size) <= high)
    return inside[:, 1, :, None] & inside[:, 0, None, :]
