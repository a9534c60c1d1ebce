"""Head pose from 68 landmarks: a generic head under weak perspective.

The fit minimises the weighted squared distance between the landmarks and s·R·X + t over rotation R, scale s and
translation t: an affine least-squares start, then orthographic iterations, in which each point's unseen depth is
taken from the current pose and rotation follows by Procrustes. Mouth and jaw line, which speech
moves, weigh nothing (`head`), and points that fit badly in a frame are damped there (two rounds of Cauchy weights).

Signs, order and ranges are 3DDFA_V2's, which DAWN was trained with: in a right-handed frame of x to the right of the
picture, y up, z to the viewer, R31 = sin(yaw), yaw > 0 turns the nose to the left of the picture, pitch > 0 lowers
it, roll > 0 turns the head anticlockwise. Scale and translation are those of the picture brought to 120×120 px with y
up, the model in micrometres, so that s is about 4.5e-4 and tx, ty about 60 for a face crop; unlike 3DDFA's they are
measured in the clip's fixed frame, not in a box that follows the face. tz is 3DDFA's constant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dawn_bench.pipelines.features.base import EXTRACTORS
from dawn_bench.pipelines.features.head import HEAD, WEIGHTS

#: Side of 3DDFA's input picture, in whose pixels scale and translation are given, and its constant depth.
_SIDE, _DEPTH = 120.0, -66.67
_ITERATIONS = 40


@EXTRACTORS.register("pose")
class Pose:
    """`pose` float32 (T,7): yaw, pitch, roll in degrees, scale, tx, ty, tz; see the module."""

    name = "pose"
    needs: tuple[str, ...] = ("landmarks",)

    def fingerprint(self) -> str:
        return "pose-1-weak-perspective-68"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        return {"pose": fit_pose(arrays["landmarks"], size=size)}


def fit_pose(landmarks: np.ndarray, *, size: int) -> np.ndarray:
    """Pose float32 (T,7) of points (T,68,2) in pixels of frames of side `size`."""
    points = (np.asarray(landmarks, np.float64) + 0.5) * (_SIDE / size)
    points[..., 1] = _SIDE - points[..., 1]
    weights = np.broadcast_to(WEIGHTS, points.shape[:2])
    for _ in range(2):
        rotation, scale, shift, residual = _fit(points, weights)
        typical = np.sqrt(np.average(residual**2, axis=1, weights=WEIGHTS))[:, None]
        weights = WEIGHTS / (1 + (residual / (2 * typical + 1e-9)) ** 2)
    rotation, scale, shift, _ = _fit(points, weights)
    depth = np.full(len(points), _DEPTH)
    return np.column_stack([angles(rotation), scale, shift, depth]).astype(np.float32)


def angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll in degrees (T,3) of rotation matrices (T,3,3), by 3DDFA_V2's decomposition."""
    r31 = rotation[:, 2, 0].clip(-1, 1)
    yaw = np.arcsin(r31)
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    sign = np.sign(r31)
    locked = np.abs(r31) > 0.998  # looking along the axis, roll and pitch turn alike: all of it is called pitch
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
    """Pose float64 (T,7) of 3DDFA_V2's 3×4 camera matrices (T,3,4): the rows' scale taken out, then the angles."""
    lengths = np.linalg.norm(matrix[:, :2, :3], axis=2)
    first, second = (matrix[:, i, :3] / lengths[:, i, None] for i in (0, 1))
    rotation = np.stack([first, second, np.cross(first, second)], axis=1)
    return np.column_stack([angles(rotation), lengths.mean(axis=1), matrix[:, :, 3]])


def _fit(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (T,3,3), scale (T,), translation (T,2), and residual (T,68), for weights (T,68)."""
    share = weights / weights.sum(axis=1, keepdims=True)
    model_mean = np.einsum("tn,nc->tc", share, HEAD)
    point_mean = np.einsum("tn,tnc->tc", share, points)
    model = HEAD - model_mean[:, None]
    centred = points - point_mean[:, None]
    # affine start: the 2×3 matrix that best maps model to points, its rows made a rotation
    spread = np.einsum("tn,tni,tnj->tij", share, model, model)
    cross = np.einsum("tn,tni,tnj->tij", share, centred, model)
    affine = cross @ np.linalg.inv(spread)
    rotation = _nearest_rotation(np.concatenate([affine, np.cross(affine[:, 0], affine[:, 1])[:, None]], axis=1))
    energy = np.trace(spread, axis1=1, axis2=2)
    scale = np.linalg.norm(affine, axis=2).mean(axis=1)
    for _ in range(_ITERATIONS):
        depth_cross = scale[:, None] * np.einsum("tj,tij->ti", rotation[:, 2], spread)
        full = np.concatenate([cross, depth_cross[:, None]], axis=1)
        rotation = _nearest_rotation(full)
        scale = np.einsum("tij,tij->t", rotation, full) / energy
    shift = point_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation[:, :2], model_mean)
    fitted = scale[:, None, None] * np.einsum("tij,nj->tni", rotation[:, :2], HEAD) + shift[:, None]
    return rotation, scale, shift, np.linalg.norm(points - fitted, axis=2)


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotations (T,3,3) nearest to matrices (T,3,3)."""
    u, _, vt = np.linalg.svd(matrix)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt
