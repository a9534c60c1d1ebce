"""The Fréchet distance between two Gaussians fitted to feature sets, and its interval over clips.

    d = |mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½

The matrix root of the non-symmetric product, used by the common scripts, is slow and fails on singular covariances. The
eigenvalues of S1 S2 are those of a symmetric positive matrix, so two routes give the same number without it:

* few samples (N <= D): with A1, A2 the centred samples over √(N-1), tr (S1 S2)^½ is the sum of the singular values of
  A1 A2ᵀ, an N1 x N2 matrix. Exact for singular covariances, and fast: no decomposition of a D x D matrix.
* many samples: S1 = L Lᵀ, and the eigenvalues of Lᵀ S2 L are those of S1 S2.

The interval is the infinitesimal jackknife over clips: both routes give the derivative of d with respect to the weight
of each sample at little cost, so 1,000 resamples of 2,048-dimensional covariances are not needed. The tests check the
formula against leaving one clip out. Moments and distance are computed in float64, the influences of many samples by
one float32 product whose matrix is computed in float64: bounds of the interval have six digits.

Samples come in parts, one a clip, which may be rows of files; `ROWS` of them are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import scipy.linalg
from scipy.stats import t as student

from dawn_bench.metrics.functional.bootstrap import LEVEL

#: Samples that are worked on together: those of several short clips, or some of a long one.
ROWS = 1024


class Rows(Protocol):
    """Samples (n,D) that are read part by part."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __array__(self) -> np.ndarray: ...

    def __getitem__(self, rows: slice) -> Rows: ...

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows `first` to `last` (exclusive)."""


#: The samples (n,D) of one clip.
Samples = np.ndarray | Rows


@dataclass(frozen=True)
class Moments:
    """Number of samples, mean float64 (D,) and covariance float64 (D,D)."""

    n: int
    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Sums:
    """Number of samples, their sum float64 (D,) and the sum of their outer products float64 (D,D); additive."""

    n: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> Sums:
        """The sums of samples (n,D)."""
        x = np.asarray(samples, dtype=np.float64)
        return cls(len(x), x.sum(axis=0), x.T @ x)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.total + other.total, self.products + other.products)

    def moments(self, *, biased: bool = False) -> Moments:
        """Mean and covariance; `biased` divides by N, not N-1."""
        mean = self.total / self.n
        scatter = self.products - self.n * np.outer(mean, mean)
        return Moments(self.n, mean, scatter / (self.n if biased else max(self.n - 1, 1)))


@dataclass(frozen=True)
class Frechet:
    """The distance, and its derivative with respect to the weight of each clip, float64 (n_clips,) with sum 0."""

    value: float
    influence: np.ndarray


def moments(parts: Sequence[Samples], *, biased: bool = False) -> Moments:
    """Mean and covariance in float64 of samples that come in parts (n_i, D); `biased` divides by N, not N-1.

    Two passes over the parts, `ROWS` samples in memory at a time.
    """
    n, dim = sum(len(part) for part in parts), parts[0].shape[1]
    mean = sum((rows.sum(axis=0, dtype=np.float64) for rows, _ in _batches(parts)), np.zeros(dim)) / n
    covariance = np.zeros((dim, dim))
    for rows, _ in _batches(parts):
        centred = rows - mean
        covariance += centred.T @ centred
    return Moments(n, mean, covariance / (n if biased else max(n - 1, 1)))


def frechet_of_moments(one: Moments, two: Moments) -> float:
    """The distance from means and covariances alone; never below 0."""
    root, _ = _root_of(one.covariance)
    values = scipy.linalg.eigvalsh(root.T @ two.covariance @ root, check_finite=False, overwrite_a=True)
    return _distance(one, two, np.sqrt(np.maximum(values, 0)).sum())


def _distance(one: Moments, two: Moments, trace: float) -> float:
    """The distance; `trace` is that of the root of the product of both covariances."""
    gap = one.mean - two.mean
    return max(float(gap @ gap + np.trace(one.covariance) + np.trace(two.covariance) - 2 * trace), 0.0)


def frechet(one: np.ndarray, two: np.ndarray, *, biased: bool = False) -> float:
    """The distance between two feature sets (N1,D) and (N2,D); never below 0."""
    return frechet_by_clip([one], [two], biased=biased, influence=False).value


def frechet_by_clip(
    one: Sequence[Samples],
    two: Sequence[Samples],
    *,
    biased: bool = False,
    influence: bool = True,
    known: Callable[[Sequence[Samples]], Moments] | None = None,
) -> Frechet:
    """The distance between two feature sets given as one array (n_i, D) per clip; clip i is the same in both.

    With `influence` also the influence of each clip, its generated and true features together. `known` gives the
    moments of set two where they were computed before; None: `moments`.
    """
    n1, n2, dim = sum(map(len, one)), sum(map(len, two)), one[0].shape[1]
    if min(n1, n2) > dim:
        second = moments(two, biased=biased) if known is None else known(two)
        return _from_moments(one, two, moments(one, biased=biased), second, influence)
    return _from_samples(one, two, biased, influence)


def interval(value: float, influence: np.ndarray, *, floor: float) -> tuple[float | None, float | None]:
    """The 95 % interval of `value` from the clips' influences, not below `floor`, the least possible value.

    (None, None) for fewer than three clips: two do not show the spread.
    """
    n = len(influence)
    if n < 3:
        return None, None
    reach = float(student.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt(n / (n - 1) * np.sum(influence**2)))
    return max(value - reach, floor), value + reach


def _from_samples(one: Sequence[Samples], two: Sequence[Samples], biased: bool, influence: bool) -> Frechet:
    a1, mean1, by1 = _centred(one, biased)
    a2, mean2, by2 = _centred(two, biased)
    gap = mean1 - mean2
    product = a1 @ a2.T
    own1, own2 = np.einsum("nd,nd->n", a1, a1), np.einsum("nd,nd->n", a2, a2)
    if influence:
        u, s, vt = scipy.linalg.svd(product, full_matrices=False, check_finite=False, overwrite_a=True)
    else:
        s = scipy.linalg.svdvals(product, check_finite=False, overwrite_a=True)
    value = max(float(gap @ gap + own1.sum() + own2.sum() - 2 * s.sum()), 0.0)
    if not influence:
        return Frechet(value, np.zeros(0))
    change1 = (own1 - (u * u) @ s + 2 / np.sqrt(by1) * (a1 @ gap)) * by1 / len(a1)
    change2 = (own2 - (vt * vt).T @ s - 2 / np.sqrt(by2) * (a2 @ gap)) * by2 / len(a2)
    return Frechet(value, _shares(_per_clip(change1, one), one) + _shares(_per_clip(change2, two), two))


def _from_moments(one: Sequence[Samples], two: Sequence[Samples], m1: Moments, m2: Moments, influence: bool) -> Frechet:
    if not influence:
        return Frechet(frechet_of_moments(m1, m2), np.zeros(0))
    root, solve = _root_of(m1.covariance)
    values, vectors = scipy.linalg.eigh(root.T @ m2.covariance @ root, check_finite=False, overwrite_a=True)
    s = np.sqrt(np.maximum(values, 0))
    value = _distance(m1, m2, s.sum())
    gap = m1.mean - m2.mean
    # the optimal transport map from one to two is F1 F1ᵀ, the inverse F2 F2ᵀ; directions without variance have none
    kept = s > s.max() * 1e-7
    map1 = solve(vectors[:, kept] * np.sqrt(s[kept]))
    map2 = root @ (vectors[:, kept] / np.sqrt(s[kept]))
    shares = np.zeros(len(one))
    for parts, m, to, sign in ((one, m1, map1, 1), (two, m2, map2, -1)):
        change = _changes(parts, m.mean, np.eye(len(gap)) - to @ to.T, 2 * sign * gap)
        shares += _shares(change / m.n, parts)
    return Frechet(value, shares)


def _changes(parts: Sequence[Samples], mean: np.ndarray, form: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """float64 (n_parts,): the sum of xᵀ form x + slope · x over the samples x of each part, without their mean.

    The difference of two squares is in `form`, which is small where both sets agree: float32 is enough for the product.
    """
    change, form32 = np.zeros(len(parts)), form.astype(np.float32)
    for rows, owners in _batches(parts):
        x = rows - mean
        x32 = x.astype(np.float32)
        squares = np.sum(x32 * (x32 @ form32), axis=1, dtype=np.float64)
        change += np.bincount(owners, squares + x @ slope, minlength=len(parts))
    return change


def _batches(parts: Sequence[Samples]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The samples of all parts in order, at most `ROWS` at a time, and the number of the part of each."""
    batch: list[np.ndarray] = []
    owners: list[int] = []
    for number, part in enumerate(parts):
        for first in range(0, len(part), ROWS):
            rows = part[first : first + ROWS] if isinstance(part, np.ndarray) else part.read(first, first + ROWS)
            if len(owners) + len(rows) > ROWS:
                yield np.concatenate(batch), np.array(owners)
                batch, owners = [], []
            batch.append(rows)
            owners += [number] * len(rows)
    if batch:
        yield np.concatenate(batch), np.array(owners)


