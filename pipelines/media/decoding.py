"""Opens containers and decodes their pictures in order, each with the time at which it appears."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from dawn_bench.clip import FPS
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.containers import DECODER, open_container
from dawn_bench.pipelines.media.edits import Part, parts_of
from dawn_bench.pipelines.media.limits import check_size
from dawn_bench.pipelines.media.wholeness import INDEXED, Tally
from dawn_bench.storage import raise_if_refused

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    #: Ticks of a stream; a fraction where a time stamp was interpolated.
    Stamp = int | Fraction
    #: A frame and the time stamp from which it is on screen.
    Stamped = tuple[Stamp, VideoFrame]


class Timed(Protocol):
    """A frame with its duration in ticks, 0 or None if the file does not store it."""

    @property
    def duration(self) -> int | None: ...


F = TypeVar("F", bound=Timed)

#: FFmpeg decodes text files as animated pictures with these decoders; they are not video.
_TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}
#: Codecs of pictures: a stream of a single one is a cover, though its file may not say so.
_PICTURE_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000"}
#: Frames without a usable time stamp that are held until one has one: twice what a codec may reorder.
_MOST_HELD = 32
#: Ticks for a picture from which on its length counts as rounded.
_COARSE = 8
#: Formats with an index and a time stamp on every packet. In others a picture after a seek may get another's time (AVI,
#: program streams), or there is none after the last key frame (transport streams, FLV).
_SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
#: AVI stores no time stamps.
_WITHOUT_STAMPS = "avi"


@contextmanager
def opened(path: Path | str, *, part: Part | None = None) -> Iterator[InputContainer]:
    """A container open for reading, with all of its edit list or one `part`.

    Errors of FFmpeg inside the block become `ItemError("unreadable", ...)`.
    """
    import av

    path = Path(path)
    try:
        with open_container(path, part=part) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
        if isinstance(error, ItemError | InputError):
            raise
        raise_if_refused(error)
        reason = "is empty" if path.is_file() and not path.stat().st_size else (getattr(error, "strerror", "") or error)
        if isinstance(error, MemoryError):
            reason = "needs more memory than there is"
        raise ItemError("unreadable", f"{path.name}: {reason}") from error


def video_stream(container: InputContainer, path: Path | str) -> VideoStream:
    """The video stream that a player shows, set to decode on one thread: the one marked as default, else the first.

    Cover pictures and text are none; one picture that is not marked as a cover is taken only where nothing moves.
    Raises `ItemError("unreadable")` when there is none, or when its pictures are too large.
    """
    streams = [s for s in container.streams.video if s.codec_context is not None and not is_cover(s)]
    streams = [s for s in streams if s.codec_context.name not in _TEXT_CODECS]
    if not streams:
        raise ItemError("unreadable", f"{Path(path).name}: has no video stream")
    stream = min(streams, key=_unsuitable)
    check_size(stream.codec_context.width, stream.codec_context.height, name=Path(path).name)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = DECODER
    return stream


def is_cover(stream: VideoStream) -> bool:
    """Whether a video stream is marked as a cover picture, which is no video."""
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _unsuitable(stream: VideoStream) -> tuple[bool, bool]:
    """The smallest of these is the stream to show; equals keep their order in the file."""
    from av.stream import Disposition

    still = stream.codec_context.name in _PICTURE_CODECS and stream.frames <= 1
    return still, not stream.disposition & Disposition.default


def first_stamp(path: Path | str) -> float | None:
    """The timestamp, in seconds, of the first picture of a file; None for a file without pictures."""
    with opened(path) as container:
        if all(map(is_cover, container.streams.video)):
            return None
        stream = video_stream(container, path)
        return float(next(pictures(container, stream, path))[0] * tick(stream))


def tick(stream: VideoStream) -> Fraction:
    """The stream's unit of time in seconds."""
    return stream.time_base or Fraction(1, 1_000_000)


def pictures(container: InputContainer, stream: VideoStream, path: Path | str) -> Iterator[Stamped]:
    """The frames of `decoded`; of an edit list with several parts, those of each part at its time.

    Raises `ItemError("unreadable")` as that does.
    """
    parts = parts_of(Path(path), stream.id) if INDEXED in container.format.name else ()
    return _joined(Path(path), stream.index, parts) if parts else decoded(container, stream)


