"""Reads and writes sound as 16 kHz mono int16, with sample 0 at the time of the first video frame."""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dawn_bench.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from dawn_bench.errors import ItemError
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.decoding import first_stamp
from dawn_bench.pipelines.media.downmix import SILENCE_DB, Downmix, Levels, mixed
from dawn_bench.pipelines.media.limits import check_sound
from dawn_bench.pipelines.media.sound_blocks import Block, Reading, read_blocks
from dawn_bench.pipelines.media.sound_files import rereadable

#: A gap of this many seconds between two blocks is filled with silence; a shorter one is rounding of timestamps.
_GAP = 0.05
_NOTHING = np.zeros(0, np.float32)
#: Sound whose loudest sample, int16, is below this is called silent.
_SILENT = round(10 ** (SILENCE_DB / 20) * 32768)
#: Share of samples beyond full scale, of those above -60 dB, from which on a note says so.
_CLIPPED = 0.001
#: Most samples beyond this are integers that were stored as floats; the loudest recording is not.
_FAR_BEYOND = 16.0


@dataclass(frozen=True)
class Sound:
    """The sound of a file.

    Args:
        samples: int16 (n,), 16 kHz mono.
        track: number of the sound track, from 1.
        tracks: how many the file has.
        layout: FFmpeg's name of the channels: `mono`, `stereo`, `5.1`.
        mix: the verdict of `downmix.judge` on them, of the layout that lasts longest.
        notes: what was chosen, converted or repaired, one sentence part each.
    """

    samples: np.ndarray
    track: int = 1
    tracks: int = 1
    layout: str = ""
    mix: str = ""
    notes: tuple[str, ...] = ()


def read_audio(
    path: Path | str,
    *,
    start: float = 0.0,
    stop: float | None = None,
    origin: float | None = None,
    track: int | None = None,
) -> np.ndarray:
    """The samples of `decode_sound`: int16 (n,), 16 kHz mono."""
    return decode_sound(path, start=start, stop=stop, origin=origin, track=track).samples


def decode_sound(
    path: Path | str,
    *,
    start: float = 0.0,
    stop: float | None = None,
    origin: float | None = None,
    track: int | None = None,
    used: float | None = None,
) -> Sound:
    """The sound from `start` to `stop` seconds as 16 kHz mono, its channels mixed as `downmix` says.

    Times count from the first video frame, or from the first sample in a file without video. Sound that starts later
    is padded with silence, sound that starts earlier is cut. Resampled by soxr (HQ). A file whose channels cancel is
    decoded a second time, for its loudest channel.

    Args:
        path: a sound or video file.
        start: seconds.
        stop: seconds; None for the end.
        origin: timestamp of the first video frame in the file's own seconds, if it is known already.
        track: number of the sound track, from 1; None for the one that a player plays.
        used: seconds until which the sound is used: how to mix it is judged by this part. None for `stop`.

    Raises `ItemError("no_audio")` without a sound stream, `ItemError("no_track")` without this track,
    `ItemError("unreadable")` for a damaged file or one beyond the bounds of `limits`.
    """
    with rereadable(path) as file:
        return _decoded(file, _Stretch(start, stop, origin, stop if used is None else used), track=track)


def check_audio(path: Path | str, *, track: int | None = None) -> None:
    """Raise `ItemError` where `decode_sound` finds no sound; only the first block is decoded."""
    reading = Reading()
    if next(read_blocks(path, reading, track=track), None) is None:
        reading.check(Path(path).name)
        raise ItemError("no_audio", reading.empty(Path(path).name))


def is_silent(audio: np.ndarray) -> bool:
    """Whether int16 (n,) has no sample at or above -60 dB of full scale."""
    return int(np.abs(audio.astype(np.int32)).max(initial=0)) < _SILENT


def fit_length(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """`audio` (n,) trimmed, or padded with silence, to the n_frames · 640 samples that belong to the frames."""
    n = n_frames * SAMPLES_PER_FRAME
    return np.pad(audio[:n], (0, max(0, n - len(audio))))


def write_wav(path: Path | str, audio: np.ndarray, *, durable: bool = True) -> None:
    """Write int16 (n,) 16 kHz mono as a wav file; `durable` as in `dawn_bench.files.replacing`."""
    with replacing(Path(path), durable=durable) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.ascontiguousarray(audio, dtype="<i2").tobytes())


@dataclass(frozen=True)
class _Stretch:
    """Seconds from the first picture: what is read, and until when it is `used`; and the time stamp of that picture."""

    start: float
    stop: float | None
    origin: float | None
    used: float | None


class _Mixing:
    """Mixes blocks, each layout with all its channels or with the one given in `alone`, and measures them."""

    def __init__(
        self, alone: Mapping[tuple[str, ...], int], levels: dict[tuple[str, ...], Levels] | None = None
    ) -> None:
        self.alone, self.measured = alone, levels is not None
        self.levels: dict[tuple[str, ...], Levels] = levels or {}
        self.beyond = self.far_beyond = self.audible = 0

    def mono(self, block: Block) -> np.ndarray:
        """The block as float32 (n,)."""
        return mixed(block.planes, block.channels, alone=self.alone.get(block.channels))

    def measure(self, block: Block, mono: np.ndarray, begin: int, end: int) -> None:
        """Count samples `begin` to `end` of a block, of which `mono` is the mix."""
        size = np.abs(mono[begin:end])
        self.audible += int(np.count_nonzero(size > _SILENT / 32768))
        if size.max(initial=0) > 1.0:
            self.beyond += int(np.count_nonzero(size > 1.0))
            self.far_beyond += int(np.count_nonzero(size > _FAR_BEYOND))
        if not self.measured:
            levels = self.levels.setdefault(block.channels, Levels(block.channels))
            levels.add(block.planes[:, begin:end], mono[begin:end], rate=block.rate)


