"""Head pose from 68 landmarks: a generic head model under weak perspective.

The fit minimises the weighted squared distance between the landmarks and s·R·X + t over rotation R, scale s and
translation t. It starts from affine least squares, projected onto the nearest rotation, and refines it by Gauss-Newton
steps, all frames at once. Mouth and jaw line, which speech moves, have zero weight (`head`), and outlying points of a
frame are down-weighted (two rounds of Cauchy weights).

Signs, order and ranges are those of 3DDFA_V2, which DAWN was trained with: in a right-handed frame with x to the right
of the image, y up, z to the viewer, R31 = sin(yaw), yaw > 0 turns the nose to the left of the image, pitch > 0 lowers
it, roll > 0 turns the head anticlockwise. Scale and translation refer to the image resized to 120×120 px with y up and
the model in micrometres, so s is about 4.5e-4 and tx, ty about 60 for a face crop. Unlike 3DDFA's, they are measured in
the fixed frame of the clip, not in a box that follows the face. tz is 3DDFA's constant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from dawn_bench.pipelines.extractors.base import BOX, EXTRACTORS, POSE, Extractor
from dawn_bench.pipelines.extractors.head import HEAD, WEIGHTS

#: Side of 3DDFA's input image, in whose pixels scale and translation are given, and its constant depth.
_SIDE, _DEPTH = 120.0, -66.67
#: Gauss-Newton steps after the affine start, and after each reweighting; a step reduces the error about tenfold.
_STEPS, _MORE_STEPS = 7, 4
_SQUARES = (HEAD[:, :, None] * HEAD[:, None]).reshape(-1, 9)


@EXTRACTORS.register("pose")
class Pose(Extractor):
    """`pose` float32 (T,7): yaw, pitch, roll in degrees, scale, tx, ty, tz; see the module."""

    name = "pose"
    needs = ("landmarks",)
    kind = POSE
    convention = BOX

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return "pose-2-weak-perspective-68"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`pose` (T,7) from `landmarks` (T,68,2)."""
        return {"pose": fit_pose(arrays["landmarks"], size=size)}


def fit_pose(landmarks: np.ndarray, *, size: int) -> np.ndarray:
    """Pose float32 (T,7) from landmarks (T,68,2) in pixels of square frames of side `size`; see the module."""
    points = (np.asarray(landmarks, np.float64) + 0.5) * (_SIDE / size)
    points[..., 1] = _SIDE - points[..., 1]
    weights = np.broadcast_to(WEIGHTS, points.shape[:2])
    rotation, scale, shift, residual = _fit(points, weights)
    for _ in range(2):
        typical = np.sqrt(residual**2 @ WEIGHTS / WEIGHTS.sum())[:, None]
        weights = WEIGHTS / (1 + (residual / (2 * typical + 1e-9)) ** 2)
        rotation, scale, shift, residual = _fit(points, weights, start=rotation)
    depth = np.full(len(points), _DEPTH)
    return np.column_stack([angles(rotation), scale, shift, depth]).astype(np.float32)


def angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll in degrees (T,3) of rotation matrices (T,3,3), by 3DDFA_V2's decomposition."""
    r31 = rotation[:, 2, 0].clip(-1, 1)
    yaw = np.arcsin(r31)
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    sign = np.sign(r31)
    locked = np.abs(r31) > 0.998  # gimbal lock: roll and pitch are not separable, and all of it counts as pitch
    yaw = np.where(locked, sign * np.pi / 2, yaw)
    pitch = np.where(locked, np.arctan2(-sign * rotation[:, 0, 1], -sign * rotation[:, 0, 2]), pitch)
    roll = np.where(locked, 0.0, roll)
    return np.degrees(np.stack([yaw, pitch, roll], axis=1))


def rotation_matrix(angles_deg: np.ndarray) -> np.ndarray:
    """Rotation matrices (T,3,3) of yaw, pitch, roll in degrees (T,3): Rz(roll)·Ry(-yaw)·Rx(pitch)."""
    yaw, pitch, roll = np.radians(np.asarray(angles_deg, np.float64)).T
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_x = np.array([[one, zero, zero], [zero, cp, -sp], [zero, sp, cp]])
    about_y = np.array([[cy, zero, -sy], [zero, one, zero], [sy, zero, cy]])
    about_z = np.array([[cr, -sr, zero], [sr, cr, zero], [zero, zero, one]])
    return np.einsum("ijt,jkt,klt->til", about_z, about_y, about_x)


def decode_matrix(matrix: np.ndarray) -> np.ndarray:
    """Pose float64 (T,7) from 3DDFA_V2's camera matrices (T,3,4): row scale removed, then decomposed into angles."""
    lengths = np.linalg.norm(matrix[:, :2, :3], axis=2)
    first, second = (matrix[:, i, :3] / lengths[:, i, None] for i in (0, 1))
    rotation = np.stack([first, second, np.cross(first, second)], axis=1)
    return np.column_stack([angles(rotation), lengths.mean(axis=1), matrix[:, :, 3]])


def _fit(
    points: np.ndarray, weights: np.ndarray, *, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (T,3,3), scale (T,), translation (T,2) and residual (T,68) for weights (T,68).

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
    wanted = affine @ metric
    for _ in range(_STEPS if start is None else _MORE_STEPS):
        rotation = _step(rotation, wanted, metric)
    seen = rotation[:, :2] @ metric
    scale = (seen * wanted).sum(axis=(1, 2)) / (seen**2).sum(axis=(1, 2))
    shift = point_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation[:, :2], model_mean)
    fitted = scale[:, None, None] * (HEAD @ rotation[:, :2].transpose(0, 2, 1)) + shift[:, None]
    return rotation, scale, shift, np.linalg.norm(points - fitted, axis=2)


def _step(rotation: np.ndarray, wanted: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step of rotations (T,3,3) that minimises |s·R₁₂·L - A|, with A (T,2,3) and L (T,3,3).

    The four unknowns are log s and a rotation about x, y, z. With g = R·L, s·g₁ and s·g₂ change by (g₁, g₂), (0, -g₃),
    (g₃, 0) and (-g₂, g₁) per unit, whose inner products are those of the rows of g.
    """
    g = rotation @ metric
    first, second, third = g[:, 0], g[:, 1], g[:, 2]
    scale = (g[:, :2] * wanted).sum(axis=(1, 2)) / (g[:, :2] ** 2).sum(axis=(1, 2))
    miss0, miss1 = (wanted / scale[:, None, None] - g[:, :2]).transpose(1, 0, 2)
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
