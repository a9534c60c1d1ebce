"""Alignment in time: dynamic time warping (DTW), its soft form, and what is measured along a path.

`dtw`: the cheapest monotonic path from the first pair of frames to the last (Sakoe and Chiba 1978). The local cost is
the squared Euclidean distance, the distance the square root of the path's sum, as in tslearn.

`soft_dtw` replaces the minimum by -gamma log sum exp(-x/gamma) (Cuturi and Blondel 2017). It may be negative, and equal
sequences do not give 0; `soft_dtw_divergence` takes off half of both sequences' values with themselves (Blondel et al.
2021), so that equal sequences give 0.

Tables are filled one diagonal after another, since the cells of a diagonal do not depend on one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from dawn_bench.pixels import psnr


class Path(NamedTuple):
    """The least sum of costs, and the pairs int64 (P,2) of frames along a path that has it."""

    cost: float
    pairs: np.ndarray


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances float64 (n,m) of frames (n,D) and (m,D)."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.array([np.square(row - y).sum(axis=1) for row in x])


def sakoe_chiba(n: int, m: int, radius: int) -> np.ndarray:
    """The band bool (n,m): cells at most `radius` from those that the difference in length makes necessary."""
    offset = np.arange(m) - np.arange(n)[:, None]
    return (offset >= min(m - n, 0) - radius) & (offset <= max(m - n, 0) + radius)


def dtw(costs: np.ndarray, *, band: np.ndarray | None = None) -> Path:
    """The cheapest path over costs (n,m), within `band` where one is given.

    Of equal predecessors the diagonal one comes first, then the earlier row, so that equal sequences give the diagonal.
    """
    costs = _within(costs, band)
    table = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    table[0, 0] = 0
    for i, j in _diagonals(*costs.shape):
        before = np.minimum(np.minimum(table[i, j], table[i, j + 1]), table[i + 1, j])
        table[i + 1, j + 1] = costs[i, j] + before
    i, j = costs.shape[0] - 1, costs.shape[1] - 1
    pairs = [(i, j)]
    while i or j:
        step = int(np.argmin([table[i, j], table[i, j + 1], table[i + 1, j]]))
        i, j = i - (step != 2), j - (step != 1)
        pairs.append((i, j))
    return Path(float(table[-1, -1]), np.array(pairs[::-1]))


def dtw_distance(x: np.ndarray, y: np.ndarray, *, radius: int | None = None) -> float:
    """DTW of frames (n,D) and (m,D), within a Sakoe-Chiba band where `radius` is given."""
    band = None if radius is None else sakoe_chiba(len(x), len(y), radius)
    return float(np.sqrt(dtw(squared_distances(x, y), band=band).cost))


def soft_dtw(costs: np.ndarray, *, gamma: float, band: np.ndarray | None = None) -> float:
    """Soft-DTW over costs (n,m); `gamma` > 0, in the costs' unit."""
    return float(_soft_table(_within(costs, band), gamma)[-1, -1])


def soft_alignment(costs: np.ndarray, *, gamma: float) -> np.ndarray:
    """How much each pair of frames counts, float64 (n,m): the gradient of `soft_dtw` by the costs."""
    n, m = costs.shape
    table = _soft_table(costs, gamma)[1:, 1:]
    weight = np.zeros((n + 1, m + 1))
    weight[n - 1, m - 1] = 1
    padded_table = np.pad(table, (0, 1), constant_values=-np.inf)
    padded_costs = np.pad(costs.astype(np.float64), (0, 1))
    for i, j in list(_diagonals(n, m))[-2::-1]:
        for di, dj in ((1, 1), (1, 0), (0, 1)):
            after = i + di, j + dj
            share = np.exp((padded_table[after] - table[i, j] - padded_costs[after]) / gamma)
            weight[i, j] += weight[after] * share
    return weight[:n, :m]


def soft_dtw_divergence(x: np.ndarray, y: np.ndarray, *, gamma: float, radius: int | None = None) -> float:
    """Soft-DTW of frames (n,D) and (m,D) less half of both with themselves; 0 for equal sequences."""

    def between(a: np.ndarray, b: np.ndarray) -> float:
        band = None if radius is None else sakoe_chiba(len(a), len(b), radius)
        return soft_dtw(squared_distances(a, b), gamma=gamma, band=band)

    return between(x, y) - (between(x, x) + between(y, y)) / 2


