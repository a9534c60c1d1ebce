"""Head pose from 68 landmarks in the convention of 3DDFA_V2, which DAWN was trained with.

| channel | unit | range | meaning |
| --- | --- | --- | --- |
| yaw, pitch, roll | degrees | ±90, ±180, ±180 | > 0: nose to the left of the image, nose down, head anticlockwise |
| scale | pixels a micrometre | about 4.3e-4 to 5e-4 | size of the head in the crop |
| tx, ty | pixels | about 56 to 64, 56 to 74 | origin of 3DDFA's head in the crop, from its left and bottom edges |
| tz | | -66.67 | 3DDFA's constant |

The frame is right-handed, with x to the right of the image, y up, z to the viewer, and R31 = sin(yaw). The crop is the
square of 120×120 pixels that 3DDFA_V2 would take around the face (`boxes`), not rounded to pixels of the picture: scale
and translation say how the box sits on the head, and not where the head is in the frame.

`crop_pose` fits a generic head rigidly in that crop (`rigid`) and converts the fit to 3DDFA's head. The constants of
the conversion were measured against 3DDFA_V2's small network (mb05_120x120) on 37 real clips of 32 people with dlib's
points, by least squares in which every person has the same weight:

* origin and unit of length of 3DDFA's head in the generic head, and the pitch of its front view;
* the network sees the whole face, the fit only what does not move. Where jaw, chin or mouth lie higher or lower than in
  the generic head, the network's pitch, height and scale change with them: their mean distances from the fit enter
  linearly. Without them the median correlations of pitch and ty are .81 and .83.

With constants measured on the other people, the median correlation within a clip is .91 for yaw, .89 for pitch, .89 for
roll, .64 for scale, .92 for tx and .86 for ty; the network's with itself in boxes moved and resized by 2 % is .92, .91,
.89, .76, .92 and .92. The medians of a clip differ by 1.0, 1.5 and 0.6 degrees, 1.3 % of the scale, 0.8 and 1.0 pixels
(medians over the clips): proportions of a face look like pitch.

`fit_pose` has the angles of the fit alone, and scale and translation in the frame, which metrics of motion and the
checks of a clip's face use.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dawn_bench.pipelines.extractors.base import BOX, EXTRACTORS, POSE, Extractor
from dawn_bench.pipelines.extractors.boxes import SIDE, detector_box, in_square, square
from dawn_bench.pipelines.extractors.head import FACE_WIDTH, HEAD
from dawn_bench.pipelines.extractors.rigid import RigidFit, fit_head

#: 3DDFA's constant depth.
_DEPTH = -66.67
#: Identifies `fit_pose` in the fingerprints of the features that use it.
FRAME_FIT = "pose-2-weak-perspective-68"

#: y and z of the origin of 3DDFA's head in the generic head, micrometres.
_ORIGIN = np.array([-3800.0, -49_000.0])
#: Pitch of the generic head's front view, degrees, and 3DDFA's unit of length in its units.
_PITCH, _UNIT = 1.9, 0.98
#: Groups of points, symmetric: sides of the jaw, chin, corners of the mouth, lower lip.
_GROUPS = (2, 3, 4, 5, 11, 12, 13, 14), (6, 7, 8, 9, 10), (48, 54, 60, 64), (55, 56, 57, 58, 59, 65, 66, 67)
#: What it adds if a group lies one face width higher than in the fit: degrees of pitch, face widths of the origin's
#: height, logarithm of the scale.
_RAISED = np.array([(88.0, 0.86, -0.07), (-36.0, -0.21, -0.27), (34.0, 0.48, 0.0), (-18.0, -0.28, 0.0)])
#: What a jaw adds to the logarithm of the scale whose two sides lie one face width further out.
_WIDER = 0.56


@EXTRACTORS.register("pose")
class Pose(Extractor):
    """`pose` float32 (T,7): yaw, pitch, roll in degrees, scale, tx, ty, tz in 3DDFA's crop; see the module."""

    name = "pose"
    needs = ("landmarks",)
    kind = POSE
    convention = BOX

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return "pose-3-tddfa-crop-68"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`pose` (T,7) from `landmarks` (T,68,2)."""
        return {"pose": crop_pose(arrays["landmarks"])}


def crop_pose(landmarks: np.ndarray) -> np.ndarray:
    """Pose float32 (T,7) in 3DDFA's crop from landmarks (T,68,2) in pixels of a picture of any size; see the module.

    Moving or enlarging the landmarks changes nothing.
    """
    points = in_square(landmarks, square(detector_box(landmarks), whole=False))
    fit = fit_head(points)
    angles_deg = angles(fit.rotation)
    right, up = _axes(angles_deg[:, 2])
    residual = (points - fit.project(HEAD)) / (fit.scale * FACE_WIDTH)[:, None, None]
    vertical = np.einsum("tki,ti->tk", residual, up)
    means = np.column_stack([vertical[:, list(group)].mean(axis=1) for group in _GROUPS])
    jaw = list(_GROUPS[0])
    jaw_widening = np.einsum("tki,ti->tk", residual[:, jaw], right) @ np.sign(HEAD[jaw, 0]) / len(jaw)
    pitch, height, scale = (means @ _RAISED).T
    angles_deg[:, 1] += pitch + _PITCH
    offset = fit.scale[:, None] * (fit.rotation[:, :2, 1:] @ _ORIGIN + FACE_WIDTH * height[:, None] * up)
    size = fit.scale * _UNIT * np.exp(scale + _WIDER * jaw_widening)
    return np.column_stack([angles_deg, size, fit.shift + offset, np.full(len(points), _DEPTH)]).astype(np.float32)


def fit_pose(landmarks: np.ndarray, *, size: int) -> np.ndarray:
    """Pose float32 (T,7) in the frame from landmarks (T,68,2) in pixels of square frames of side `size`.

    Scale and translation refer to the whole frame resized to 120×120 px, y up: unlike `crop_pose`, they follow the
    head through the frame. The angles are those of the rigid fit.
    """
    points = (np.asarray(landmarks, np.float64) + 0.5) * (SIDE / size)
    points[..., 1] = SIDE - points[..., 1]
    fit: RigidFit = fit_head(points)
    depth = np.full(len(points), _DEPTH)
    return np.column_stack([angles(fit.rotation), fit.scale, fit.shift, depth]).astype(np.float32)


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


def _axes(roll_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The directions to the right of and up the face in the picture, each (T,2), for rolls in degrees (T,)."""
    roll = np.radians(roll_deg)
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)
