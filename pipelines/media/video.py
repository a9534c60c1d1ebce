"""Reads pictures from video files at an exact rate, and writes video files.

Frame k lasts from k/fps to (k+1)/fps seconds after the first frame, and is the one on screen just before the middle of
that, by the frames' own timestamps. So a frame is at most half a frame early or late whatever the rate of the source,
and variable frame rates, wrong frame counts in containers and clips that do not start at zero are handled correctly.
PyAV decodes and encodes; it ships its own FFmpeg with libx264. With one reused colour converter on one thread
(`picture`) it is as fast as decord, which hides start times and returned wrong pictures for some FLV and MPEG-1 clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dawn_bench.clip import FPS, SAMPLE_RATE
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.colours import check_matrix
from dawn_bench.pipelines.media.decoders.base import PYAV, PendingFrame, RgbPicture, frames_from
from dawn_bench.pipelines.media.decoding import (
    decoded_from,
    is_seekable,
    on_screen,
    opened,
    pictures,
    tick,
    video_stream,
)
from dawn_bench.pipelines.media.display import AS_STORED, displayed_size, orientation, pixel_aspect
from dawn_bench.pipelines.media.edits import parts_of
from dawn_bench.pipelines.media.limits import check_memory, check_pace, check_size
from dawn_bench.pipelines.media.notes import picture_notes
from dawn_bench.pipelines.media.picture import Converter, Picture, resize

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from dawn_bench.pipelines.media.decoding import Stamp, Stamped

#: Closer than this, decoding from the first frame is cheaper and safer than seeking.
_SEEK_FROM = 10.0
#: A time stamp is rounded by no more than this part of a frame.
_ROUNDING = 40
#: For smaller pictures x264's macroblock tree reads uninitialised memory, so that the same input sometimes gave other
#: bytes (seen at 32, 64 and 96 pixels a side, never from 128 on).
_TREE_FROM = 128


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file.

    Args:
        width: in square pixels as displayed, after rotation.
        height: likewise.
        fps: average frame rate.
        seconds: length as the container states it, which may be wrong.
        start_time: timestamp of the first decoded frame, seconds.
        codec: FFmpeg's name of the video codec.
        has_audio: whether there is a sound stream.
        rotation: degrees counter-clockwise by which stored frames are turned for display; see `display.orientation`
            for those that are mirrored too.
        notes: what was repaired or converted while the pictures were read, one sentence part each.
    """

    width: int
    height: int
    fps: float
    seconds: float
    start_time: float
    codec: str
    has_audio: bool
    rotation: int
    notes: tuple[str, ...] = ()


def probe(path: Path | str) -> VideoInfo:
    """The properties of a file, from its header and its first frame; raises `ItemError("unreadable")`."""
    return open_pictures(path)[0]


def iter_frames(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None, decoder: str = PYAV
) -> Iterator[np.ndarray]:
    """Yield the uint8 RGB (H,W,3) frame of start + k/fps for k = 0, 1, ... before `stop` and the end.

    Times are in seconds after the first frame. Frames are yielded as they are decoded; the same array is repeated
    where the source has a lower rate. Pictures are as displayed: with square pixels, turned, R'G'B' by the matrix and
    range of the stream, HDR tone-mapped to BT.709.
    Raises `ItemError("unreadable")` for a file that is damaged, truncated, no video, or beyond the bounds of `limits`,
    and `ItemError("decoder_differs")` where another `decoder`, a name of `DECODERS`, would not give PyAV's pictures.
    """
    return (picture.rgb() for picture in iter_pictures(path, fps=fps, start=start, stop=stop, decoder=decoder))


def iter_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None, decoder: str = PYAV
) -> Iterator[Picture]:
    """The same frames as `iter_frames`, as pictures that are converted on demand."""
    yield from open_pictures(path, fps=fps, start=start, stop=stop, decoder=decoder)[1]


def open_pictures(
    path: Path | str, *, fps: float = FPS, start: float = 0.0, stop: float | None = None, decoder: str = PYAV
) -> tuple[VideoInfo, Iterator[Picture]]:
    """The properties of a file, and its pictures as from `iter_pictures`; PyAV opens the file once."""
    end = None if stop is None else _exact(stop)
    reading = _read(path, fps=_exact(fps), start=_exact(start), stop=end, decoder=decoder)
    info = next(reading)
    assert isinstance(info, VideoInfo)
    return info, cast("Iterator[Picture]", reading)


