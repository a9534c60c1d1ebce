"""One channel from several: standard coefficients, and the loudest channel alone where the channels cancel.

The coefficients are the mono column of ITU-R BS.775, extended to 7.1 and beyond by the gain of a surround for every
other channel. They are divided by their sum, so that the result cannot clip. Out-of-phase stereo (a wrongly wired
microphone, a karaoke effect) would become silence, and speech in one channel of six would lose 15.6 dB; then the
loudest channel is taken at its own level. The rule is that of `judge`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Verdict = Literal["ok", "silent", "one_channel", "phase_weakened", "phase_cancelled"]

_FRONT, _SURROUND = math.sqrt(0.5), 0.5
#: Gains by FFmpeg's names of channels, before they are divided by their sum; any other channel has `_SURROUND`.
_GAINS: Mapping[str, float] = {
    "FC": 1.0, "FL": _FRONT, "FR": _FRONT, "FLC": _FRONT, "FRC": _FRONT, "WL": _FRONT, "WR": _FRONT,
    "DL": _FRONT, "DR": _FRONT, "LFE": 0.0, "LFE2": 0.0, "AMBI0": 1.0,
}  # fmt: skip
#: The channels of files that state only their number, in the order of WAV; others are taken for equals.
_UNSTATED: Mapping[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    4: ("FL", "FR", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
#: dBFS under which a channel is silent.
SILENCE_DB = -60.0
#: A channel that is this many dB quieter than the loudest does not count as in use.
_UNUSED_DB = 40.0
#: dB of the mono sound relative to the sum of powers of its parts.
_CANCELLED_DB, _WEAKENED_DB = -20.0, -6.0
#: Share of the audible time in which the channels may cancel before one of them is taken alone.
_CANCELLED_SHARE = 0.1


def channel_names(stated: Sequence[str]) -> tuple[str, ...]:
    """Names of the channels; those of a plain WAV file, which states none (`NONE`), by their number."""
    if all(name not in ("NONE", "UNK", "UNSD") for name in stated):
        return tuple(stated)
    return _UNSTATED.get(len(stated), tuple(f"channel {k + 1}" for k in range(len(stated))))


def gains(channels: Sequence[str]) -> np.ndarray:
    """Gains (C,) of the channels in the mono sound, with sum 1."""
    raw = np.array([0.0 if c.startswith("AMBI") and c != "AMBI0" else _GAINS.get(c, _SURROUND) for c in channels])
    return raw / raw.sum() if raw.any() else np.full(len(raw), 1 / len(raw))


def mixed(planes: np.ndarray, channels: Sequence[str], *, alone: int | None = None) -> np.ndarray:
    """Sound float (C,n) as float32 (n,): the sum with `gains`, or the channel `alone` at its own level."""
    if alone is not None:
        return planes[alone].astype(np.float32, copy=False)
    weights = gains(channels)
    if np.ptp(weights) == 0:
        return planes.mean(axis=0, dtype=np.float32)
    # row by row: a product of matrices may leave a rest where equal and opposite channels are added
    return (planes * weights[:, None].astype(planes.dtype)).sum(axis=0).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Downmix:
    """How the channels go together.

    Args:
        verdict: see `judge`.
        alone: number of the channel to use alone; None for the sum of all.
        cancellation_db: RMS of the sum relative to the root of the summed powers of its parts: 3 for equal channels,
            about 0 for unrelated ones, -inf where they cancel; None without sound.
        share: share of the audible time in which they cancel.
    """

    verdict: Verdict
    alone: int | None = None
    cancellation_db: float | None = None
    share: float = 0.0


def judge(power: np.ndarray, mono_power: float, channels: Sequence[str]) -> Downmix:
    """The verdict on channels of mean power (C,), full scale 1, whose sum with `gains` has the mean power `mono_power`.

    `silent`: the loudest is under -60 dBFS. `one_channel`: no other is within 40 dB of the loudest. `phase_cancelled`,
    `phase_weakened`: the sum is more than 20 or 6 dB below the summed powers of its parts. Else `ok`. A channel for
    low-frequency effects is not counted. With `one_channel` and `phase_cancelled` the loudest channel is used alone.
    """
    weights = gains(channels)
    counted = np.where(weights > 0, power, 0.0)
    loudest = int(np.argmax(counted))
    parts = float(np.sum(weights**2 * power))
    cancellation = None if parts == 0 else _decibels(mono_power / parts)
    if _decibels(counted[loudest]) < SILENCE_DB:
        return Downmix("silent", None, cancellation)
    if len(channels) == 1:
        return Downmix("ok", None, cancellation)
    if np.count_nonzero(counted >= counted[loudest] * 10 ** (-_UNUSED_DB / 10)) == 1:
        return Downmix("one_channel", loudest, cancellation)
    assert cancellation is not None
    if cancellation < _CANCELLED_DB:
        return Downmix("phase_cancelled", loudest, cancellation, 1.0)
    return Downmix("phase_weakened" if cancellation < _WEAKENED_DB else "ok", None, cancellation)


@dataclass
class Levels:
    """Collects the powers of the channels `channels` and of their sum, second by second."""

    channels: tuple[str, ...]
    _seconds: list[tuple[int, np.ndarray, float]] = field(default_factory=list)
    _open: bool = False

    @property
    def samples(self) -> int:
        """How many samples were added, in each channel."""
        return sum(n for n, _, _ in self._seconds)

    def add(self, planes: np.ndarray, mono: np.ndarray, *, rate: int) -> None:
        """Count a block (C,n) and its sum (n,) at `rate` samples a second."""
        if not len(mono):
            return
        n, power, total = len(mono), _energy(planes), float(_energy(mono))
        if self._open:
            before = self._seconds.pop()
            n, power, total = n + before[0], power + before[1], total + before[2]
        self._seconds.append((n, power, total))
        self._open = n < rate

    def result(self) -> Downmix:
        """The verdict on everything that was added.

        A clip with long pauses is judged by its audible seconds, where the whole would count as silent. Channels that
        cancel in more than a tenth of the audible time count as cancelling, as in a film cut from two recordings.
        """
        if not self._seconds:
            return Downmix("silent")
        whole = self._judged(self._seconds)
        used = gains(self.channels) > 0
        levels = [float((p * used).max()) / n for n, p, _ in self._seconds]
        least = max(levels) * 10 ** (-_UNUSED_DB / 10)
        verdicts = [(second, self._judged([second]).verdict) for second in self._seconds]
        audible = [v for v, level in zip(verdicts, levels, strict=True) if v[1] != "silent" and level >= least]
        if not audible:
            return whole
        if whole.verdict == "silent":
            whole = self._judged([second for second, _ in audible])
        if whole.verdict in ("one_channel", "phase_cancelled"):
            return whole
        cancelled = sum(s[0] for s, verdict in audible if verdict == "phase_cancelled")
        share = cancelled / sum(s[0] for s, _ in audible)
        if share <= _CANCELLED_SHARE:
            return whole
        power = np.sum([p for _, p, _ in self._seconds], axis=0) * used
        return Downmix("phase_cancelled", int(np.argmax(power)), whole.cancellation_db, share)

    def _judged(self, seconds: Sequence[tuple[int, np.ndarray, float]]) -> Downmix:
        """The verdict on the mean powers of these seconds."""
        length = sum(n for n, _, _ in seconds)
        power = np.sum([p for _, p, _ in seconds], axis=0) / length
        return judge(power, sum(m for _, _, m in seconds) / length, self.channels)


def _energy(samples: np.ndarray) -> np.ndarray:
    """Sums of squares over the last axis, float64."""
    return np.square(samples, dtype=np.float64).sum(axis=-1)


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
