"""MFCC as python_speech_features 0.6 computes them with its default settings, the input SyncNet was trained on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import dct

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, transform
#: Windows that are transformed at once: 82 s of sound.
BLOCK = 1 << 13
FILTERS, COEFFICIENTS, LIFTER, PREEMPHASIS = 26, 13, 22, 0.97


def mfcc(sound: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients of 16 kHz mono sound, on the integer scale.

    Args:
        sound: int16 (n,), n >= 1.

    Returns:
        float64 (m,13), m = 1 + ceil(max(n - 400, 0) / 160); the last window is zero-padded. Column 0 is the
        log energy of the window. Windows are rectangular; silence gives log(eps), never -inf.
    """
    count = 1 + max(0, -(-(len(sound) - WINDOW) // HOP))
    parts = []
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        first, last = start * HOP, (stop - 1) * HOP + WINDOW
        x = sound[max(0, first - 1) : last].astype(np.float64)  # with the sample before, for the pre-emphasis
        x[1:] -= PREEMPHASIS * x[:-1].copy()
        padded = np.zeros(last - first)
        heard = x[1:] if first else x
        padded[: len(heard)] = heard
        parts.append(_cepstra(np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]))
    return np.concatenate(parts)


def _cepstra(windows: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(windows, FFT)) ** 2 / FFT
    energy = power.sum(axis=1)
    bands = power @ _filters().T
    eps = np.finfo(np.float64).eps
    cepstra = dct(np.log(np.where(bands == 0, eps, bands)), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstra *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    cepstra[:, 0] = np.log(np.where(energy == 0, eps, energy))
    return cepstra


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Triangles (26,257) with corners at whole transform bins, equally spaced in mel = 2595 log10(1 + f/700)."""
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), FILTERS + 2)
    corner = np.floor((FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE)[:, None]
    left, middle, right = corner[:-2], corner[1:-1], corner[2:]
    bins = np.arange(FFT // 2 + 1)
    rising = np.where((bins >= left) & (bins < middle), (bins - left) / (middle - left), 0)
    falling = np.where((bins >= middle) & (bins < right), (right - bins) / (right - middle), 0)
    return rising + falling
