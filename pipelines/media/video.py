"""Reads pictures from video files at an exact rate, and writes video files.

Frame k is the one on screen k/fps seconds after the first frame, by the frames' own timestamps. So variable frame
rates, wrong frame counts in containers and clips that do not start at zero are handled correctly. PyAV decodes and
encodes; it ships its own FFmpeg with libx264. With one reused colour converter on one thread (`picture`) it is as fast
as decord, which hides start times and returned wrong pictures for some FLV and MPEG-1 clips.
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
from dawn_bench.pipelines.media.containers import open_container
from dawn_bench.pipelines.media.picture import Converter, Picture, resize

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    #: A frame and the timestamp, in ticks of its stream, from which it is on screen.
    _Stamped = tuple[int, VideoFrame]

#: FFmpeg decodes text files as animated pictures with these decoders; they are not video.
_TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}
#: Closer than this, decoding from the first frame is cheaper and safer than seeking.
_SEEK_FROM = 10.0
#: For smaller pictures x264's macroblock tree reads uninitialised memory, so that the same input sometimes gave other
#: bytes (seen at 32, 64 and 96 pixels a side, never from 128 on).
_TREE_FROM = 128


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file.

    Args:
        width: in pixels as displayed, after rotation.
        height: likewise.
        fps: average frame rate.
        seconds: length as the container states it, which may be wrong.
        start_time: timestamp of the first decoded frame, seconds.
        codec: FFmpeg's name of the video codec.
        has_audio: whether there is a sound stream.
        rotation: degrees counter-clockwise by which stored frames are turned for display.
    """

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
        raise ItemError("unreadable", f"{path.name}: {reason}") from error


def probe(path: Path | str) -> VideoInfo:
    """The properties of a file, from its header and its first frame; raises `ItemError("unreadable")`."""
    return open_pictures(path)[0]


def iter_frames(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the uint8 RGB (H,W,3) frame on screen at start + k/fps for k = 0, 1, ... before `stop` and the end.

    Times are in seconds after the first frame. Frames are yielded as they are decoded; the same array is repeated
    where the source has a lower rate. Pixels are as stored (no aspect correction), rotated for display.
    Raises `ItemError("unreadable")` for a file that is damaged, truncated, or no video.
    """
    return (picture.rgb() for picture in iter_pictures(path, fps=fps, start=start, stop=stop))


def iter_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> Iterator[Picture]:
    """The same frames as `iter_frames`, as pictures that are converted on demand."""
    yield from open_pictures(path, fps=fps, start=start, stop=stop)[1]


def open_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None
) -> tuple[VideoInfo, Iterator[Picture]]:
    """The properties of a file, and its pictures as from `iter_pictures`; the file is opened once."""
    reading = _read(path, fps=_exact(fps), start=_exact(start), stop=None if stop is None else _exact(stop))
    info = next(reading)
    assert isinstance(info, VideoInfo)
    return info, cast("Iterator[Picture]", reading)


def _read(path: Path | str, *, fps: Fraction, start: Fraction, stop: Fraction | None) -> Iterator[VideoInfo | Picture]:
    """The properties of the file, then its pictures.

    Time is counted in whole ticks of the stream: the picture on screen at any time is the one at the tick at or before
    that time.
    """
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
        # only containers with an index store durations; for others FFmpeg guesses them from the average rate
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
    """All frames, uint8 RGB (T,H,W,3), or (T,size,size,3) by a plain resize. The whole clip is in memory.

    Raises `ItemError("unreadable")` as `iter_frames`, and for a file without a frame.
    """
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

    The same input gives the same bytes (one encoder thread). The file gets its name only when it is whole.

    Args:
        path: the mp4 file.
        frames: uint8 RGB, all of one size.
        fps: frame rate.
        audio: int16 (n,) at 16 kHz; None for no sound.
        lossless: store RGB bit-exactly, for computations; browsers cannot play it.
        crf: x264's quality, lower is better; not used with `lossless`.

    Raises `InputError` when there are no frames, and for odd sides, which 4:2:0 cannot store.
    """
    import av

    path = Path(path)
    rows = iter(frames)
    first = next(rows, None)
    if first is None:
        raise InputError("there are no frames to write.", path=path)
    height, width = first.shape[:2]
    if not lossless and (height % 2 or width % 2):
        raise InputError(f"{width}x{height} frames have an odd side, which H.264 4:2:0 cannot store.", path=path)
    options = {"movflags": "+faststart"}
    with (
        replacing(path) as temporary,
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
    """Encodes AAC in step with the pictures, so that the muxer need not buffer either."""

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
    """The first video stream that is neither cover art nor text, set to decode on one thread.

    Raises `ItemError("unreadable")` when there is none.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if (
            stream.disposition & Disposition.attached_pic or stream.codec_context is None
        ):  # None: there is no decoder for it
            continue
        if stream.codec_context.name not in _TEXT_CODECS:
            stream.codec_context.thread_count = 1
            return stream
    raise ItemError("unreadable", f"{Path(path).name}: has no video stream")


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
    """The frames from the one on screen `begin` ticks after `origin`, or from an earlier one."""
    container.seek(origin + begin, stream=stream)
    decoded = _decoded(container, stream, whole=False)
    landed = next(decoded, None)
    if landed is None or landed[0] - origin > begin:  # the index is wrong: decode from the start
        container.seek(origin, stream=stream)
        return _decoded(container, stream, whole=False)
    return chain([landed], decoded)


def _on_screen(decoded: Iterable[_Stamped], gap: int, *, trusted: bool) -> Iterator[tuple[VideoFrame, int]]:
    """Each frame with the tick until which it is on screen, that of the next frame.

    The last frame stays for its own duration if that can be `trusted`, else for as long as the one before it, less one
    tick, by which rounding may have lengthened that.
    """
    previous: _Stamped | None = None
    for stamp, frame in decoded:
        if previous is not None:
            gap = stamp - previous[0]
            yield previous[1], stamp
        previous = stamp, frame
    if previous is not None:
        stamp, frame = previous
        yield frame, stamp + (frame.duration if trusted and frame.duration else gap - 1)


def _decoded(container: InputContainer, stream: VideoStream, *, whole: bool = True) -> Iterator[_Stamped]:
    """Decoded frames in the order of their timestamps, at least one.

    `whole`: raise `ItemError("unreadable")` if the file ends earlier than its index or header states.
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
    stated = ((container.duration or 0) + (container.start_time or 0)) / av.time_base
    if whole and not stream.frames and stated - reached > max(0.5, 0.1 * stated):
        raise ItemError("unreadable", f"{name}: is cut off; it ends after {reached:.1f} of its {stated:.1f} s")


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
