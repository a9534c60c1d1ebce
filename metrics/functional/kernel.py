"""The kernel distance between two sets of features: the squared maximum mean discrepancy (MMD²).

    unbiased     mean of k(x,x') over pairs of different x + the same of y - 2 mean of k(x,y)
    u-statistic  the pairs x_i, y_i are left out of the last mean too; the sets have one size
    biased       every pair counts, each sample with itself too; never below 0

Source: Gretton et al. 2012; Binkowski et al. 2018 for the cubic kernel (x·y/D + 1)³, which KID and KVD have. Authors
differ in the pairs and in what they draw:

* KID: the mean over random subsets, `kid`: of torch-fidelity's sizes, or clean-fid's, which shrink to the smaller set.
* KVD (DIGAN): `mmd` over both sets, whose sizes may differ.
* JEDi: `mmd(..., kernel=polynomial(degree=2, coef0=0), estimate="biased")` times 100.

The unbiased value is negative where the sets agree better than two draws of one distribution do, as equal sets do.
All sums are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dawn_bench.metrics.functional.frechet import ROWS, Samples

#: Values of a kernel float64 (n,m) between samples (n,D) and (m,D).
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
Estimate = Literal["unbiased", "u-statistic", "biased"]
#: Samples of a side that are compared all with all. More are cut into groups of whole clips.
GROUP = 4096


def polynomial(*, degree: int = 3, gamma: float | None = None, coef0: float = 1.0) -> Kernel:
    """(gamma x·y + coef0)^degree; `gamma` None: 1/D."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        scale = 1 / x.shape[1] if gamma is None else gamma
        return (x @ y.T * scale + coef0) ** degree

    return kernel


def rbf(sigma: float) -> Kernel:
    """exp(-|x - y|² / (2 sigma²))."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
        return np.exp(-np.maximum(squares, 0) / (2 * sigma**2))

    return kernel


CUBIC = polynomial()


def mmd(x: np.ndarray, y: np.ndarray, *, kernel: Kernel = CUBIC, estimate: Estimate = "unbiased") -> float | None:
    """MMD² between samples (n,D) and (m,D); None where it is undefined: a set is empty, or of one sample.

    A single sample has no pair of different ones, so that only the biased estimate is defined. Raises `ValueError`
    for a u-statistic of sets of two sizes.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, m = len(x), len(y)
    if min(n, m) < (1 if estimate == "biased" else 2):
        return None
    if estimate == "u-statistic" and n != m:
        raise ValueError(f"the u-statistic pairs the samples: {n} and {m} are not one number")
    within_x, within_y, across = kernel(x, x), kernel(y, y), kernel(x, y)
    if estimate == "biased":
        return float(within_x.mean() + within_y.mean() - 2 * across.mean())
    value = _off_diagonal(within_x) / (n * (n - 1)) + _off_diagonal(within_y) / (m * (m - 1))
    if estimate == "u-statistic":
        return float(value - 2 * _off_diagonal(across) / (n * (n - 1)))
    return float(value - 2 * across.mean())


def _off_diagonal(values: np.ndarray) -> float:
    return float(values.sum() - np.trace(values))


@dataclass(frozen=True)
class Subsets:
    """MMD² of random subsets float64 (count,); KID is its mean, and `std` (not of a sample) its usual spread."""

    values: np.ndarray

    @property
    def mean(self) -> float:
        """KID."""
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """The spread over the subsets, which is not an interval over clips."""
        return float(self.values.std())


def kid(
    x: np.ndarray,
    y: np.ndarray,
    *,
    count: int = 100,
    size: int = 1000,
    seed: int = 2020,
    kernel: Kernel = CUBIC,
    draws: Literal["torch-fidelity", "clean-fid"] = "torch-fidelity",
) -> Subsets:
    """The unbiased MMD² of `count` subsets of `size` samples of both (n,D) and (m,D), drawn without replacement.

    `torch-fidelity` draws from x first. `clean-fid` draws from y first, and from subsets as large as the smaller set
    where that has fewer than `size` samples. Raises `ValueError` for subsets that the sets are too small for.
    """
    least = min(len(x), len(y))
    if draws == "clean-fid":
        size = min(size, least)
    if not 2 <= size <= least:
        raise ValueError(f"subsets of {size} samples cannot be drawn from {least}")
    generator, values = np.random.RandomState(seed), np.empty(count)
    for number in range(count):
        if draws == "clean-fid":
            of_y = generator.choice(len(y), size, replace=False)
            of_x = generator.choice(len(x), size, replace=False)
        else:
            of_x = generator.choice(len(x), size, replace=False)
            of_y = generator.choice(len(y), size, replace=False)
        values[number] = mmd(x[of_x], y[of_y], kernel=kernel)
    return Subsets(values)