def _centred(parts: Sequence[Samples], biased: bool) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.concatenate([np.asarray(part) for part in parts]).astype(np.float64)
    mean = x.mean(axis=0)
    by = len(x) if biased else max(len(x) - 1, 1)
    return (x - mean) / np.sqrt(by), mean, by


def _root_of(covariance: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """L (D,D) with L Lᵀ = covariance, and the function y -> L⁻ᵀ y.

    Cholesky's factor where the matrix is not singular, else from the eigenvectors, with the pseudo-inverse.
    """
    try:
        lower = scipy.linalg.cholesky(covariance, lower=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(covariance, check_finite=False)
        roots = np.sqrt(np.maximum(values, 0))
        inverse = np.divide(1, roots, out=np.zeros_like(roots), where=roots > roots.max() * 1e-7)
        return vectors * roots, lambda y: vectors @ (inverse[:, None] * y)
    return lower, lambda y: scipy.linalg.solve_triangular(lower, y, trans="T", lower=True, check_finite=False)


def _per_clip(change: np.ndarray, parts: Sequence[Samples]) -> np.ndarray:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return np.array([change[a:b].sum() for a, b in pairwise(starts)])


def _shares(change: np.ndarray, parts: Sequence[Samples]) -> np.ndarray:
    """Each clip's change minus its share of the total: weights are relative, so the sum is zero."""
    sizes = np.array([len(part) for part in parts])
    return change - change.sum() * sizes / sizes.sum()
