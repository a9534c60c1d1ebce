"""The Fréchet distance of infinitely many samples: a line through the distances of fewer and fewer.

The distance of n generated samples exceeds the true one by about b/n (Chong and Forsyth 2020). The distances of several
n are drawn against 1/n; the line's value at 0 is the estimate. The true side keeps all its samples, and with them its
own part of the bias. A negative estimate is a valid result: equal sets give one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dawn_bench.metrics.functional.frechet import frechet


@dataclass(frozen=True)
class Extrapolation:
    """The line `infinity + slope / n` through distances at some `sizes`, with R² and the standard error at 1/n = 0.

    The error is None for two sizes, through which the line is exact.
    """

    infinity: float
    slope: float
    r2: float
    error: float | None
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def extrapolate(sizes: Sequence[int], distances: Sequence[float]) -> Extrapolation | None:
    """The line by least squares over 1/n; None where fewer than two sizes differ."""
    if len(set(sizes)) < 2:
        return None
    x, y = 1 / np.asarray(sizes, np.float64), np.asarray(distances, np.float64)
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    infinity = float(y.mean() - slope * x.mean())
    rest, total = float(np.sum((y - infinity - slope * x) ** 2)), float(np.sum((y - y.mean()) ** 2))
    error = None
    if len(x) > 2:
        error = float(np.sqrt(rest / (len(x) - 2) * (1 / len(x) + x.mean() ** 2 / (centred @ centred))))
    return Extrapolation(
        infinity, slope, 1 - rest / total if total else 1.0, error, tuple(map(int, sizes)), tuple(map(float, y))
    )


def frechet_infinity(
    true: np.ndarray, generated: np.ndarray, *, least: int, points: int, seed: int = 0
) -> Extrapolation | None:
    """FID-infinity's arithmetic on features (n,D) and (m,D): `points` sizes from `least` to m, evenly spaced.

    Before each size the generated samples are shuffled again, the shuffles add up, and the first ones are taken. None
    for one size. Raises `ValueError` unless there are more than `least` generated samples.
    """
    if len(generated) <= least:
        raise ValueError(f"{len(generated)} samples are not more than the least number, {least}")
    generator, rows = np.random.RandomState(seed), np.arange(len(generated))
    sizes = np.linspace(least, len(generated), points).astype(int).tolist()
    distances = []
    for size in sizes:
        generator.shuffle(rows)
        distances.append(frechet(generated[rows[:size]], true))
    return extrapolate(sizes, distances)
