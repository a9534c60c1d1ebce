"""Distances between the 68 landmarks of a generated and a true clip, in the variants that are in use.

`LMD` is a mean Euclidean distance over points and frames: F-LMD over the face, M-LMD over the mouth. Published numbers
differ in alignment and scale, so both are arguments here. A frame with NaN on either side does not count.

The house variant aligns each generated face to the true one by eyes and nose (`similarity`), so that pose and framing
do not count, takes off each region's own centre, and divides by the distance of the true outer eye corners.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

#: The points of a region, and those that do not move with speech (iBUG 68).
FACE, MOUTH = slice(0, 68), slice(48, 68)
RIGID = slice(27, 48)
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)

Align = Literal["none", "mean", "similarity"]
Scale = Literal["pixels", "outer_eye_corners", "eye_centres", "face_box", "jaw_width"]


def seen_in_both(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The frames bool (T,) in which both sides (T,K,2) have all points."""
    return ~(np.isnan(generated).any(axis=(1, 2)) | np.isnan(true).any(axis=(1, 2)))


def frame_distances(
    generated: np.ndarray, true: np.ndarray, *, region: slice = FACE, align: Align = "none", scale: Scale = "pixels"
) -> np.ndarray:
    """The mean distance of a region's points in each frame that both sides have: float64 (frames,).

    Args:
        generated: points (T,68,2) in pixels; NaN where no face was seen.
        true: the same of the true clip.
        region: the points that count, `FACE` or `MOUTH`.
        align: `none`; `mean`: each side's own centre of the region is taken off; `similarity`: the generated face is
            first rotated, scaled and moved onto the true one by eyes and nose.
        scale: pixels, or what of the true face the distances of a frame are divided by.
    """
    seen = seen_in_both(generated, true)
    ours, theirs = generated[seen].astype(np.float64), true[seen].astype(np.float64)
    size = face_size(theirs, scale)
    if align == "similarity":
        ours = similar(ours, theirs)
    ours, theirs = ours[:, region], theirs[:, region]
    if align != "none":
        ours, theirs = _centred(ours), _centred(theirs)
    return np.linalg.norm(ours - theirs, axis=2).mean(axis=1) / size


def face_size(points: np.ndarray, scale: Scale) -> np.ndarray:
    """The size of each face float64 (T,) of points (T,68,2) by one of the conventions; ones for `pixels`."""
    if scale == "outer_eye_corners":
        return np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    if scale == "eye_centres":
        return np.linalg.norm(points[:, _LEFT_EYE].mean(axis=1) - points[:, _RIGHT_EYE].mean(axis=1), axis=1)
    if scale == "face_box":
        return np.sqrt((points.max(axis=1) - points.min(axis=1)).prod(axis=1))
    if scale == "jaw_width":
        return np.linalg.norm(points[:, 0] - points[:, 16], axis=1)
    return np.ones(len(points))


def similar(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Faces float64 (T,68,2), each rotated, scaled and moved so that eyes and nose are nearest to those of `true`."""
    ours, theirs = generated[:, RIGID], true[:, RIGID]
    a, b = _centred(ours), _centred(theirs)
    # the least-squares similarity in the plane: one complex factor
    cos = (a * b).sum(axis=(1, 2))
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(axis=1)
    norm = np.square(a).sum(axis=(1, 2))
    cos, sin = cos / norm, sin / norm
    turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    moved = generated - ours.mean(axis=1, keepdims=True)
    return np.einsum("tij,tkj->tki", turn, moved) + theirs.mean(axis=1, keepdims=True)


def in_eye_distances(generated: np.ndarray, true: np.ndarray, *, region: slice = FACE) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' points of a region float64 (T,K,2) by the house's rules, in distances of the true outer eye corners.

    The generated face is moved onto the true one by eyes and nose, and the region's own centre is taken off on both
    sides. NaN in the frames in which either side (T,68,2) lacks points.
    """
    seen = seen_in_both(generated, true)
    both = np.full((2, *true[:, region].shape), np.nan)
    ours, theirs = generated[seen].astype(np.float64), true[seen].astype(np.float64)
    size = face_size(theirs, "outer_eye_corners")[:, None, None]
    both[0, seen] = _centred(similar(ours, theirs)[:, region]) / size
    both[1, seen] = _centred(theirs[:, region]) / size
    return both[0], both[1]


def velocity_distance(generated: np.ndarray, true: np.ndarray, *, region: slice = FACE) -> float:
    """LVD: the mean distance in pixels of the points' steps from frame to frame; NaN below 2 frames or with a gap."""
    steps = [np.diff(points[:, region].astype(np.float64), axis=0) for points in (generated, true)]
    return float(np.linalg.norm(steps[0] - steps[1], axis=2).mean()) if len(steps[0]) else float("nan")


class EatDistances(NamedTuple):
    """The four numbers of EAT's evaluation, in pixels; the last one with the mistake of the released code."""

    m_lmd: float
    f_lmd: float
    m_lvd: float
    f_lvd_as_released: float


def eat_distances(generated: np.ndarray, true: np.ndarray) -> EatDistances:
    """LMD and LVD as `test_lmd.py` of yuangan/evaluation_eat computes them; NaN without a frame that both have.

    Both sides (T,68,2) are resampled to the shorter length, and regions are centred. Steps are taken to the last frame
    with a face, are not centred, and are divided by the number of frames. F-LVD adds up the mouth's steps and divides
    by the points of the face.
    """
    count = min(len(generated), len(true))
    ours, theirs = (
        points[np.linspace(0, len(points), count, endpoint=False).astype(int)].astype(np.float64)
        for points in (generated, true)
    )
    seen = seen_in_both(ours, theirs)
    if not seen.any():
        return EatDistances(*[float("nan")] * 4)
    ours, theirs = ours[seen], theirs[seen]
    lmd = [frame_distances(ours, theirs, region=region, align="mean").mean() for region in (MOUTH, FACE)]
    steps = np.diff(ours[:, MOUTH], axis=0) - np.diff(theirs[:, MOUTH], axis=0)
    total = np.linalg.norm(steps, axis=2).sum() / len(ours)
    return EatDistances(float(lmd[0]), float(lmd[1]), float(total / 20), float(total / 68))


def average_keypoint_distance(generated: np.ndarray, true: np.ndarray) -> float:
    """AKD as in pose-evaluation: the mean absolute difference over coordinates, not a Euclidean distance; in pixels.

    Frames without a face on either side are left out; NaN without any.
    """
    seen = seen_in_both(generated, true)
    if not seen.any():
        return float("nan")
    return float(np.abs(generated[seen].astype(np.float64) - true[seen]).mean())


def joint_distance(generated: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """(AKD, MKR) of body joints (T,J,2) with -1 where one is missing, as in pose-evaluation; NaN where undefined.

    In each frame the mean absolute difference over the joints that both sides have, and the share of the true joints
    that the generated side lacks; then the mean over the frames that have one.
    """
    ours, theirs = (joints.astype(np.float64) for joints in (generated, true))
    has, should = (ours != -1).all(axis=2), (theirs != -1).all(axis=2)
    both = has & should
    akd = [np.abs(ours[t, both[t]] - theirs[t, both[t]]).mean() for t in range(len(ours)) if both[t].any()]
    mkr = [1 - both[t].sum() / should[t].sum() for t in range(len(ours)) if should[t].any()]
    return float(np.mean(akd)) if akd else float("nan"), float(np.mean(mkr)) if mkr else float("nan")


def _centred(points: np.ndarray) -> np.ndarray:
    return points - points.mean(axis=1, keepdims=True)