@dataclass(frozen=True)
class KernelDistance:
    """The unbiased MMD², and the influences from which `frechet.interval` makes its interval, float64, with sum 0.

    They are those of clips, or of groups of clips where one of these is a single clip. `groups` is the number of
    groups whose values were averaged.
    """

    value: float
    influence: np.ndarray
    groups: int


def mmd_by_clip(
    one: Sequence[Samples], two: Sequence[Samples], *, kernel: Kernel = CUBIC, most: int = GROUP
) -> KernelDistance | None:
    """The unbiased MMD² of two sets given as one array (n_i,D) per clip; clip i is the same in both.

    Sets of more than `most` samples are cut at random into groups of whole clips, and the value is the mean of the
    groups', which is unbiased too. The influences are the jackknife's: what leaving a clip out of its group changes.
    None where no group has two samples on each side.
    """
    sides = [np.array([len(part) for part in parts]) for parts in (one, two)]
    count = -(-max(int(sizes.sum()) for sizes in sides) // most)
    values, influences = list[float](), list[np.ndarray]()
    for members in _groups(sides[0], sides[1], count):
        sums = _BlockSums.of([_read(one[k]) for k in members], [_read(two[k]) for k in members], kernel)
        value = sums.value(np.ones(len(members)))
        if value is None:
            continue
        values.append(value)
        without = [sums.value(1 - row) for row in np.eye(len(members))]
        left = np.array([value if v is None else v for v in without])
        influences.append((len(members) - 1) / len(members) * (left.mean() - left))
    if not values:
        return None
    mean = float(np.mean(values))
    influence = np.concatenate(influences)
    if len(values) > 1 and min(map(len, influences)) == 1:
        influence = np.array(values) - mean
    return KernelDistance(mean, influence / len(values), len(values))


def _groups(n: np.ndarray, m: np.ndarray, count: int) -> list[np.ndarray]:
    """The numbers of the clips of at most `count` groups, at random: both sides of a clip are in one group.

    `n` and `m` are the samples of each clip on each side. Clips with one side alone, of sets that are not paired, are
    divided side by side.
    """
    order = np.random.default_rng(0).permutation(len(n)) if count > 1 else np.arange(len(n))
    kinds = [order[(n > 0)[order] & (m > 0)[order]], order[(m == 0)[order]], order[(n == 0)[order]]]
    kinds = [kind for kind in kinds if len(kind)]
    count = max(1, min(count, *map(len, kinds)))
    return [np.sort(np.concatenate(group)) for group in zip(*(np.array_split(k, count) for k in kinds), strict=True)]


@dataclass(frozen=True)
class _BlockSums:
    """Sums of the kernel between the samples of each two clips, float64 (C,C), and numbers of samples (C,).

    Pairs of a sample with itself are left out of `xx` and `yy`.
    """

    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    n: np.ndarray
    m: np.ndarray

    @classmethod
    def of(cls, one: Sequence[np.ndarray], two: Sequence[np.ndarray], kernel: Kernel) -> _BlockSums:
        counts = (np.array([len(part) for part in parts]) for parts in (one, two))
        return cls(_summed(one, one, kernel), _summed(two, two, kernel), _summed(one, two, kernel), *counts)

    def value(self, weight: np.ndarray) -> float | None:
        """MMD² of the clips of weight 1 among weights (C,) of 0 and 1; None where they have too few samples."""
        n, m = weight @ self.n, weight @ self.m
        if min(n, m) < 2:
            return None
        xx, yy, xy = (weight @ table @ weight for table in (self.xx, self.yy, self.xy))
        return float(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m))


def _summed(one: Sequence[np.ndarray], two: Sequence[np.ndarray], kernel: Kernel) -> np.ndarray:
    """Sums (C,C) of the kernel between the samples of each two clips, `ROWS` of them at a time.

    Of a set with itself, pairs of a sample with itself are left out.
    """
    table, columns = np.zeros((len(one), len(two))), np.concatenate(two)
    owners, place = np.repeat(np.arange(len(two)), [len(part) for part in two]), 0
    for number, part in enumerate(one):
        for first in range(0, len(part), ROWS):
            rows = part[first : first + ROWS]
            values = kernel(rows, columns)
            if one is two:
                values[np.arange(len(rows)), place + np.arange(len(rows))] = 0
            place += len(rows)
            table[number] += np.bincount(owners, values.sum(axis=0), minlength=len(two))
    return table


def _read(part: Samples) -> np.ndarray:
    return np.asarray(part).astype(np.float64)
