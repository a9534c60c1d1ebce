"""A decoded picture, converted only as far as needed.

Face detectors use brightness, which most video stores as a plane of its own, so that reading it costs nothing. Only
the pixels that are kept are converted to RGB, cut out and scaled in one pass of FFmpeg's scaler. So the frames of a
clip are buffered as decoded, at half the bytes of RGB.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.limits import PICTURE_BYTES, check_picture

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

#: x, y, width, height in pixels.
Window = tuple[int, int, int, int]

#: Pixel formats whose first plane is 8-bit brightness, and those with colours at half the resolution on both axes.
_BRIGHT_FIRST = {"gray", "nv12", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
_HALF_COLOUR = {"yuv420p", "yuvj420p"}

#: Formats of picture files that both Pillow, which reads the header, and OpenCV, which decodes, know.
_PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "SUN")


class Converter:
    """Converts the frames of one clip to arrays: reuses its scalers, and knows the size of the first frame."""

    def __init__(self) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._to_rgb: VideoReformatter = VideoReformatter()
        self._to_cut: VideoReformatter = VideoReformatter()
        # colours at full resolution, rounded, with code that gives the same pixels on every processor
        exact = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self._shrink, self._grow = Interpolation.AREA | exact, Interpolation.BILINEAR | exact
        self.size: tuple[int, int] | None = None
        self._last: tuple[VideoFrame, np.ndarray] | None = None
        self._part: VideoFrame | None = None

    def rgb(self, frame: VideoFrame) -> np.ndarray:
        """The whole frame as uint8 RGB (H,W,3) at the first frame's size, upright; converted once."""
        if self._last is not None and self._last[0] is frame:
            return self._last[1]
        assert self.size is not None
        rgb = _scaled(self._to_rgb, frame, *self.size)
        self._last = frame, np.ascontiguousarray(_upright(rgb, frame))
        return self._last[1]

    def cut(self, frame: VideoFrame, window: Window, size: int) -> np.ndarray:
        """uint8 RGB (size,size,3) of a window with even edges of a frame in `_HALF_COLOUR`."""
        import av

        x, y, width, height = window
        if self._part is None or (self._part.width, self._part.height) != (width, height):
            self._part = av.VideoFrame(width, height, frame.format.name)
        part = self._part
        for k, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
            half = 1 if k == 0 else 2
            rows = slice(y // half, (y + height) // half), slice(x // half, (x + width) // half)
            _plane(target)[:] = _upright(_plane(source), frame)[rows]
        part.colorspace, part.color_range = frame.colorspace, frame.color_range
        how = self._shrink if size * size < width * height else self._grow
        return _scaled(self._to_cut, part, size, size, interpolation=how)


class Picture:
    """One picture of a clip, upright, at the size of the clip's first picture; or only an `area` of it.

    `area` is x, y, width, height in pixels of the whole picture.
    """

    def __init__(self, frame: VideoFrame, converter: Converter, *, area: Window | None = None) -> None:
        self._frame, self._converter = frame, converter
        converter.size = converter.size or (frame.width, frame.height)
        width, height = converter.size
        if frame.rotation % 180 == 90:
            width, height = height, width
        self._whole = width, height
        self._area = area or (0, 0, width, height)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self._area[2]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._area[3]

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the decoded picture."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def within(self, area: Window) -> Picture | None:
        """This part of the picture, None if it is not wholly inside the picture."""
        x, y, width, height = area
        if min(x, y) < 0 or min(width, height) < 1 or x + width > self.width or y + height > self.height:
            return None
        return Picture(self._frame, self._converter, area=(x + self._area[0], y + self._area[1], width, height))

    def rgb(self) -> np.ndarray:
        """uint8 RGB (H,W,3)."""
        return self._inside(self._converter.rgb(self._frame))

    def gray(self) -> np.ndarray:
        """Brightness, uint8 (H,W), in the range in which it is stored (often 16 to 235)."""
        if self._has_format(_BRIGHT_FIRST):
            return self._inside(_upright(_plane(self._frame.planes[0]), self._frame))
        import cv2

        return cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY)

    def cut(self, window: Window, size: int) -> np.ndarray:
        """The window of the picture as uint8 RGB (size,size,3), by area averaging, or linear where it is enlarged."""
        x, y, width, height = window[0] + self._area[0], window[1] + self._area[1], *window[2:]
        even = not any(edge % 2 for edge in (x, y, width, height, *self._whole))
        if even and (width, height) != (size, size) and self._has_format(_HALF_COLOUR):
            return self._converter.cut(self._frame, (x, y, width, height), size)
        return resize(self._converter.rgb(self._frame)[y : y + height, x : x + width], size, size)

    def _has_format(self, formats: set[str]) -> bool:
        frame = self._frame
        return frame.format.name in formats and (frame.width, frame.height) == self._converter.size

    def _inside(self, whole: np.ndarray) -> np.ndarray:
        x, y, width, height = self._area
        return whole[y : y + height, x : x + width]


def decode_picture(path: Path) -> np.ndarray | None:
    """A picture file as uint8 RGB (H,W,3), None if it is not a picture. OpenCV's own messages are suppressed.

    The header is read first: raises `ItemError("unreadable")` for a picture beyond the bounds of `limits`, and
    `OSError` for a file that cannot be read.
    """
    import cv2
    from PIL import Image

    if path.stat().st_size > PICTURE_BYTES:
        raise ItemError("unreadable", f"has more than {PICTURE_BYTES >> 30} GB")
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; the bound here is our own
            with Image.open(path, formats=[name for name in _PICTURES if name in Image.OPEN]) as header:
                check_picture(*header.size)
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
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


def resize(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (H,W,3) at another size, by area averaging when it shrinks, linear when it grows."""
    import cv2

    if frame.shape[:2] == (height, width):
        return frame
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _scaled(
    scaler: VideoReformatter, frame: VideoFrame, width: int, height: int, interpolation: int | None = None
) -> np.ndarray:
    """The frame as uint8 RGB (height,width,3); `ItemError("unreadable")` for one that FFmpeg cannot convert."""
    import av

    try:
        scaled = scaler.reformat(frame, width, height, format="rgb24", interpolation=interpolation, threads=1)
        rgb: np.ndarray = scaled.to_ndarray()
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise ItemError("unreadable", f"a {frame.format.name} picture cannot be converted: {error}") from error
    return rgb


def _plane(plane: VideoPlane) -> np.ndarray:
    """A plane as a view (H,W) of its uint8 samples."""
    rows: np.ndarray = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def _upright(stored: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Pixels of a frame, or of one of its planes, rotated for display; a view."""
    return np.rot90(stored, round(frame.rotation / 90)) if frame.rotation else stored