class Misalignment(NamedTuple):
    """Frames int64 (n,) between extrema that belong together, and the cost of the path that says which do."""

    frames: np.ndarray
    cost: float

    @property
    def mean(self) -> float:
        """MTM in frames; NaN without a pair of extrema."""
        return float(self.frames.mean()) if len(self.frames) else float("nan")


def mean_temporal_misalignment(true: np.ndarray, generated: np.ndarray, *, sigma: float = 2.0) -> Misalignment:
    """MTM of two lip openings (n,) and (m,), after kaist-ami/Perceptual-3D-Talking-Head.

    Both are smoothed by a Gaussian of `sigma` frames, and their derivatives aligned by DTW. Where the path joins two
    maxima or two minima, the generated one no further than the true one's neighbouring extrema, their distance counts.
    """
    true, generated = (gaussian_filter1d(side.astype(np.float64), sigma) for side in (true, generated))
    steps = [np.diff(side, prepend=side[0]) for side in (true, generated)]
    path = dtw(np.abs(steps[0][:, None] - steps[1]))
    kinds = [_extrema(side) for side in (true, generated)]
    places = np.flatnonzero(kinds[0])
    frames = list[int]()
    for t, u in path.pairs:
        if kinds[0][t] == 0 or kinds[0][t] != kinds[1][u]:
            continue
        before, after = places[places < t], places[places > t]
        if (before[-1] if len(before) else 0) <= u <= (after[0] if len(after) else len(true) - 1):
            frames.append(abs(int(t - u)))
    return Misalignment(np.array(frames, np.int64), path.cost)


class PathPsnr(NamedTuple):
    """PSNR in dB along the path: of each pair float64 (P,), and three means of it."""

    pairs: np.ndarray
    mean: float
    mean_by_frame: float
    of_mean_error: float


def path_psnr(x: np.ndarray, y: np.ndarray, *, cap: float = 100.0) -> PathPsnr:
    """PSNR of uint8 frames (n,H,W,3) and (m,H,W,3) along their DTW path, each pair at most `cap` dB.

    `mean` is over the pairs; `mean_by_frame` over the frames of x, after the mean over each one's pairs;
    `of_mean_error` is the dB of the pairs' mean squared error.
    """
    flat = [side.reshape(len(side), -1) / 255 for side in (x, y)]
    costs = squared_distances(*flat)
    pairs = dtw(costs).pairs
    errors = costs[pairs[:, 0], pairs[:, 1]] * (255**2 / flat[0].shape[1])
    values = np.asarray(psnr(errors, cap=cap))
    by_frame = np.bincount(pairs[:, 0], values) / np.bincount(pairs[:, 0])
    return PathPsnr(values, float(values.mean()), float(by_frame.mean()), float(psnr(errors.mean(), cap=cap)))


def _within(costs: np.ndarray, band: np.ndarray | None) -> np.ndarray:
    costs = costs.astype(np.float64)
    return costs if band is None else np.where(band, costs, np.inf)


def _diagonals(n: int, m: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows and columns of the cells of each diagonal of a table (n,m), from the first cell to the last."""
    for number in range(n + m - 1):
        rows = np.arange(max(0, number - m + 1), min(n, number + 1))
        yield rows, number - rows


def _soft_table(costs: np.ndarray, gamma: float) -> np.ndarray:
    """Soft-DTW of all beginnings of both sequences, float64 (n+1,m+1)."""
    table = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    table[0, 0] = 0
    for i, j in _diagonals(*costs.shape):
        before = np.stack([table[i, j], table[i, j + 1], table[i + 1, j]])
        least = before.min(axis=0)
        reached = np.isfinite(least) & np.isfinite(costs[i, j])
        i, j, least, before = i[reached], j[reached], least[reached], before[:, reached]
        table[i + 1, j + 1] = costs[i, j] + least - gamma * np.log(np.exp((least - before) / gamma).sum(axis=0))
    return table


def _extrema(track: np.ndarray) -> np.ndarray:
    """1 at maxima, -1 at minima, else 0: int64 (n,)."""
    kinds = np.zeros(len(track), np.int64)
    kinds[find_peaks(track)[0]], kinds[find_peaks(-track)[0]] = 1, -1
    return kinds
