"""Lag and correlation between the mouth's opening and the loudness of the sound, without a network.

The definition is this project's own. The sound's envelope is its root mean square in each video frame. The correlation
is computed anew for every lag over the frames that both tracks have, and the largest one gives the lag. A verdict says
where the result must not be read as an offset: without sound, without motion of the mouth, or without a clear peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

#: Largest lag in frames, and most frames of a gap that is filled.
MAX_LAG, MAX_GAP = 15, 5
#: Fewest pairs of a lag; a lag also needs half of the frames.
MIN_PAIRS = 25
#: Standard deviation below which a track of one lag is constant, and below which the whole mouth stands still.
CONSTANT, STILL = 1e-6, 1e-4
#: Level of the loudest frame below which there is no sound: -60 dB of full scale.
SILENT = 10 ** (-60 / 20)
#: Least correlation at the peak, and by how much it exceeds the median over the lags.
MIN_R, MIN_CONFIDENCE = 0.25, 0.2
#: Correlations that differ by no more are equal.
_EQUAL = 1e-12

Verdict = Literal[
    "ok", "no_sound", "no_mouth", "still_mouth", "too_short", "unclear", "inverted", "at_range_end"
]  # fmt: skip


@dataclass(frozen=True)
class Offset:
    """Where picture and sound match best.

    `offset` is in whole frames, positive where the mouth moves after the sound; `refined` is between frames; `r` is the
    correlation there, `confidence` by how much it exceeds the median over the lags. They are None for the verdicts
    `no_sound`, `no_mouth`, `still_mouth` and `too_short`. Only `ok` is to be trusted: `unclear` has too weak a peak,
    `inverted` a mouth that closes with the sound, and at `at_range_end` the true offset may lie beyond the lags.
    """

    verdict: Verdict
    offset: int | None = None
    refined: float | None = None
    r: float | None = None
    confidence: float | None = None


def envelope(sound: np.ndarray, *, n_frames: int, fps: float = 25, sample_rate: int = 16_000) -> np.ndarray:
    """Root mean square float64 (n_frames,) of int16 sound (n,) in each video frame, 1 for full scale; 0 beyond its end.

    Frame i has the samples from round(i * sample_rate / fps) up to that of the next frame; halves are rounded to even.
    """
    edges = np.round(np.arange(n_frames + 1) * sample_rate / fps).astype(np.int64).clip(0, len(sound))
    energy = np.concatenate([[0], np.cumsum(np.square(sound.astype(np.int64)))])  # integers: a quiet end stays exact
    return np.sqrt(np.diff(energy[edges]) / np.maximum(np.diff(edges), 1)) / 32768


def fill_gaps(track: np.ndarray, *, longest: int = MAX_GAP) -> np.ndarray:
    """A track float64 (T,) whose runs of at most `longest` NaN between two numbers are filled linearly."""
    filled = track.astype(np.float64)
    seen = np.flatnonzero(~np.isnan(filled))
    for before, after in pairwise(seen):
        if 1 < after - before <= longest + 1:
            filled[before : after + 1] = np.linspace(filled[before], filled[after], after - before + 1)
    return filled


def lag_correlations(mouth: np.ndarray, loudness: np.ndarray, *, max_lag: int = MAX_LAG) -> np.ndarray:
    """Pearson correlation of mouth[i + L] with loudness[i] for L = -max_lag..max_lag: float64 (2 max_lag + 1,).

    NaN for a lag with fewer pairs of finite numbers than `MIN_PAIRS` or half of the frames, and where either track is
    constant over them.
    """
    least = max(MIN_PAIRS, len(mouth) / 2)
    values = np.full(2 * max_lag + 1, np.nan)
    for k, lag in enumerate(range(-max_lag, max_lag + 1)):
        first, last = max(0, -lag), min(len(loudness), len(mouth) - lag)
        if last <= first:
            continue
        pair = np.stack([mouth[first + lag : last + lag], loudness[first:last]])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        if pair.shape[1] >= least and (pair.std(axis=1) >= CONSTANT).all():
            centred = pair - pair.mean(axis=1, keepdims=True)
            values[k] = centred[0] @ centred[1] / np.sqrt(np.square(centred).sum(axis=1).prod())
    return values


def av_offset(mouth: np.ndarray, loudness: np.ndarray, *, max_lag: int = MAX_LAG) -> Offset:
    """The lag of a mouth (T,) behind an envelope (T,), one number a frame; NaN in `mouth` is a frame without a mouth.

    `mouth` is the gap between the lips, or anything monotone in it; `loudness` is as from `envelope`.
    """
    mouth = fill_gaps(mouth)
    seen = np.isfinite(mouth)
    if not len(loudness) or loudness.max() < SILENT:
        return Offset("no_sound")
    if not len(mouth) or seen.sum() < len(mouth) / 2:
        return Offset("no_mouth")
    if mouth[seen].std() < STILL:
        return Offset("still_mouth")
    values = lag_correlations(mouth, loudness, max_lag=max_lag)
    if np.isnan(values).all():
        return Offset("too_short")
    highest = np.nanmax(values)
    lags = np.arange(-max_lag, max_lag + 1)
    at = min(np.flatnonzero(values >= highest - _EQUAL), key=lambda k: (abs(lags[k]), lags[k]))
    r, confidence = float(values[at]), float(values[at] - np.nanmedian(values))
    verdict: Verdict = "ok"
    if r < MIN_R or confidence < MIN_CONFIDENCE:
        verdict = "unclear"
    elif -np.nanmin(values) > highest:
        verdict = "inverted"
    elif abs(lags[at]) == max_lag:
        verdict = "at_range_end"
    return Offset(verdict, int(lags[at]), float(lags[at] + _between(values, int(at))), r, confidence)


def _between(values: np.ndarray, at: int) -> float:
    """Where a parabola through a peak and its neighbours is highest, in places from `at`; 0 where there is none."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, peak, after = values[at - 1 : at + 2]
    curvature = before - 2 * peak + after
    if not np.isfinite(curvature) or curvature >= 0:
        return 0.0
    return float((before - after) / (2 * curvature))
