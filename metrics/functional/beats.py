"""Beats of sound and of head motion, and how well they coincide (Beat Align Score).

Sound: onset envelope, tempo and beats as librosa 0.11 computes them (`onset.onset_strength`, `feature.tempo`,
`beat.beat_track`, `onset.onset_detect`; the beat tracker is Ellis 2007, "Beat tracking by dynamic programming") for
16 kHz sound and, by default, a hop of 640 samples, one value per video frame. librosa itself is not a dependency: it
requires numba, and its beat tracker has changed between releases.

Motion and score: Bailando's `utils/beat_align_score.py`; the other direction is the formula of AI Choreographer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelextrema, get_window

SAMPLE_RATE, HOP, FFT, MELS = 16_000, 640, 2048, 128
#: Windows that are transformed at once: nearly 3 min of sound at the default hop.
BLOCK = 1 << 12
RATE = SAMPLE_RATE / HOP  # values per second: the frame rate of the video
TEMPO_WINDOW = 8.0  # seconds of envelope per autocorrelation window
START_BPM, MAX_BPM, OCTAVES, TIGHTNESS = 120.0, 320.0, 1.0, 100.0


def onset_envelope(sound: np.ndarray, *, hop: int = HOP, median: bool = False) -> np.ndarray:
    """The onset envelope: the mean rise in level over mel bands from each moment to the next, decibels.

    Args:
        sound: int16 (n,) at 16 kHz.
        hop: samples between two values; 640 gives one per video frame.
        median: median over bands instead of mean, as in librosa's beat tracker when its input is sound.

    Returns:
        float32 (1 + n // hop,), >= 0; all zeros for silence.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sound, FFT // 2), FFT)[::hop]
    parts = (windows[start : start + BLOCK] for start in range(0, len(windows), BLOCK))
    level = np.concatenate([10 * np.log10(np.maximum(_mel_power(part), 1e-10)) for part in parts])
    level = np.maximum(level, level.max() - 80)
    rise = (np.median if median else np.mean)(np.maximum(level[1:] - level[:-1], 0), axis=1)
    # One for the difference, one because a window reaches 1024 samples ahead of its centre.
    return np.pad(rise, (1 + FFT // (2 * hop), 0))[: len(level)].astype(np.float32)


def _mel_power(windows: np.ndarray) -> np.ndarray:
    """Power in each mel band float32 (n,128) of windows int16 (n,2048) of sound."""
    heard = windows.astype(np.float32) / 32768
    power = np.abs(rfft(heard * get_window("hann", FFT).astype(np.float32), axis=1)) ** 2
    return power @ _mel_filters().T


def beat_frames(envelope: np.ndarray, *, rate: float = RATE) -> np.ndarray:
    """Beats of an onset envelope of `rate` values a second: int64 indices into it, none for an all-zero envelope."""
    if len(envelope) < 2 or not envelope.any():
        return np.zeros(0, dtype=np.int64)
    period = round(rate * 60 / tempo(envelope, rate=rate))
    normal = (envelope / envelope.std(ddof=1)).astype(np.float64)
    bell = np.exp(-0.5 * (np.arange(-period, period + 1) * 32 / period) ** 2)
    local = np.convolve(normal, bell)[len(bell) // 2 :][: len(normal)]
    backlink, score = _best_predecessors(local, period)
    beats = [_last_beat(score)]
    while backlink[beats[-1]] >= 0:
        beats.append(backlink[beats[-1]])
    chain = np.array(beats[::-1])
    # Weak beats at either end are dropped: below half the root mean square of the beats' own strength.
    strength = np.convolve(local[chain], np.hanning(5))[2 : len(local) + 2]
    strong = np.flatnonzero(local > 0.5 * np.sqrt((strength**2).mean()))
    return chain[(chain >= strong[0]) & (chain <= strong[-1])]


def tempo(envelope: np.ndarray, *, rate: float = RATE) -> float:
    """Beats per minute: the strongest mean self-similarity in 8 s windows under a log-normal prior around 120."""
    width = int(TEMPO_WINDOW * rate)
    padded = np.pad(envelope, width // 2, mode="linear_ramp")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)[: len(envelope)]
    total = np.zeros((0, width))
    for start in range(0, len(windows), BLOCK):  # the sum goes on in the order of the windows
        total = np.concatenate([total, _self_similarity(windows[start : start + BLOCK])]).sum(axis=0, keepdims=True)
    similarity = total[0] / len(windows)
    shortest = int(60 * rate / MAX_BPM) + 1
    bpm = 60 * rate / np.arange(shortest, width)
    prior = -0.5 * ((np.log2(bpm) - np.log2(START_BPM)) / OCTAVES) ** 2
    return float(bpm[np.argmax(np.log1p(1e6 * similarity[shortest:]) + prior)])


def _self_similarity(windows: np.ndarray) -> np.ndarray:
    """Autocorrelation (n,width) of windows (n,width) by lag, with a largest value of 1."""
    width = windows.shape[1]
    length = next_fast_len(2 * width - 1, real=True)
    spectrum = rfft(windows * get_window("hann", width), length, axis=1)
    similarity = irfft(np.abs(spectrum) ** 2, length, axis=1)[:, :width]
    peak = np.abs(similarity).max(axis=1, keepdims=True)
    similarity /= np.where(peak < np.finfo(similarity.dtype).tiny, 1, peak)
    return similarity


def onset_frames(envelope: np.ndarray, *, rate: float = RATE) -> np.ndarray:
    """Onsets of an envelope of `rate` values a second (at most 33): int64 indices into it.

    A value is an onset when it exceeds the mean of the surrounding 0.1 s on either side by at least 0.07 of the
    envelope's range; librosa's other conditions (local maximum, waiting time) span less than one value at such rates.
    """
    reach = int(0.1 * rate)
    x = envelope - envelope.min()
    x = x / (x.max() + np.finfo(x.dtype).tiny)
    if not x.any():
        return np.zeros(0, dtype=np.int64)
    means = [x[max(0, n - reach) : n + reach + 1].mean() for n in range(len(x))]
    return np.flatnonzero(x >= np.array(means) + 0.07)


def motion_beats(points: np.ndarray, *, smooth: float = 5.0) -> np.ndarray:
    """Moments of rest between movements.

    Args:
        points: float (T,K,D), the moving points of every frame.
        smooth: standard deviation of the Gaussian over the speed, frames.

    Returns:
        int64 frame numbers: strict local minima of the smoothed mean speed, without the ends.
    """
    if len(points) < 2:
        return np.zeros(0, dtype=np.int64)
    speed = np.linalg.norm(np.diff(points.astype(np.float64), axis=0), axis=2).mean(axis=1)
    return argrelextrema(gaussian_filter1d(speed, smooth), np.less)[0]


def alignment(beats: np.ndarray, others: np.ndarray, *, sigma: float = 3.0) -> float:
    """Mean over `beats` of exp(-d^2 / 2 sigma^2), d the distance to the nearest of `others`, both in frames.

    With the sound's beats first this is Bailando's score, with the motion's beats first AI Choreographer's. 0..1.
    Neither may be empty.
    """
    nearest = np.abs(beats[:, None] - others[None, :]).min(axis=1)
    return float(np.exp(-(nearest**2) / (2 * sigma**2)).mean())


def _best_predecessors(local: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """For every frame the best preceding beat (-1: none) and the score of the best chain that ends there."""
    lag = np.arange(max(1, round(period / 2)), 2 * period + 1)
    penalty = TIGHTNESS * (np.log(lag) - np.log(period)) ** 2
    backlink = np.full(len(local), -1)
    score = local.copy()
    started = False
    for i, here in enumerate(local):
        reach = int(np.searchsorted(lag, i, side="right"))
        best = -1
        if reach:
            chain = score[i - lag[:reach]] - penalty[:reach]
            k = int(np.argmax(chain))
            best, score[i] = i - lag[k], here + chain[k]
        started = started or here >= 0.01 * local.max()
        if started:
            backlink[i] = best
    return backlink, score


def _last_beat(score: np.ndarray) -> int:
    """The last local maximum of the score that is at least half their median."""
    edged = np.pad(score, 1, mode="edge")
    peaks = np.flatnonzero((edged[1:-1] > edged[:-2]) & (edged[1:-1] >= edged[2:]))
    good = peaks[score[peaks] >= 0.5 * np.median(score[peaks])] if len(peaks) else peaks
    return int(good[-1]) if len(good) else len(score) - 1


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    """Triangles (128,1025) of equal area on Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    step = np.log(6.4) / 27  # per mel above 1 kHz
    top = 15 + np.log(SAMPLE_RATE / 2 / 1000) / step
    mel = np.linspace(0, top, MELS + 2)
    hertz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))[:, None]
    left, middle, right = hertz[:-2], hertz[1:-1], hertz[2:]
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    triangle = np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))
    return (triangle * 2 / (right - left)).astype(np.float32)
