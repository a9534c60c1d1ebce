"""A decoded picture, converted only as far as needed.

Face detectors use brightness, which most video stores as a plane of its own, so that reading it costs nothing. Only
the pixels that are kept are converted to RGB, cut out and scaled in one pass of FFmpeg's scaler. So the frames of a
clip are buffered as decoded, at half the bytes of RGB.
"""

from __future__ import annotations

import struct
import warnings
from copy import copy
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.colours import BT601, HDR, NO_MATRIX, is_yuv, tone_mapped
from dawn_bench.pipelines.media.display import (
    AS_STORED,
    displayed_size,
    has_alpha,
    on_background,
    one_field,
    orientation,
    upright,
)
from dawn_bench.pipelines.media.limits import PICTURE_BYTES, check_picture
from dawn_bench.pipelines.media.profiles import in_srgb

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter
    from PIL.Image import Image

    from dawn_bench.pipelines.media.display import Orientation

#: x, y, width, height in pixels.
Window = tuple[int, int, int, int]

#: Pixel formats whose first plane is 8-bit brightness, and those with colours at half the resolution on both axes.
_BRIGHT_FIRST = {"gray", "nv12", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
#: Those whose first plane is brightness in 16 bits, and the bits that 8 do not keep.
_DEEP = {"yuv420p10le": 2, "yuv422p10le": 2, "yuv444p10le": 2, "yuv420p12le": 4, "yuv422p12le": 4, "p010le": 8}
_HALF_COLOUR = {"yuv420p", "yuvj420p"}

#: Formats of picture files that both Pillow, which reads the header, and OpenCV, which decodes, know.
_PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "SUN")


#: Pillow's modes with transparency.
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


