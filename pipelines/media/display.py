"""How the stored pixels of a video frame are displayed: orientation, shape of a pixel, fields, and transparency."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dawn_bench.errors import ItemError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    #: Whether rows and columns are exchanged, and then whether columns (left to right) and rows are reversed.
    Orientation = tuple[bool, bool, bool]

#: The orientation of most files.
AS_STORED = False, False, False
#: What shows through transparent parts of pictures and videos: white, as on a page.
BACKGROUND = 255
#: Pixels that differ from squares by less than this share are rounding errors of a scaler, and stay as they are.
_SQUARE = Fraction(1, 100)
#: The widest and, inverted, the narrowest pixel that is plausible. Anamorphic formats reach 2.
_WIDEST = 4
#: Grey levels by which a row must lie outside the rows around it to be called combed.
_COMBED = 10


def orientation(frame: VideoFrame) -> Orientation | None:
    """One of the eight orientations, from the frame's display matrix; None where it has none.

    Other angles are rounded to quarter turns. Files state the matrix for every frame; messages of an encoder state it
    for the frame that begins a sequence, and hold for the frames after it.

    The matrix (FFmpeg's `display.h`; ISO 14496-12, 8.3.2) maps a stored position (x, y) to (ax + cy, bx + dy), y down.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX") if len(frame.side_data) else None  # asking for it is slow
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def upright(stored: np.ndarray, how: Orientation) -> np.ndarray:
    """The pixels (H,W,...) of a frame, or of one of its planes, as displayed; a view."""
    transposed, leftwards, upwards = how
    if transposed:
        stored = stored.swapaxes(0, 1)
    return stored[:: -1 if upwards else 1, :: -1 if leftwards else 1]


def pixel_aspect(stated: Fraction | None, *, name: str) -> Fraction:
    """Width over height of a stored pixel; 1 where it is not stated or nearly so.

    Raises `ItemError("unreadable")` for a shape that no camera has.
    """
    if not stated or stated < 0 or abs(stated - 1) < _SQUARE:
        return Fraction(1)
    if not 1 / Fraction(_WIDEST) <= stated <= _WIDEST:
        raise ItemError("unreadable", f"{name}: its pixels are stated to be {ratio(stated)}, which no player can show")
    return stated


def displayed_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height of a stored picture with square pixels, before it is turned: the height is kept."""
    return max(1, round(width * aspect)), height


def ratio(aspect: Fraction) -> str:
    """As in `16:15`."""
    return f"{aspect.numerator}:{aspect.denominator}"


@cache
def has_alpha(format: str) -> bool:
    """Whether pixels of this format may be transparent; those of a palette may."""
    import av

    return format == "pal8" or any(component.is_alpha for component in av.VideoFormat(format).components)


def on_background(rgba: np.ndarray) -> np.ndarray:
    """uint8 RGB (H,W,3) of uint8 RGBA (H,W,4) with straight alpha, on `BACKGROUND`."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(colour)
    share = alpha.astype(np.uint32)
    return ((colour * share + BACKGROUND * (255 - share) + 127) // 255).astype(np.uint8)


def one_field(rgb: np.ndarray) -> np.ndarray:
    """The picture (H,W,3), uint8 or uint16, of two fields as one moment, that of the upper field.

    A row of the lower field is replaced by the mean of the rows around it where it is brighter or darker than both, as
    where something moved between the fields. So what stands still keeps its resolution.
    """
    import cv2

    if len(rgb) < 3:
        return rgb
    above = rgb[0:-1:2]
    rows = rgb[1::2]
    below = np.concatenate([rgb[2::2], rgb[-2:-1]])[: len(rows)]
    too_bright = cv2.subtract(rows, cv2.max(above, below))
    too_dark = cv2.subtract(cv2.min(above, below), rows)
    combed = (cv2.max(too_bright, too_dark) > _COMBED * np.iinfo(rgb.dtype).max // 255).any(axis=2, keepdims=True)
    whole = rgb.copy()
    whole[1::2] = np.where(combed, cv2.addWeighted(above, 0.5, below, 0.5, 0), rows)
    return whole
