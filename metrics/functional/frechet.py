"""The Fréchet distance between two Gaussians fitted to feature sets, and its interval over clips.

    d = |mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½

The matrix root of the non-symmetric product, used by the common scripts, is slow and fails on singular covariances. The
eigenvalues of S1 S2 are those of a symmetric positive matrix, so two routes give the same number without it:

* few samples (N <= D): with A1, A2 the centred samples over √(N-1), tr (S1 S2)^½ is the sum of the singular values of
  A1 A2ᵀ, an N1 x N2 matrix. Exact for singular covariances, and fast: no decomposition of a D x D matrix.
* many samples: S1 = L Lᵀ, and the eigenvalues of Lᵀ S2 L are those of S1 S2.

The interval is the infinitesimal jackknife over clips: both routes give the derivative of d with respect to the weight
of each sample at almost no cost, so 1,000 resamples of 2,048-dimensional covariances are not needed. The tests check
the formula against leaving one clip out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.linalg
from scipy.stats import t as student

from dawn_bench.metrics.functional.bootstrap import LEVEL


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
    def of(cls, samples: np.ndarray) -> Sums:
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


def moments(parts: Sequence[np.ndarray], *, biased: bool = False) -> Moments:
    """Mean and covariance in float64 of samples that come in parts (n_i, D); `biased` divides by N, not N-1.

    Two passes over the parts, one part in memory at a time.
    """
    n = sum(len(part) for part in parts)
    mean = np.sum([np.sum(part, axis=0, dtype=np.float64) for part in parts], axis=0) / n
    covariance = np.zeros((len(mean), len(mean)))
    for part in parts:
        centred = np.asarray(part, dtype=np.float64) - mean
        covariance += centred.T @ centred
    return Moments(n, mean, covariance / (n if biased else max(n - 1, 1)))


def frechet_of_moments(one: Moments, two: Moments) -> float:
    """The distance from means and covariances alone; never below 0."""
    root, _ = _root_of(one.covariance)
    values = scipy.linalg.eigvalsh(root.T @ two.covariance @ root, check_finite=False, overwrite_a=True)
    gap = one.mean - two.mean
    trace = np.sqrt(np.maximum(values, 0)).sum()
    return max(float(gap @ gap + np.trace(one.covariance) + np.trace(two.covariance) - 2 * trace), 0.0)


def frechet(one: np.ndarray, two: np.ndarray, *, biased: bool = False) -> float:
    """The distance between two feature sets (N1,D) and (N2,D); never below 0."""
    return frechet_by_clip([one], [two], biased=biased, influence=False).value


def frechet_by_clip(
    one: Sequence[np.ndarray], two: Sequence[np.ndarray], *, biased: bool = False, influence: bool = True
) -> Frechet:
    """The distance between two feature sets given as one array (n_i, D) per clip; clip i is the same in both.

    With `influence` also the influence of each clip, its generated and true features together.
    """
    n1, n2, dim = sum(map(len, one)), sum(map(len, two)), one[0].shape[1]
    if min(n1, n2) > dim:
        return _from_moments(one, two, biased, influence)
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


def _from_samples(one: Sequence[np.ndarray], two: Sequence[np.ndarray], biased: bool, influence: bool) -> Frechet:
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


def _from_moments(one: Sequence[np.ndarray], two: Sequence[np.ndarray], biased: bool, influence: bool) -> Frechet:
    m1, m2 = moments(one, biased=biased), moments(two, biased=biased)
    value = frechet_of_moments(m1, m2)
    if not influence:
        return Frechet(value, np.zeros(0))
    root, solve = _root_of(m1.covariance)
    values, vectors = scipy.linalg.eigh(root.T @ m2.covariance @ root, check_finite=False, overwrite_a=True)
    s = np.sqrt(np.maximum(values, 0))
    gap = m1.mean - m2.mean
    # the optimal transport map from one to two is F1 F1ᵀ, the inverse F2 F2ᵀ; directions without variance have none
    kept = s > s.max() * 1e-7
    map1 = solve(vectors[:, kept] * np.sqrt(s[kept]))
    map2 = root @ (vectors[:, kept] / np.sqrt(s[kept]))
    shares = np.zeros(len(one))
    for parts, m, to, sign in ((one, m1, map1, 1), (two, m2, map2, -1)):
        change = []
        for part in parts:
            x = np.asarray(part, dtype=np.float64) - m.mean
            change.append(np.sum(x * x) - np.sum((x @ to) ** 2) + 2 * sign * np.sum(x @ gap))
        shares += _shares(np.array(change) / m.n, parts)
    return Frechet(value, shares)


def _centred(parts: Sequence[np.ndarray], biased: bool) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.concatenate(parts).astype(np.float64)
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


def _per_clip(change: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return np.array([change[a:b].sum() for a, b in pairwise(starts)])


def _shares(change: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Each clip's change minus its share of the total: weights are relative, so the sum is zero."""
    sizes = np.array([len(part) for part in parts])
    return change - change.sum() * sizes / sizes.sum()
