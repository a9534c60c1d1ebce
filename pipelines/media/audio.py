"""Reads and writes sound as 16 kHz mono int16, with sample 0 at the time of the first video frame."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from dawn_bench.errors import ItemError
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.decoding import first_stamp, opened
from dawn_bench.pipelines.media.limits import check_rate, check_sound

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

#: A gap of this many seconds between two blocks is filled with silence; a shorter one is rounding of timestamps.
_GAP = 0.05
_NOTHING = np.zeros(0, np.float32)


def read_audio(
    path: Path | str, *, start: float = 0.0, stop: float | None = None, origin: float | None = None
) -> np.ndarray:
    """The sound from `start` to `stop` seconds as int16 (n,), 16 kHz mono (channels averaged).

    Times count from the first video frame, or from the first sample in a file without video. Sound that starts later
    is padded with silence, sound that starts earlier is cut. Resampled by soxr (HQ).

    Args:
        path: a sound or video file.
        start: seconds.
        stop: seconds; None for the end.
        origin: timestamp of the first video frame in the file's own seconds, if it is known already.

    Raises `ItemError("no_audio")` without a sound stream, `ItemError("unreadable")` for a damaged file or one beyond
    the bounds of `limits`.
    """
    import soxr

    with opened(path) as container:
        stream = _stream(container, path)
        if origin is None:
            origin = first_stamp(path)
        samples, rate = bytearray(), 0
        resampler: soxr.ResampleStream | None = None
        for block_rate, block in _aligned(container, stream, origin=origin, start=start, stop=stop):
            if resampler is None or block_rate != rate:
                if resampler is not None:
                    samples += _int16(resampler.resample_chunk(_NOTHING, last=True)).tobytes()
                rate, resampler = block_rate, soxr.ResampleStream(block_rate, SAMPLE_RATE, 1, dtype="float32")
            samples += _int16(resampler.resample_chunk(block)).tobytes()
        if resampler is None:
            raise ItemError("no_audio", f"{Path(path).name}: its sound stream is empty")
        samples += _int16(resampler.resample_chunk(_NOTHING, last=True)).tobytes()
        return np.frombuffer(samples, np.int16)


def check_audio(path: Path | str) -> None:
    """Raise `ItemError` where `read_audio` finds no sound; only the first block is decoded."""
    with opened(path) as container:
        if next(container.decode(_stream(container, path)), None) is None:
            raise ItemError("no_audio", f"{Path(path).name}: its sound stream is empty")


def fit_length(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """`audio` (n,) trimmed, or padded with silence, to the n_frames · 640 samples that belong to the frames."""
    n = n_frames * SAMPLES_PER_FRAME
    return np.pad(audio[:n], (0, max(0, n - len(audio))))


def write_wav(path: Path | str, audio: np.ndarray) -> None:
    """Write int16 (n,) 16 kHz mono as a wav file."""
    with replacing(Path(path), durable=False) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.ascontiguousarray(audio, dtype="<i2").tobytes())


def _stream(container: InputContainer, path: Path | str) -> AudioStream:
    """The first sound stream, set to decode on one thread; raises `ItemError`."""
    if not container.streams.audio:
        raise ItemError("no_audio", f"{Path(path).name}: has no sound stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise ItemError("unreadable", f"{Path(path).name}: there is no decoder for its sound")
    check_rate(stream.codec_context.sample_rate or SAMPLE_RATE, name=Path(path).name)
    stream.codec_context.thread_count = 1
    return stream


def _aligned(
    container: InputContainer, stream: AudioStream, *, origin: float | None, start: float, stop: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mono float32 block) at the stream's own rate, block by block, the first sample at `start` exactly.

    A stream may change its rate on the way; every block says its own.
    """
    name = Path(container.name).name
    position, rate = None, 0  # the next sample to yield, counted from `start`
    silence = 0.0
    for frame in container.decode(stream):
        check_rate(frame.sample_rate, name=name)
        if position is not None and frame.sample_rate != rate:
            position = round(position * frame.sample_rate / rate)
        rate = frame.sample_rate
        stamp = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if origin is None:
            origin = stamp or 0.0
        block = _mono(frame.to_ndarray(), frame.format.is_planar, len(frame.layout.channels))
        missing = 0
        if position is None:
            position = round(((stamp if stamp is not None else origin) - origin - start) * rate)
            missing = max(position, 0)
        elif stamp is not None:
            gap = round((stamp - origin - start) * rate) - position
            if gap > _GAP * rate:
                missing = min(gap, max(position + gap, 0))
                position += gap
        silence += missing / rate
        check_sound(position / rate, silence=silence, name=name)
        for begin in range(0, missing, rate):
            yield rate, np.zeros(min(rate, missing - begin), np.float32)
        end = position + len(block)
        limit = end if stop is None else min(end, round((stop - start) * rate))
        if limit > max(position, 0):
            yield rate, block[max(0, -position) : limit - position]
        position = end
        if limit < end:
            return


def _mono(samples: np.ndarray, planar: bool, channels: int) -> np.ndarray:
    """Decoded samples of any format as the float32 mean of the channels, full scale 1."""
    planes = samples if planar else samples.reshape(-1, channels).T
    if planes.dtype == np.uint8:
        planes = (planes.astype(np.float32) - 128) / 128
    elif planes.dtype.kind == "f":
        planes = np.nan_to_num(planes, posinf=1.0, neginf=-1.0)
    elif planes.dtype.kind == "i":
        planes = planes.astype(np.float32) / -float(np.iinfo(planes.dtype).min)
    return planes.astype(np.float32, copy=False).mean(axis=0, dtype=np.float32)


def _int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