def _decoded(path: Path, stretch: _Stretch, *, track: int | None) -> Sound:
    """`decode_sound` of a file that can be read more than once."""
    if stretch.origin is None:
        stretch = replace(stretch, origin=_first_picture(path))
    mixing, reading = _Mixing({}), Reading()
    samples = _resampled(path, stretch, mixing, reading, track=track)
    results = {channels: levels.result() for channels, levels in mixing.levels.items()}
    alone = {channels: result.alone for channels, result in results.items() if result.alone is not None}
    if alone:
        mixing = _Mixing(alone, mixing.levels)
        samples = _resampled(path, stretch, mixing, Reading(), track=track)
    notes = [*reading.all_notes(), *(n for c, r in results.items() for n in _mix_notes(c, r))]
    clipped = mixing.beyond / mixing.audible if mixing.audible else 0.0
    if mixing.far_beyond > mixing.audible / 2:
        raise ItemError("unreadable", f"{path.name}: its sound is stored as float far beyond -1 to 1: scale it")
    if clipped > _CLIPPED:
        notes.append(f"{clipped:.1%} of its sound is beyond full scale and clipped")
    longest = max(results, key=lambda channels: mixing.levels[channels].samples, default=None)
    verdict = results[longest].verdict if longest is not None else "silent"
    return Sound(samples, reading.track, reading.tracks, reading.layout, verdict, tuple(notes))


def _first_picture(path: Path | str) -> float | None:
    """The time stamp of the first picture; None where there is none, or none that can be decoded: the sound can."""
    try:
        return first_stamp(path)
    except ItemError:
        return None


def _resampled(
    path: Path | str, stretch: _Stretch, mixing: _Mixing, reading: Reading, *, track: int | None
) -> np.ndarray:
    """The stretch as int16 (n,) at 16 kHz."""
    import soxr

    name = Path(path).name
    samples, rate = bytearray(), 0
    resampler: soxr.ResampleStream | None = None
    for block_rate, block in _aligned(read_blocks(path, reading, track=track), stretch, mixing, name=name):
        if resampler is None or block_rate != rate:
            if resampler is not None:
                samples += _int16(resampler.resample_chunk(_NOTHING, last=True)).tobytes()
            rate, resampler = block_rate, soxr.ResampleStream(block_rate, SAMPLE_RATE, 1, dtype="float32")
        samples += _int16(resampler.resample_chunk(block)).tobytes()
    reading.check(name)
    if resampler is None:
        raise ItemError("no_audio", reading.empty(name))
    samples += _int16(resampler.resample_chunk(_NOTHING, last=True)).tobytes()
    return np.frombuffer(samples, np.int16)


def _aligned(
    blocks: Iterator[Block], stretch: _Stretch, mixing: _Mixing, *, name: str
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mono float32 block) at the stream's own rate, block by block, the first sample at `start` exactly.

    A stream may change its rate on the way; every block says its own.
    """
    start, stop, origin = stretch.start, stretch.stop, stretch.origin
    position, rate = None, 0  # the next sample to yield, counted from `start`
    silence = 0.0
    for block in blocks:
        stamp, mono = block.stamp, mixing.mono(block)
        if position is not None and block.rate != rate:
            position = round(position * block.rate / rate)
        rate = block.rate
        if origin is None:
            origin = stamp or 0.0
        missing = 0
        if position is None:
            position = round(((stamp if stamp is not None else origin) - origin - start) * rate)
            missing = max(position, 0)
        elif stamp is not None:
            gap = round((stamp - origin - start) * rate) - position
            if gap > (0 if block.after_damage else _GAP * rate):
                missing = min(gap, max(position + gap, 0))
                position += gap
        silence += missing / rate
        check_sound(position / rate, silence=silence, name=name)
        last = math.inf if stop is None else round((stop - start) * rate)
        silent = range(position - missing, int(min(position, last)), rate)  # none of it lies behind the stretch
        for begin in silent:
            yield rate, np.zeros(min(rate, silent.stop - begin), np.float32)
        end = position + len(mono)
        limit = int(min(end, last))
        if limit > max(position, 0):
            first = max(0, -position)
            until = math.inf if stretch.used is None else round((stretch.used - start) * rate) - position
            mixing.measure(block, mono, first, int(min(limit - position, max(first, until))))
            yield rate, mono[first : limit - position]
        position = end
        if limit < end:
            return


def _mix_notes(channels: tuple[str, ...], result: Downmix) -> Iterator[str]:
    """How channels were mixed; nothing for mono and for stereo that mixes well."""
    if len(channels) > 2 and result.alone is None:
        yield f"{len(channels)} channels of sound mixed into one"
    if result.verdict == "one_channel" and result.alone is not None:
        yield f"one channel of sound ({channels[result.alone]}) of {len(channels)}: it is used alone"
    elif result.verdict == "phase_cancelled" and result.alone is not None:
        part = "" if result.share == 1 else f" for {result.share:.0%} of the time"
        yield f"its channels of sound cancel{part}: the loudest ({channels[result.alone]}) is used alone"
    elif result.verdict == "phase_weakened":
        yield f"its channels of sound weaken each other by {-(result.cancellation_db or 0):.0f} dB"


def _int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