class Converter:
    """Converts the frames of one clip to arrays: reuses its scalers, and knows the size of the first frame.

    `aspect` is the width of a stored pixel over its height, `orientation` that of frames until one states another.
    """

    def __init__(self, aspect: Fraction = Fraction(1), orientation: Orientation = AS_STORED) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._to_rgb: VideoReformatter = VideoReformatter()
        self._to_cut: VideoReformatter = VideoReformatter()
        # colours at full resolution, rounded, with code that gives the same pixels on every processor
        exact = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self._shrink, self._grow = Interpolation.AREA | exact, Interpolation.BILINEAR | exact
        self.aspect, self.orientation = aspect, orientation
        #: with square pixels, but before it is turned
        self.size: tuple[int, int] | None = None
        self._last: tuple[VideoFrame, np.ndarray] | None = None
        self._part: VideoFrame | None = None

    def rgb(self, frame: VideoFrame, how: Orientation) -> np.ndarray:
        """The whole frame as uint8 RGB (H,W,3) at the first frame's size, upright."""
        return shown(self.signal(frame, how), frame)

    def signal(self, frame: VideoFrame, how: Orientation) -> np.ndarray:
        """What `shown` makes `rgb`; converted once."""
        if self._last is None or self._last[0] is not frame:
            assert self.size is not None
            plain = is_plain(frame)
            stored = _scaled(self._to_rgb, frame, *self.size) if plain else resize(self._special(frame), *self.size)
            self._last = frame, np.ascontiguousarray(upright(stored, how))
        return self._last[1]

    def _special(self, frame: VideoFrame) -> np.ndarray:
        """RGB (H,W,3), as stored, of a frame that is not `is_plain`: uint8, or uint16 for `shown`."""
        width, height = frame.width, frame.height
        if frame.color_trc in HDR:
            rgb = _scaled(self._to_rgb, frame, width, height, format="rgb48le")
        elif has_alpha(frame.format.name):
            rgb = on_background(_scaled(self._to_rgb, frame, width, height, format="rgba"))
        else:
            rgb = _scaled(self._to_rgb, frame, width, height)
        return one_field(rgb) if frame.interlaced_frame else rgb

    def cut(self, frame: VideoFrame, how: Orientation, window: Window, size: int) -> np.ndarray:
        """uint8 RGB (size,size,3) of a window with even edges of a frame in `_HALF_COLOUR`."""
        import av

        x, y, width, height = window
        if self._part is None or (self._part.width, self._part.height) != (width, height):
            self._part = av.VideoFrame(width, height, frame.format.name)
        part = self._part
        for k, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
            half = 1 if k == 0 else 2
            rows = slice(y // half, (y + height) // half), slice(x // half, (x + width) // half)
            _plane(target)[:] = upright(_plane(source), how)[rows]
        part.colorspace, part.color_range = frame.colorspace, frame.color_range
        method = self._shrink if size * size < width * height else self._grow
        return _scaled(self._to_cut, part, size, size, interpolation=method)


def shown(signal: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """uint8 RGB of a frame's pixels or some of them, which are uint16 where they are to be tone-mapped."""
    if signal.dtype == np.uint8:
        return signal
    return tone_mapped(signal, transfer=frame.color_trc, primaries=frame.color_primaries)


def is_plain(frame: VideoFrame) -> bool:
    """Whether FFmpeg's scaler alone gives the frame's colours."""
    return not (frame.color_trc in HDR or frame.interlaced_frame or has_alpha(frame.format.name))


class Picture:
    """One picture of a clip, upright, at the size of the clip's first picture; or only an area of it.

    The pictures of a clip are made in order, because some state no orientation of their own.
    """

    def __init__(self, frame: VideoFrame, converter: Converter) -> None:
        self._frame, self._converter = frame, converter
        converter.size = converter.size or displayed_size(frame.width, frame.height, converter.aspect)
        converter.orientation = self._orientation = orientation(frame) or converter.orientation
        width, height = converter.size
        if self._orientation[0]:
            width, height = height, width
        self._whole = width, height
        self._area = 0, 0, width, height  # x, y, width, height in pixels of the whole picture

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self._area[2]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._area[3]

    @property
    def stamp(self) -> int | None:
        """The time stamp of its frame as the file states it, in ticks of the stream."""
        return self._frame.pts

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the decoded picture."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def within(self, area: Window) -> Picture | None:
        """This part of the picture, None if it is not wholly inside the picture."""
        x, y, width, height = area
        if min(x, y) < 0 or min(width, height) < 1 or x + width > self.width or y + height > self.height:
            return None
        part = copy(self)
        part._area = x + self._area[0], y + self._area[1], width, height
        return part

    def rgb(self) -> np.ndarray:
        """uint8 RGB (H,W,3)."""
        return self._inside(self._converter.rgb(self._frame, self._orientation))

    def gray(self) -> np.ndarray:
        """Brightness, uint8 (H,W), in the range in which it is stored (often 16 to 235)."""
        if self._has_format(_BRIGHT_FIRST):
            return self._inside(upright(_plane(self._frame.planes[0]), self._orientation))
        if (shift := _DEEP.get(self._frame.format.name)) and self._is_whole() and not self._frame.interlaced_frame:
            bright = self._inside(upright(_plane(self._frame.planes[0], np.uint16), self._orientation))
            return (bright >> shift).astype(np.uint8)
        import cv2

        return cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY)

    def cut(self, window: Window, size: int) -> np.ndarray:
        """The window of the picture as uint8 RGB (size,size,3), by area averaging, or linear where it is enlarged."""
        x, y, width, height = window[0] + self._area[0], window[1] + self._area[1], *window[2:]
        even = not any(edge % 2 for edge in (x, y, width, height, *self._whole))
        if even and (width, height) != (size, size) and self._has_format(_HALF_COLOUR):
            return self._converter.cut(self._frame, self._orientation, (x, y, width, height), size)
        signal = self._converter.signal(self._frame, self._orientation)[y : y + height, x : x + width]
        return shown(resize(signal, size, size), self._frame)

    def _has_format(self, formats: set[str]) -> bool:
        return self._frame.format.name in formats and self._is_whole() and is_plain(self._frame)

    def _is_whole(self) -> bool:
        """Whether the frame's pixels are square and its size that of the first one."""
        return (self._frame.width, self._frame.height) == self._converter.size

    def _inside(self, whole: np.ndarray) -> np.ndarray:
        x, y, width, height = self._area
        return whole[y : y + height, x : x + width]


def decode_picture(path: Path) -> np.ndarray | None:
    """A picture file as uint8 RGB (H,W,3), None if it is not a picture. OpenCV's own messages are suppressed.

    It is in sRGB, turned as its orientation tag says, and what is transparent lies on `BACKGROUND`. The header is read
    first: raises `ItemError("unreadable")` for a picture beyond the bounds of `limits`, and `OSError` for a file that
    cannot be read.
    """
    import cv2
    from PIL import Image, ImageOps

    if path.stat().st_size > PICTURE_BYTES:
        raise ItemError("unreadable", f"has more than {PICTURE_BYTES >> 30} GB")
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; the bound here is our own
            with Image.open(path, formats=[name for name in _PICTURES if name in Image.OPEN]) as header:
                check_picture(*header.size)
                profile = header.info.get("icc_profile")
                if _needs_pillow(header):
                    rgba = np.asarray(ImageOps.exif_transpose(header).convert("RGBA"))
                    return on_background(np.dstack([in_srgb(rgba[..., :3], profile), rgba[..., 3]]))
    except Image.DecompressionBombError as error:
        raise ItemError("unreadable", f"is too large a picture ({error})") from error
    except (ValueError, SyntaxError, TypeError, struct.error):
        return None
    except OSError as error:
        if error.errno is not None:
            raise
        return None  # not a picture, or cut off within its header
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if picture is not None:
        check_picture(picture.shape[1], picture.shape[0])
    return None if picture is None else in_srgb(np.ascontiguousarray(picture[..., ::-1]), profile)


def _needs_pillow(picture: Image) -> bool:
    """Whether OpenCV reads a picture file wrong: it ignores transparency, and the orientation of AVIF."""
    if picture.format == "AVIF":
        return True
    if picture.mode not in _ALPHA and "transparency" not in picture.info:
        return False
    return bool(np.asarray(picture.convert("RGBA"))[..., 3].min() < 255)


def resize(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (H,W,3) at another size, by area averaging when it shrinks, linear when it grows."""
    import cv2

    if frame.shape[:2] == (height, width):
        return frame
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _scaled(
    scaler: VideoReformatter,
    frame: VideoFrame,
    width: int,
    height: int,
    *,
    format: str = "rgb24",
    interpolation: int | None = None,
) -> np.ndarray:
    """The frame as RGB (height,width,3 or 4); `ItemError("unreadable")` for one that FFmpeg cannot convert."""
    import av

    # FFmpeg's scaler takes a matrix that is not stated for that of BT.601, but fails or errs for that of RGB
    matrix = BT601 if frame.colorspace in NO_MATRIX and is_yuv(frame.format.name) else None
    try:
        scaled = scaler.reformat(
            frame, width, height, format=format, src_colorspace=matrix, interpolation=interpolation, threads=1
        )
        rgb: np.ndarray = scaled.to_ndarray()
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise ItemError("unreadable", f"a {frame.format.name} picture cannot be converted: {error}") from error
    return rgb


def _plane(plane: VideoPlane, dtype: type[np.uint8 | np.uint16] = np.uint8) -> np.ndarray:
    """A plane as a view (H,W) of its samples."""
    row = plane.line_size // np.dtype(dtype).itemsize
    rows: np.ndarray = np.frombuffer(plane, dtype).reshape(-1, row)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]