def _joined(path: Path, index: int, parts: Iterable[Part]) -> Iterator[Stamped]:
    frames = 0
    for part in parts:
        with opened(path, part=part) as container:
            stream = cast("VideoStream", container.streams[index])
            stream.codec_context.thread_count = 1
            stream.codec_context.options = DECODER
            unit = tick(stream)
            for stamp, frame in decoded(container, stream, least=0):
                if stamp * unit < part.length:
                    frames += 1
                    yield part.begin / unit + stamp, frame
    if not frames:
        raise ItemError("unreadable", f"{path.name}: its edit list shows no frame")


def is_seekable(container: InputContainer) -> bool:
    """Whether every picture is the same after a seek as when all are decoded from the first."""
    return container.format.name in _SEEKABLE


def decoded_from(container: InputContainer, stream: VideoStream, origin: Stamp, begin: int) -> Iterator[Stamped]:
    """The frames from the one on screen `begin` ticks after `origin`, or from an earlier one, if `is_seekable`."""
    container.seek(int(origin + begin), stream=stream)
    frames = decoded(container, stream, whole=False, least=0)
    landed = next(frames, None)
    if landed is None or landed[0] - origin > begin:  # the index is wrong: decode from the start
        container.seek(int(origin), stream=stream)
        return decoded(container, stream, whole=False)
    return chain([landed], frames)


def on_screen(frames: Iterable[tuple[Stamp, F]], gap: Stamp, *, trusted: bool) -> Iterator[tuple[F, Stamp, bool]]:
    """Each frame with the tick until which it is on screen, that of the next frame, and whether it is the last.

    The last frame stays for its own duration if that can be `trusted`, else for as long as the one before it, less one
    tick, by which rounding may have lengthened that. A file whose ticks are about as long as pictures rounds nothing.
    """
    previous: tuple[Stamp, F] | None = None
    for stamp, frame in frames:
        if previous is not None:
            gap = stamp - previous[0]
            yield previous[1], stamp, False
        previous = stamp, frame
    if previous is not None:
        stamp, frame = previous
        if trusted and (duration := frame.duration or 0) > 0:
            gap = duration
        else:
            gap -= 1 if gap > _COARSE else gap / Fraction(_COARSE)
        yield frame, stamp + gap, True


def decoded(container: InputContainer, stream: VideoStream, *, whole: bool = True, least: int = 1) -> Iterator[Stamped]:
    """Decoded frames in the order of their timestamps, at `least` so many (0 or 1).

    `whole`: raise `ItemError("unreadable")` if the file ends earlier than its index or header states.
    """
    import av

    name = Path(container.name).name
    step = 1 / Fraction(stream.average_rate or FPS) / tick(stream)
    stamper, tally = _Stamper(step, name), Tally(container, stream, name=name)
    in_order, shown = _InOrder() if container.format.name == _WITHOUT_STAMPS else None, 0
    sound = [] if stream.frames or not whole else list(container.streams.audio)
    for packet in container.demux(stream, *sound):
        if not tally.add(packet) or packet.stream is not stream:
            continue
        if in_order is not None:
            in_order.add(packet)
        for frame in packet.decode():
            assert isinstance(frame, av.VideoFrame)
            shown += 1
            yield from stamper.add(frame.pts if in_order is None else in_order.next(), frame)
    yield from stamper.rest()
    if whole:
        tally.check(shown, float(step * tick(stream)))
    if stamper.last is None and least:
        raise ItemError("unreadable", f"{name}: no frame can be decoded")


def stamps(container: InputContainer, stream: VideoStream) -> list[tuple[int, int]] | None:
    """Time stamp and duration, 0 if not stored, of every picture that is shown, in order, without decoding any.

    None for a file that stores no time stamps. Raises `ItemError("unreadable")` for a file that is cut off.
    """
    if container.format.name == _WITHOUT_STAMPS:
        return None
    tally = Tally(container, stream, name=Path(container.name).name)
    sound = [] if stream.frames else list(container.streams.audio)
    shown = list[tuple[int, int]]()
    for packet in container.demux(stream, *sound):
        if not tally.add(packet) or packet.stream is not stream or not packet.size or packet.is_discard:
            continue
        if packet.pts is None:
            return None
        shown.append((packet.pts, packet.duration or 0))
    tally.check(len(shown), float(1 / Fraction(stream.average_rate or FPS)))
    return sorted(shown)


class _InOrder:
    """Time stamps for AVI, which stores none: each picture shown takes the place of the next packet that is no gap.

    FFmpeg gives a picture the place of the packet after which it was decoded: later than its own with B-frames.
    """

    def __init__(self) -> None:
        self.places: deque[int] = deque()

    def add(self, packet: Packet) -> None:
        if packet.size and packet.dts is not None:
            self.places.append(packet.dts)

    def next(self) -> int | None:
        return self.places.popleft() if self.places else None


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
