"""Reads and writes sound as 16 kHz mono int16, with sample 0 at the time of the first video frame."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dawn_bench.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.video import first_stamp, opened

if TYPE_CHECKING:
    from av.container import InputContainer

#: A gap of this many seconds between two blocks is filled with silence; a shorter one is rounding of timestamps.
_GAP = 0.05


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

    Raises `ItemError("no_audio")` without a sound stream, `ItemError("unreadable")` for a damaged file.
    """
    import soxr

    with opened(path) as container:
        if not container.streams.audio:
            raise ItemError("no_audio", f"{Path(path).name}: has no sound stream")
        if container.streams.audio[0].codec_context is None:
            raise ItemError("unreadable", f"{Path(path).name}: there is no decoder for its sound")
        if origin is None:
            origin = first_stamp(path)
        blocks: list[np.ndarray] = []
        resampler: soxr.ResampleStream | None = None
        for rate, block in _aligned(container, origin=origin, start=start, stop=stop):
            if resampler is None:
                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            blocks.append(_int16(resampler.resample_chunk(block)))
        if resampler is None:
            raise ItemError("no_audio", f"{Path(path).name}: its sound stream is empty")
        blocks.append(_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
        return np.concatenate(blocks)


def fit_length(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """`audio` (n,) trimmed, or padded with silence, to the n_frames · 640 samples that belong to the frames."""
    n = n_frames * SAMPLES_PER_FRAME
    return np.pad(audio[:n], (0, max(0, n - len(audio))))


def write_wav(path: Path | str, audio: np.ndarray) -> None:
    """Write int16 (n,) 16 kHz mono as a wav file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.ascontiguousarray(audio, dtype="<i2").tobytes())


def _aligned(
    container: InputContainer, *, origin: float | None, start: float, stop: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mono float32 block) at the stream's own rate, block by block, the first sample at `start` exactly."""
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    position = None  # next sample to yield, counted from `start`
    for frame in container.decode(stream):
        rate = frame.sample_rate
        stamp = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if origin is None:
            origin = stamp or 0.0
        block = _mono(frame.to_ndarray(), frame.format.is_planar, len(frame.layout.channels))
        if position is None:
            position = round(((stamp if stamp is not None else origin) - origin - start) * rate)
            if position > 0:
                yield rate, np.zeros(position, np.float32)
        elif stamp is not None:
            gap = round((stamp - origin - start) * rate) - position
            if gap > _GAP * rate:
                if position + gap > 0:
                    yield rate, np.zeros(min(gap, position + gap), np.float32)
                position += gap
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
    elif planes.dtype.kind == "i":
        planes = planes.astype(np.float32) / -float(np.iinfo(planes.dtype).min)
    return planes.astype(np.float32, copy=False).mean(axis=0, dtype=np.float32)


def _int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
