"""Bootstrap intervals over clips: clips are independent samples, frames of one clip are not."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
#: Resamples that are in memory at a time, 16 bytes a clip each.
BLOCK = 40


def ratio_interval(
    total: np.ndarray, weight: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """The 95 % percentile bootstrap interval of sum(total) / sum(weight) over clips.

    `total` and `weight` are float64 (n_clips,), weights above 0. (None, None) for fewer than two clips.
    """
    n = len(total)
    if n < 2:
        return None, None
    generator, shares, values = np.random.default_rng(seed), np.full(n, 1 / n), np.empty(resamples)
    for first in range(0, resamples, BLOCK):  # the same draws as at once
        picks = generator.multinomial(n, shares, size=min(BLOCK, resamples - first))
        values[first : first + BLOCK] = (picks @ total) / (picks @ weight)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