def _read(
    path: Path | str, *, fps: Fraction, start: Fraction, stop: Fraction | None, decoder: str
) -> Iterator[VideoInfo | Picture]:
    """The properties of the file, then its pictures.

    Time is counted in ticks of the stream. A picture takes over from the one before it where its time stamp, which is
    a rounded one, lies before the middle of the frame; the last picture stays to the end.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        unit = tick(stream)
        frames = pictures(container, stream, path)
        first = next(frames)
        origin, name = first[0], Path(path).name
        aspect = pixel_aspect(stream.sample_aspect_ratio, name=name)
        check_matrix(first[1], name=name)
        yield _info(container, stream, first, aspect)
        timed: Iterator[tuple[Stamp, VideoFrame | PendingFrame]] = chain([first], frames)
        if decoder != PYAV:
            timed = frames_from(Path(path), decoder, first)
        elif (
            start >= _SEEK_FROM
            and is_seekable(container)
            and first[1].pts is not None
            and not parts_of(Path(path), stream.id)
        ):
            timed = decoded_from(container, stream, origin, math.floor(start / unit))
        limit = math.inf if stop is None else stop / unit
        begin, step = start / unit, 1 / fps / unit
        parts = 2 * _ROUNDING * math.lcm(begin.denominator, step.denominator)
        begin_parts, step_parts = int(begin * parts), int(step * parts)
        shown, used = 0, 0
        due, middle = _ticks(begin_parts, step_parts, parts)
        converter = Converter(aspect, orientation(first[1]) or AS_STORED)
        usual = math.ceil(1 / Fraction(stream.average_rate or FPS) / unit)
        # only containers with an index store durations; for others FFmpeg guesses them from the average rate
        trusted = stream.frames > 0 or container.format.name == "apng"
        for frame, until, last in on_screen(timed, usual, trusted=trusted):
            if until - origin <= due if last else until - origin < middle:
                continue
            used += 1
            end = until - origin if stop is None else min(until - origin, stop / unit)
            check_pace((end - begin) * unit, still=(end - due) * unit, pictures=used, name=name)
            picture = RgbPicture(frame.read()) if isinstance(frame, PendingFrame) else Picture(frame, converter)
            while due < until - origin if last else middle <= until - origin:
                if begin_parts + shown * step_parts >= limit * parts:
                    return
                yield picture
                shown += 1
                due, middle = _ticks(begin_parts + shown * step_parts, step_parts, parts)


def _ticks(begin: int, step: int, parts: int) -> tuple[int, int]:
    """The tick at which a frame begins, and the first one at which a picture is too late for it.

    `begin` and `step`, the frame's length, are in parts of a tick, `parts` of them each. A time stamp may have been
    rounded down by half a tick: one that is so close before the middle counts as the middle. Where a tick is long,
    because the file counts pictures, nothing was rounded.
    """
    middle = begin + step // 2 - min(parts // 2, step // _ROUNDING)
    return begin // parts, -(-middle // parts)


def _info(container: InputContainer, stream: VideoStream, first: Stamped, aspect: Fraction) -> VideoInfo:
    begun, frame = first
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6
    width, height = displayed_size(frame.width, frame.height, aspect)
    check_size(width, height, name=Path(container.name).name)
    if (orientation(frame) or AS_STORED)[0]:
        width, height = height, width
    return VideoInfo(
        width=width,
        height=height,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        seconds=seconds,
        start_time=float(begun * tick(stream)),
        codec=stream.codec_context.name,
        has_audio=bool(container.streams.audio),
        rotation=frame.rotation,
        notes=picture_notes(stream, frame, aspect),
    )


def read_frames(
    path: Path | str,
    *,
    fps: float = FPS,
    size: int | None = None,
    start: float = 0.0,
    max_frames: int | None = None,
    decoder: str = PYAV,
) -> np.ndarray:
    """All frames from `start` seconds on, or the first `max_frames` of them.

    They are uint8 RGB (T,H,W,3), or (T,size,size,3) by a plain resize.

    The whole clip is in memory. Raises `ItemError("unreadable")` as `iter_frames`, for a file without a frame, and for
    one whose frames would take most of the memory.
    """
    frames = islice(iter_frames(path, fps=fps, start=start, decoder=decoder), max_frames)
    rows, n_bytes = list[np.ndarray](), 0
    for frame in frames:
        rows.append(frame if size is None else resize(frame, size, size))
        n_bytes += rows[-1].nbytes
        check_memory(2 * n_bytes, name=Path(path).name)  # the frames, and the array that is made of them
    if not rows:
        where = f"has no frame from {start:g} s on" if start else "is shorter than one frame"
        raise ItemError("unreadable", f"{Path(path).name}: {where}")
    try:
        return np.stack(rows)
    except MemoryError as error:
        raise ItemError("unreadable", f"{Path(path).name}: its frames need more memory than there is") from error


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

    Raises `InputError` when there are no frames, for sound that is not int16 (n,), and for odd sides, which 4:2:0
    cannot store.
    """
    import av

    path = Path(path)
    if audio is not None and (audio.dtype != np.int16 or audio.ndim != 1):
        what = f"the sound to write is {audio.dtype} {audio.shape}, not int16 (n,)."
        raise InputError(what, path=path, hint="(sound * 32767).round().astype('int16') where it is -1 to 1")
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


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
