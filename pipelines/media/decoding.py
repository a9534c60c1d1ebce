"""Opens containers and decodes their pictures in order, each with the time at which it appears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_bench.clip import FPS
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.containers import DECODER, open_container
from dawn_bench.pipelines.media.limits import check_size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    #: Ticks of a stream; a fraction where a time stamp was interpolated.
    Stamp = int | Fraction
    #: A frame and the time stamp from which it is on screen.
    Stamped = tuple[Stamp, VideoFrame]

#: FFmpeg decodes text files as animated pictures with these decoders; they are not video.
_TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}
#: Frames without a usable time stamp that are held until one has one: twice what a codec may reorder.
_MOST_HELD = 32
#: AVI stores no time stamps. FFmpeg takes the order of decoding for that of display, which B-frames make wrong.
_WITHOUT_STAMPS = "avi"
#: The formats whose index lists every packet: FFmpeg has one name for all relatives of mp4.
_INDEXED = "mp4"


@contextmanager
def opened(path: Path | str) -> Iterator[InputContainer]:
    """A container open for reading; errors of FFmpeg inside the block become `ItemError("unreadable", ...)`."""
    import av

    path = Path(path)
    try:
        with open_container(path) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
        if isinstance(error, ItemError | InputError):
            raise
        reason = "is empty" if path.is_file() and not path.stat().st_size else (getattr(error, "strerror", "") or error)
        if isinstance(error, MemoryError):
            reason = "needs more memory than there is"
        raise ItemError("unreadable", f"{path.name}: {reason}") from error


def video_stream(container: InputContainer, path: Path | str) -> VideoStream:
    """The first video stream that is neither cover art nor text, set to decode on one thread.

    Raises `ItemError("unreadable")` when there is none, or when its pictures are too large.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if (
            stream.disposition & Disposition.attached_pic or stream.codec_context is None
        ):  # None: there is no decoder for it
            continue
        if stream.codec_context.name not in _TEXT_CODECS:
            check_size(stream.codec_context.width, stream.codec_context.height, name=Path(path).name)
            stream.codec_context.thread_count = 1
            stream.codec_context.options = DECODER
            return stream
    raise ItemError("unreadable", f"{Path(path).name}: has no video stream")


def first_stamp(path: Path | str) -> float | None:
    """The timestamp, in seconds, of the first picture of a file; None for a file without pictures."""
    from av.stream import Disposition

    with opened(path) as container:
        if all(s.disposition & Disposition.attached_pic for s in container.streams.video):
            return None
        stream = video_stream(container, path)
        return float(next(decoded(container, stream))[0] * tick(stream))


def tick(stream: VideoStream) -> Fraction:
    """The stream's unit of time in seconds."""
    return stream.time_base or Fraction(1, 1_000_000)


def decoded_from(container: InputContainer, stream: VideoStream, origin: Stamp, begin: int) -> Iterator[Stamped]:
    """The frames from the one on screen `begin` ticks after `origin`, or from an earlier one."""
    container.seek(int(origin + begin), stream=stream)
    frames = decoded(container, stream, whole=False)
    landed = next(frames, None)
    if landed is None or landed[0] - origin > begin:  # the index is wrong: decode from the start
        container.seek(int(origin), stream=stream)
        return decoded(container, stream, whole=False)
    return chain([landed], frames)


def on_screen(frames: Iterable[Stamped], gap: Stamp, *, trusted: bool) -> Iterator[tuple[VideoFrame, Stamp]]:
    """Each frame with the tick until which it is on screen, that of the next frame.

    The last frame stays for its own duration if that can be `trusted`, else for as long as the one before it, less one
    tick, by which rounding may have lengthened that.
    """
    previous: Stamped | None = None
    for stamp, frame in frames:
        if previous is not None:
            gap = stamp - previous[0]
            yield previous[1], stamp
        previous = stamp, frame
    if previous is not None:
        stamp, frame = previous
        yield frame, stamp + (frame.duration if trusted and (frame.duration or 0) > 0 else gap - 1)


