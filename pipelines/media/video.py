"""Pictures from video files at an exact rate, and video files from pictures.

Frame k is the one on screen at t = k/fps seconds after the first frame's instant, by the frames' own timestamps, so
variable rates, containers that lie about counts and clips that do not start at zero come out right. PyAV decodes and
encodes: it carries its own FFmpeg with libx264. One reused colour converter on one thread (`picture`) keeps it as fast
as decord, which hides start times and returned other pictures for some FLV and MPEG-1 clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dawn_bench.clip import FPS, SAMPLE_RATE
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.picture import Converter, Picture, resize

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    #: The instant, in ticks of its stream, from which a frame is on screen, and the frame.
    _Stamped = tuple[int, VideoFrame]

#: FFmpeg shows text files as animated pictures through these decoders; for us they are no video.
_TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}
#: Closer than this, decoding from the first frame is cheaper and safer than seeking.
_SEEK_FROM = 10.0
#: x264's macroblock tree reads memory that it has not set for pictures of fewer pixels a side, so that the same input
#: gave other bytes from time to time (seen at 32, 64 and 96, never from 128 on).
_TREE_FROM = 128


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds. Width and height are as shown (after `rotation`, degrees counter-clockwise);
    `fps` is the average rate and `seconds` the length as the container tells it, which may be wrong;
    `start_time` is the first decoded frame's timestamp in seconds."""

    width: int
    height: int
    fps: float
    seconds: float
    start_time: float
    codec: str
    has_audio: bool
    rotation: int


@contextmanager
def opened(path: Path | str) -> Iterator[InputContainer]:
    """A container open for reading; whatever FFmpeg raises inside becomes `ItemError("unreadable", ...)`."""
    import av

    path = Path(path)
    try:
        with av.open(str(path.absolute())) as container:  # absolute: a name such as "-x" or "a:b" is no option or URL
            yield container
    except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
        if isinstance(error, ItemError | InputError):
            raise
        reason = "is empty" if path.is_file() and not path.stat().st_size else (getattr(error, "strerror", "") or error)
        raise ItemError("unreadable", f"{path.name}: {reason}") from error


def probe(path: Path | str) -> VideoInfo:
    """What the file holds, from its header and its first frame; raises `ItemError("unreadable")`."""
    return open_pictures(path)[0]


