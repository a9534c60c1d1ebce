"""Other decoders of video: for data whose frames have been read with one of them, or where one is faster.

PyAV opens the file, counts its pictures and times them. The other decoder gives the pixels. It must agree with PyAV on
the number of pictures and on the pixels of the first one before any are used, and on the time of each one that is read,
as it is read; a file for which it does not is refused with the difference. What these decoders ignore or convert in
another way is refused too: pictures to be turned, pixels that are not square, interlaced, transparent or HDR pictures,
and edit lists that join several parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.decoding import opened, stamps, tick, video_stream
from dawn_bench.pipelines.media.display import AS_STORED, orientation, pixel_aspect
from dawn_bench.pipelines.media.edits import parts_of
from dawn_bench.pipelines.media.picture import Converter, Picture, Window, is_plain, resize
from dawn_bench.registry import Registry

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from dawn_bench.pipelines.media.decoding import Stamp

#: The decoder that is always there.
PYAV = "pyav"
#: Seconds by which two decoders may differ in a time: some round to microseconds or to float32.
_SAME_TIME = 1e-3
#: Where in a library's C++ an error arose, before its message.
_PLACE = re.compile(r"^.*\.(cc|cpp|h):\d+,?:? *")
#: Reason for which a clip is refused.
DIFFERS = "decoder_differs"


class Decoder(Protocol):
    """The pictures of one file by number, in the order shown, uint8 RGB (H,W,3). Asked for in ascending order.

    Any exception of the library is reported as a file that it cannot read.
    """

    @staticmethod
    def missing() -> str | None:
        """What prevents this decoder from running on this machine, as a clause, or None."""

    @staticmethod
    def version() -> str:
        """Version of the library."""

    def __init__(self, path: Path, *, stream: int) -> None:
        """Open the video stream with this index in the file."""

    def count(self) -> int:
        """How many pictures there are."""

    def picture(self, number: int) -> tuple[float, np.ndarray]:
        """The second at which a picture appears, and its pixels."""


#: Decoders by name; one file each in this package.
DECODERS: Registry[type[Decoder]] = Registry(
    "decoder",
    group="dawn_bench.decoder",
    package="dawn_bench.pipelines.media.decoders",
    has=("name", "missing", "count", "picture"),
)


def check_decoder(name: str) -> str:
    """Identifies a decoder other than PyAV for the cache's fingerprint; raises `InputError` where it cannot run."""
    if reason := DECODERS[name].missing():
        raise InputError(f"the decoder {name!r} cannot run: {reason}.", hint="Without it: --decoder pyav")
    return f"{name}-1-{DECODERS[name].version()}"


@dataclass
class PendingFrame:
    """A picture that another decoder has yet to give, and its duration in ticks of the stream; 0 if not stored."""

    read: Callable[[], np.ndarray]
    duration: int


class RgbPicture(Picture):
    """A picture that another decoder has converted to RGB."""

    def __init__(self, rgb: np.ndarray) -> None:
        self._rgb = rgb
        self._area = 0, 0, rgb.shape[1], rgb.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the picture."""
        return self._rgb.nbytes

    def rgb(self) -> np.ndarray:
        """uint8 RGB (H,W,3)."""
        return self._inside(self._rgb)

    def gray(self) -> np.ndarray:
        """Brightness, uint8 (H,W), from 0 to 255."""
        import cv2

        return cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY)

    def cut(self, window: Window, size: int) -> np.ndarray:
        """The window of the picture as uint8 RGB (size,size,3), by area averaging, or linear where it is enlarged."""
        x, y, width, height = window
        return resize(np.ascontiguousarray(self.rgb()[y : y + height, x : x + width]), size, size)


def frames_from(path: Path, decoder: str, first: tuple[Stamp, VideoFrame]) -> Iterator[tuple[Stamp, PendingFrame]]:
    """The frames of a file with PyAV's time stamps and the pixels of `decoder`, which are read when used.

    `first` is PyAV's first frame. Raises `ItemError("decoder_differs")`, and `ItemError("unreadable")` as PyAV does.
    """

    def refused(what: str) -> ItemError:
        return ItemError(DIFFERS, f"{path.name}: {what}: prepare it with --decoder pyav")

    with opened(path) as container:
        stream = video_stream(container, path)
        if unsupported := _unsupported_feature(
            first[1], aspect=pixel_aspect(stream.sample_aspect_ratio, name=path.name) != 1
        ):
            raise refused(f"{decoder} does not show {unsupported} as PyAV does")
        if parts_of(path, stream.id):
            raise refused(f"{decoder} does not read an edit list with several parts as PyAV does")
        unit, number = tick(stream), stream.index
        shown = stamps(container, stream)
    if shown is None:
        raise refused(f"it stores no time stamps by which {decoder} could be checked")
    ours = [float(stamp * unit) for stamp, _ in shown]
    pixels = _open_verified(decoder, path, ours, stream=number, refused=refused)
    _, rgb = pixels(0)
    plain = Picture(first[1], Converter()).rgb()
    if rgb.shape != plain.shape or not np.array_equal(rgb, plain):
        raise refused(f"{decoder} gives the first picture other pixels than PyAV")

    def read(number: int) -> np.ndarray:
        rgb = pixels(number)[1]
        if rgb.shape != plain.shape:
            raise refused(f"{decoder} gives picture {number} another size than the first")
        return rgb

    return ((stamp, PendingFrame(partial(read, k), duration)) for k, (stamp, duration) in enumerate(shown))


def _open_verified(
    decoder: str, path: Path, times: Sequence[float], *, stream: int, refused: Callable[[str], ItemError]
) -> Callable[[int], tuple[float, np.ndarray]]:
    """What reads the pictures of a file, their number and times compared with those of PyAV, `times` in seconds."""
    try:
        reader = DECODERS[decoder](path, stream=stream)
        count = reader.count()
    except Exception as error:  # of a library that raises its own kinds
        raise refused(f"{decoder} cannot read it ({_line(error)})") from error
    if count != len(times):
        raise refused(f"{decoder} reads {count} pictures, PyAV {len(times)}")

    def picture(number: int) -> tuple[float, np.ndarray]:
        try:
            seconds, rgb = reader.picture(number)
        except Exception as error:
            raise refused(f"{decoder} cannot read picture {number} ({_line(error)})") from error
        if abs(seconds - times[number]) > _SAME_TIME:
            raise refused(f"{decoder} shows picture {number} at {seconds:.3f} s, PyAV at {times[number]:.3f} s")
        return seconds, rgb

    return picture


def _unsupported_feature(frame: VideoFrame, *, aspect: bool) -> str | None:
    """What other decoders do not show as PyAV does, None for a plain picture."""
    if (orientation(frame) or AS_STORED) != AS_STORED:
        return "a picture that is stored turned"
    if aspect:
        return "pixels that are not square"
    return None if is_plain(frame) else "interlaced, transparent or HDR pictures"


def _line(error: Exception) -> str:
    """The message of a library's error on one line, without the place in its own sources."""
    return _PLACE.sub("", (str(error).strip() or type(error).__name__).splitlines()[0])[:150].rstrip(". ")