def decoded(container: InputContainer, stream: VideoStream, *, whole: bool = True) -> Iterator[Stamped]:
    """Decoded frames in the order of their timestamps, at least one.

    `whole`: raise `ItemError("unreadable")` if the file ends earlier than its index or header states.
    """
    import av

    name = Path(container.name).name
    stamper = _Stamper(1 / Fraction(stream.average_rate or FPS) / tick(stream), name)
    packets, shown, reached = 0, 0, 0.0
    sound = [] if stream.frames else list(container.streams.audio)
    for packet in container.demux(stream, *sound):
        if whole and not stream.frames and packet.pts is not None and packet.time_base is not None:
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not stream:
            continue
        packets += packet.size > 0 and not packet.is_corrupt  # the last packet of a file that is cut off is
        for frame in packet.decode():
            assert isinstance(frame, av.VideoFrame)
            shown += 1
            stamp = frame.pts if container.format.name != _WITHOUT_STAMPS or frame.dts is None else frame.dts
            yield from stamper.add(stamp, frame)
    yield from stamper.rest()
    if stamper.last is None:
        raise ItemError("unreadable", f"{name}: no frame can be decoded")
    if whole and packets < _listed(container, stream):
        raise ItemError("unreadable", f"{name}: is cut off; {shown} of its {_to_show(stream)} frames are there")
    stated = ((container.duration or 0) + (container.start_time or 0)) / av.time_base
    if whole and not stream.frames and stated - reached > max(0.5, 0.1 * stated):
        raise ItemError("unreadable", f"{name}: is cut off; it ends after {reached:.1f} of its {stated:.1f} s")


def _listed(container: InputContainer, stream: VideoStream) -> int:
    """The packets that the container's index lists; 0 where it has none.

    The edit list of an mp4 file leaves out packets that no edit needs: `stream.frames` counts those as well.
    """
    return len(stream.index_entries) if _INDEXED in container.format.name else stream.frames


def _to_show(stream: VideoStream) -> int:
    """The frames that a whole file shows: some packets are only decoded, because the frames after them need them."""
    return sum(not entry.is_discard for entry in stream.index_entries) or stream.frames


class _Stamper:
    """Gives every frame a time stamp later than that of the frame before it, so that no frame is lost.

    Frames arrive in the order of display. One without a stamp, or whose stamp is not later than the last, is held
    until a frame with a later stamp arrives. Held frames are then counted back from it if they are the first of the
    file, and otherwise spread evenly. Where no such frame arrives, they are counted forward at the stream's rate.
    """

    def __init__(self, step: Fraction, name: str) -> None:
        self.step, self.name = step, name
        self.last: Stamp | None = None
        self.queue: list[VideoFrame] = []
        self.backwards = False  # whether a held frame has a stamp

    def add(self, stamp: int | None, frame: VideoFrame) -> Iterator[Stamped]:
        """The frames whose time is now known."""
        if stamp is not None and (self.last is None or stamp > self.last):
            count = len(self.queue)
            step = self.step if self.last is None else (stamp - self.last) / Fraction(count + 1)
            yield from self._out(stamp - (count - k) * step for k in range(count))
            self.last = stamp
            yield stamp, frame
            return
        self.queue.append(frame)
        self.backwards |= stamp is not None
        if len(self.queue) == _MOST_HELD:
            if self.backwards:
                raise ItemError("unreadable", f"{self.name}: its time stamps run backwards")
            yield from self.rest()

    def rest(self) -> Iterator[Stamped]:
        """The frames still held, counted forward."""
        begin = Fraction(0) if self.last is None else self.last + self.step
        yield from self._out(begin + k * self.step for k in range(len(self.queue)))

    def _out(self, stamps: Iterable[Stamp]) -> Iterator[Stamped]:
        queue, self.queue, self.backwards = self.queue, [], False
        for stamp, frame in zip(stamps, queue, strict=True):
            self.last = stamp
            yield stamp, frame
