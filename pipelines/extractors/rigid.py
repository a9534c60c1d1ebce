"""The rigid fit of the generic head (`head`) to 68 points under weak perspective.

It minimises the weighted squared distance between the points and s·R·X + t over rotation R, scale s and translation t.
It starts from affine least squares, projected onto the nearest rotation, and refines it by Gauss-Newton steps, all
frames at once. Mouth and jaw line, which speech moves, have zero weight (`head`), and outlying points of a frame are
down-weighted (two rounds of Cauchy weights).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from dawn_bench.pipelines.extractors.head import HEAD, WEIGHTS

#: Gauss-Newton steps after the affine start, and after each reweighting; a step reduces the error about tenfold.
_STEPS, _MORE_STEPS = 7, 4
_SQUARES = (HEAD[:, :, None] * HEAD[:, None]).reshape(-1, 9)


class RigidFit(NamedTuple):
    """The head in T frames: `rotation` (T,3,3), `scale` (T,) in units of the points a micrometre, `shift` (T,2)."""

    rotation: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points (K,3) of the head, micrometres, are seen: float64 (T,K,2)."""
        return self.scale[:, None, None] * (points @ self.rotation[:, :2].transpose(0, 2, 1)) + self.shift[:, None]


def fit_head(points: np.ndarray) -> RigidFit:
    """Fit the head to points float64 (T,68,2) with y up, in any unit; frames are independent of each other."""
    weights = np.broadcast_to(WEIGHTS, points.shape[:2])
    fit, residual = _fit(points, weights)
    for _ in range(2):
        typical = np.sqrt(residual**2 @ WEIGHTS / WEIGHTS.sum())[:, None]
        weights = WEIGHTS / (1 + (residual / (2 * typical + 1e-9)) ** 2)
        fit, residual = _fit(points, weights, start=fit.rotation)
    return fit


def _fit(points: np.ndarray, weights: np.ndarray, *, start: np.ndarray | None = None) -> tuple[RigidFit, np.ndarray]:
    """The fit for weights (T,68), and the distance of each point from it (T,68).

    `start` is an initial rotation (T,3,3); without it the fit starts from affine least squares.
    """
    share = weights / weights.sum(axis=1, keepdims=True)
    model_mean = share @ HEAD
    spread = (share @ _SQUARES).reshape(-1, 3, 3) - model_mean[:, :, None] * model_mean[:, None]
    shared = share[..., None] * points
    point_mean = shared.sum(axis=1)
    cross = shared.transpose(0, 2, 1) @ HEAD - point_mean[:, :, None] * model_mean[:, None]
    # the 2×3 least-squares map from model to points, and the metric in which scale times rotation approximates it
    affine = cross @ np.linalg.inv(spread)
    metric = np.linalg.cholesky(spread)
    rotation = start
    if rotation is None:
        rotation = _nearest_rotation(np.concatenate([affine, np.cross(affine[:, 0], affine[:, 1])[:, None]], axis=1))
    target = affine @ metric
    for _ in range(_STEPS if start is None else _MORE_STEPS):
        rotation = _step(rotation, target, metric)
    projected = rotation[:, :2] @ metric
    scale = (projected * target).sum(axis=(1, 2)) / (projected**2).sum(axis=(1, 2))
    shift = point_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation[:, :2], model_mean)
    fit = RigidFit(rotation, scale, shift)
    return fit, np.linalg.norm(points - fit.project(HEAD), axis=2)


def _step(rotation: np.ndarray, target: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step of rotations (T,3,3) that minimises |s·R₁₂·L - A|, with A (T,2,3) and L (T,3,3).

    The four unknowns are log s and a rotation about x, y, z. With g = R·L, s·g₁ and s·g₂ change by (g₁, g₂), (0, -g₃),
    (g₃, 0) and (-g₂, g₁) per unit, whose inner products are those of the rows of g.
    """
    g = rotation @ metric
    first, second, third = g[:, 0], g[:, 1], g[:, 2]
    scale = (g[:, :2] * target).sum(axis=(1, 2)) / (g[:, :2] ** 2).sum(axis=(1, 2))
    miss0, miss1 = (target / scale[:, None, None] - g[:, :2]).transpose(1, 0, 2)
    gram = g @ g.transpose(0, 2, 1)
    size, depth, zero = gram[:, 0, 0] + gram[:, 1, 1], gram[:, 2, 2], np.zeros(len(g))
    cross0, cross1 = gram[:, 0, 2], gram[:, 1, 2]
    normal = np.array(
        [
            [size, -cross1, cross0, zero],
            [-cross1, depth, zero, -cross0],
            [cross0, zero, depth, -cross1],
            [zero, -cross0, -cross1, size],
        ]
    ).transpose(2, 0, 1)
    slope = np.stack(
        [
            (first * miss0 + second * miss1).sum(axis=1),
            -(third * miss1).sum(axis=1),
            (third * miss0).sum(axis=1),
            (first * miss1 - second * miss0).sum(axis=1),
        ],
        axis=1,
    )
    turn = np.linalg.solve(normal, slope[..., None])[:, 1:, 0]
    return Rotation.from_rotvec(turn).as_matrix() @ rotation


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The nearest rotations (T,3,3) to matrices (T,3,3), by SVD."""
    u, _, vt = np.linalg.svd(matrix)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt
