"""Precision, recall, density and coverage of generated features against true ones.

Around each sample of a set lies a ball that reaches its k-th nearest neighbour in that set. Precision is the share of
generated samples in a ball of the true ones, recall the share of true samples in a ball of the generated ones
(Kynkäänniemi et al. 2019). Density counts the true balls that a generated sample lies in, over k; coverage is the share
of true balls with a generated sample in them (Naeem et al. 2020).

A sample at exactly the radius is where the authors differ: `inside` is `<=` for improved precision and recall
(torch-fidelity too), `<` for density and coverage, whose package counts precision and recall that way as well. Copies
have radius 0 and then decide everything: sample frames of a video far apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

Inside = Literal["<", "<="]


@dataclass(frozen=True)
class Manifolds:
    """Shares 0..1; `density` may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float

    @property
    def f_score(self) -> float:
        """The harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def radii(x: np.ndarray, k: int) -> np.ndarray:
    """float64 (n,): the distance of each sample (n,D) to its k-th nearest neighbour in the set, itself left out.

    Raises `ValueError` for k samples or fewer.
    """
    if len(x) <= k:
        raise ValueError(f"{len(x)} samples have no {k}-th neighbour: at least {k + 1} are needed")
    return np.partition(_distances(x, x), k, axis=1)[:, k]


def manifolds(generated: np.ndarray, true: np.ndarray, *, k: int = 3, inside: Inside = "<=") -> Manifolds:
    """The four shares for generated (m,D) and true (n,D) samples. Raises `ValueError` for k samples or fewer."""
    of_true, of_generated = radii(true, k), radii(generated, k)
    between = _distances(true, generated)
    in_true = between <= of_true[:, None] if inside == "<=" else between < of_true[:, None]
    in_generated = between <= of_generated if inside == "<=" else between < of_generated
    return Manifolds(
        precision=float(in_true.any(axis=0).mean()),
        recall=float(in_generated.any(axis=1).mean()),
        density=float(in_true.sum(axis=0).mean() / k),
        coverage=float(in_true.any(axis=1).mean()),
    )


def realism(generated: np.ndarray, true: np.ndarray, *, k: int = 3, all_balls: bool = False) -> np.ndarray:
    """float64 (m,): how deep each generated sample lies in a true ball: the greatest radius over distance.

    Balls above the median radius are left out, as in the paper (Kynkäänniemi et al. 2019). Its code takes `all_balls`
    and squared distances, and so gives the square of this.
    """
    of_true, between = radii(true, k), _distances(true, generated)
    used = np.full(len(true), True) if all_balls else of_true <= np.median(of_true)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = of_true[used, None] / between[used]
    return np.nan_to_num(ratios, nan=0.0, posinf=np.inf).max(axis=0)


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances float64 (n,m), computed from differences: copies are exactly 0 apart."""
    return cdist(x.astype(np.float64), y.astype(np.float64))