def iter_frames(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the uint8 RGB (H,W,3) frame on screen at start + k/fps for k = 0, 1, ... before `stop` and the end.

    Seconds count from the first frame's instant. Frames are yielded as they are decoded; the same array may come
    twice where the source is slower. Pixels are as stored (no aspect correction), turned as the file asks.
    Raises `ItemError("unreadable")` for a file that is damaged, cut off, or no video.
    """
    return (picture.rgb() for picture in iter_pictures(path, fps=fps, start=start, stop=stop))


def iter_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> Iterator[Picture]:
    """The same as pictures that are not converted yet; the same one may come twice where the source is slower."""
    yield from open_pictures(path, fps=fps, start=start, stop=stop)[1]


def open_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> tuple[VideoInfo, Iterator[Picture]]:
    """What the file holds, and its pictures as from `iter_pictures`, at the cost of opening it once."""
    reading = _read(path, fps=_exact(fps), start=_exact(start), stop=None if stop is None else _exact(stop))
    info = next(reading)
    assert isinstance(info, VideoInfo)
    return info, cast("Iterator[Picture]", reading)


def _read(path: Path | str, *, fps: Fraction, start: Fraction, stop: Fraction | None) -> Iterator[VideoInfo | Picture]:
    """What the file holds, then its pictures. Time is counted in ticks of the stream, in whole numbers: a picture is on
    screen at an instant exactly where it is at the tick before or at that instant."""
    with opened(path) as container:
        stream = video_stream(container, path)
        tick = _tick(stream)
        decoded = _decoded(container, stream)
        first = next(decoded)
        yield _info(container, stream, first)
        origin = first[0]
        if start >= _SEEK_FROM:
            decoded = _from(container, stream, origin, math.floor(start / tick))
        else:
            decoded = chain([first], decoded)
        limit = math.inf if stop is None else stop / tick
        begin, step = start / tick, 1 / fps / tick
        parts = math.lcm(begin.denominator, step.denominator)
        begin_parts, step_parts = int(begin * parts), int(step * parts)
        shown, due = 0, begin_parts // parts
        converter = Converter()
        usual = math.ceil(1 / Fraction(stream.average_rate or FPS) / tick)
        # only a container with an index writes durations down; others have them guessed from the average rate
        for frame, until in _on_screen(decoded, usual, trusted=stream.frames > 0):
            if due >= until - origin:
                continue
            picture = Picture(frame, converter)
            while due < until - origin:
                if begin_parts + shown * step_parts >= limit * parts:
                    return
                yield picture
                shown += 1
                due = (begin_parts + shown * step_parts) // parts


def _info(container: InputContainer, stream: VideoStream, first: _Stamped) -> VideoInfo:
    begun, frame = first
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6
    turned = frame.rotation % 180 == 90
    return VideoInfo(
        width=frame.height if turned else frame.width,
        height=frame.width if turned else frame.height,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        seconds=seconds,
        start_time=float(begun * _tick(stream)),
        codec=stream.codec_context.name,
        has_audio=bool(container.streams.audio),
        rotation=frame.rotation,
    )


def read_frames(path: Path | str, *, fps: float = FPS, size: int | None = None) -> np.ndarray:
    """All frames, uint8 RGB (T,H,W,3), or (T,size,size,3) by a plain resize. Holds the whole clip: for short clips."""
    frames = iter_frames(path, fps=fps)
    rows = list(frames if size is None else (resize(frame, size, size) for frame in frames))
    if not rows:
        raise ItemError("unreadable", f"{Path(path).name}: is shorter than one frame")
    return np.stack(rows)


def write_video(
    path: Path | str,
    frames: np.ndarray | Iterable[np.ndarray],
    *,
    fps: float = FPS,
    audio: np.ndarray | None = None,
    lossless: bool = False,
    crf: int = 18,
) -> None:
    """Write uint8 RGB frames (T,H,W,3), or an iterable of (H,W,3), as mp4 (H.264), with int16 16 kHz mono sound (AAC).

    The same input gives the same bytes (one encoder thread). `lossless` stores RGB bit-exactly, for computing rather
    than for browsers. The file appears under its name only when it is whole. Raises `InputError` for no frames at all,
    and for odd sides, which the 4:2:0 format cannot hold.
    """
    import av

    path = Path(path)
    rows = iter(frames)
    first = next(rows, None)
    if first is None:
        raise InputError("there are no frames to write.", path=path)
    height, width = first.shape[:2]
    if not lossless and (height % 2 or width % 2):
        raise InputError(f"{width}x{height} frames have an odd side, which H.264 4:2:0 cannot hold.", path=path)
    options = {"movflags": "+faststart"}
    with (
        replacing(path, sole=True) as temporary,
        av.open(str(temporary.absolute()), "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=_exact(fps))
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        stream.options = {"crf": "0" if lossless else str(crf), "preset": "veryfast" if lossless else "medium"}
        if not lossless and min(height, width) < _TREE_FROM:
            stream.options |= {"x264-params": "mbtree=0"}
        stream.codec_context.thread_count = 1
        sound = _SoundWriter(container, audio) if audio is not None else None
        for k, row in enumerate(chain([first], rows)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(row), format="rgb24")
            picture.pts, picture.time_base = k, 1 / _exact(fps)
            container.mux(stream.encode(picture))
            if sound is not None:
                sound.write_until(round((k + 1) * SAMPLE_RATE / fps))
        container.mux(stream.encode(None))
        if sound is not None:
            sound.close()


class _SoundWriter:
    """AAC beside the picture, fed in step with it so that the muxer need not hold either back."""

    def __init__(self, container: av.container.OutputContainer, audio: np.ndarray) -> None:
        self.container, self.audio, self.done = container, np.ascontiguousarray(audio), 0
        self.stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self.stream.codec_context.bit_rate = 96_000

    def write_until(self, sample: int) -> None:
        import av

        chunk = self.audio[self.done : sample]
        if len(chunk):
            frame = av.AudioFrame.from_ndarray(chunk[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self.done, Fraction(1, SAMPLE_RATE)
            self.container.mux(self.stream.encode(frame))
            self.done += len(chunk)

    def close(self) -> None:
        self.write_until(len(self.audio))
        self.container.mux(self.stream.encode(None))


def video_stream(container: InputContainer, path: Path | str) -> VideoStream:
    """The picture stream, set to decode on one thread; cover art and text are none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic or stream.codec_context is None:  # None: no decoder knows it
            continue
        if stream.codec_context.name not in _TEXT_CODECS:
            stream.codec_context.thread_count = 1
            return stream
    raise ItemError("unreadable", f"{Path(path).name}: holds no video")


def first_stamp(path: Path | str) -> float | None:
    """The timestamp, in seconds, of the first picture of a file; None for a file without pictures."""
    from av.stream import Disposition

    with opened(path) as container:
        if all(s.disposition & Disposition.attached_pic for s in container.streams.video):
            return None
        stream = video_stream(container, path)
        return float(next(_decoded(container, stream))[0] * _tick(stream))


def _tick(stream: VideoStream) -> Fraction:
    """The stream's unit of time in seconds."""
    return stream.time_base or Fraction(1, 1_000_000)


def _from(container: InputContainer, stream: VideoStream, origin: int, begin: int) -> Iterator[_Stamped]:
    """The frames from the one on screen `begin` ticks after `origin`, or from earlier ones."""
    container.seek(origin + begin, stream=stream)
    decoded = _decoded(container, stream, whole=False)
    landed = next(decoded, None)
    if landed is None or landed[0] - origin > begin:  # the index lies: decode from the start
        container.seek(origin, stream=stream)
        return _decoded(container, stream, whole=False)
    return chain([landed], decoded)


def _on_screen(decoded: Iterable[_Stamped], gap: int, *, trusted: bool) -> Iterator[tuple[VideoFrame, int]]:
    """Each frame with the tick until which it is seen: the next one's.

    The last one stays for its own duration where that can be `trusted`, else for as long as the one before it, less
    the tick by which rounding may have lengthened that.
    """
    held: _Stamped | None = None
    for stamp, frame in decoded:
        if held is not None:
            gap = stamp - held[0]
            yield held[1], stamp
        held = stamp, frame
    if held is not None:
        stamp, frame = held
        yield frame, stamp + (frame.duration if trusted and frame.duration else gap - 1)


def _decoded(container: InputContainer, stream: VideoStream, *, whole: bool = True) -> Iterator[_Stamped]:
    """Decoded frames in rising order of their stamps, at least one.

    `whole`: complain where the file ends before its index or its header says.
    """
    import av

    tick = _tick(stream)
    packets, last, reached = 0, None, 0.0
    sound = [] if stream.frames else list(container.streams.audio)
    for packet in container.demux(stream, *sound):
        if whole and not stream.frames and packet.pts is not None and packet.time_base is not None:
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not stream:
            continue
        packets += packet.size > 0
        for frame in packet.decode():
            assert isinstance(frame, av.VideoFrame)
            stamp = frame.pts
            if stamp is None:
                stamp = round(packets / Fraction(stream.average_rate or FPS) / tick)
            if last is None or stamp > last:
                last = stamp
                yield stamp, frame
    name = Path(container.name).name
    if last is None:
        raise ItemError("unreadable", f"{name}: no frame can be decoded")
    if whole and packets < stream.frames:
        raise ItemError("unreadable", f"{name}: is cut off; {packets} of its {stream.frames} frames are there")
    told = ((container.duration or 0) + (container.start_time or 0)) / av.time_base
    if whole and not stream.frames and told - reached > max(0.5, 0.1 * told):
        raise ItemError("unreadable", f"{name}: is cut off; it ends after {reached:.1f} of its {told:.1f} s")


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
