"""What moving parts of a face change of a landmark pose, by how much and in which direction; and poses from aside."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.pipelines.extractors.boxes import detector_box, square
from dawn_bench.pipelines.extractors.head import FACE_WIDTH, HEAD
from dawn_bench.pipelines.extractors.pose import angles, crop_pose, decode_matrix, rotation_matrix

#: Yaw, pitch, roll of two frames, pixels a micrometre, and the head's place in the picture.
TURNED = np.array([[14.0, -9.0, 25.0], [-20.0, 6.0, -35.0]])
SCALE, AT = 1e-3, (150, 170)
#: Points of parts of the face, and what each adds where it lies one face width higher than at rest: degrees of pitch,
#: face widths of the origin's height, and of the logarithm of the scale, as measured against 3DDFA_V2's network.
PARTS = {
    "sides of the jaw": ((2, 3, 4, 5, 11, 12, 13, 14), 88.0, 0.86, -0.07),
    "chin": ((6, 7, 8, 9, 10), -36.0, -0.21, -0.27),
    "corners of the mouth": ((48, 54, 60, 64), 34.0, 0.48, 0.0),
    "lower lip": ((55, 56, 57, 58, 59, 65, 66, 67), -18.0, -0.28, 0.0),
}


def seen() -> np.ndarray:
    """Landmarks (2,68,2) of the generic head, y downwards."""
    return np.einsum("tij,nj->tni", rotation_matrix(TURNED)[:, :2], HEAD) * (SCALE, -SCALE) + AT


def axes() -> tuple[np.ndarray, np.ndarray]:
    """The directions to the right of and up each face in the picture, (2,2), as long as a face width in pixels."""
    roll = np.radians(TURNED[:, 2])
    right = np.stack([np.cos(roll), -np.sin(roll)], axis=1)
    up = np.stack([-np.sin(roll), -np.cos(roll)], axis=1)
    return right * SCALE * FACE_WIDTH, up * SCALE * FACE_WIDTH


def in_picture(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles (2,3), origin (2,2) in pixels of the picture, and logarithm of the scale (2,) there."""
    pose, crop = crop_pose(points).astype(float), square(detector_box(points), whole=False)
    pixel = (crop[:, 2] - crop[:, 0]) / 120
    origin = np.stack([crop[:, 0] + (pose[:, 4] - 1) * pixel, crop[:, 1] + (120 - pose[:, 5]) * pixel], axis=1)
    return pose[:, :3], origin, np.log(pose[:, 3] * pixel)


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("height", [0.03, -0.05])
def test_a_part_that_lies_higher_changes_pitch_height_and_scale(part: str, height: float) -> None:
    """The fit has no weight there, so that the change is exactly the stated one."""
    points, (_, up) = seen(), axes()
    before = in_picture(points)
    which, pitch, origin, scale = PARTS[part]
    points[:, list(which)] += height * up[:, None]
    after = in_picture(points)
    np.testing.assert_allclose(after[0] - before[0], np.tile([0, pitch * height, 0], (2, 1)), atol=2e-3)
    np.testing.assert_allclose(after[1] - before[1], origin * height * up, atol=2e-3)
    np.testing.assert_allclose(after[2] - before[2], scale * height, atol=1e-5)


@pytest.mark.parametrize("wider", [0.04, -0.03])
def test_a_wider_jaw_enlarges_the_head(wider: float) -> None:
    points, (right, _) = seen(), axes()
    before = in_picture(points)
    for which, side in (((2, 3, 4, 5), -1), ((11, 12, 13, 14), 1)):
        points[:, list(which)] += side * wider * right[:, None]
    after = in_picture(points)
    np.testing.assert_allclose(after[2] - before[2], 0.56 * wider, atol=1e-5)
    np.testing.assert_allclose(after[0], before[0], atol=2e-3)
    np.testing.assert_allclose(after[1], before[1], atol=2e-3)


@pytest.mark.parametrize("yaw", [90, -90])
def test_seen_from_aside_all_rotation_about_the_line_of_sight_is_pitch(yaw: int) -> None:
    given = np.array([[yaw, pitch, roll] for pitch in (-50, 10, 35) for roll in (-40, 0, 25)], float)
    rotation = rotation_matrix(given)
    told = angles(rotation)
    np.testing.assert_allclose(told[:, [0, 2]], np.tile([yaw, 0], (9, 1)), atol=1e-4)
    np.testing.assert_allclose(rotation_matrix(told), rotation, atol=1e-6)


def test_a_camera_matrix_gives_its_angles_mean_scale_and_shift() -> None:
    given = np.array([[12.0, -7.0, 21.0], [-33.0, 15.0, -4.0]])
    lengths, shift = np.array([[4e-4, 6e-4], [5e-4, 3e-4]]), np.array([[60.0, 70.0, -66.0], [58.0, 64.0, -65.0]])
    matrix = np.zeros((2, 3, 4))
    matrix[:, :2, :3] = rotation_matrix(given)[:, :2] * lengths[:, :, None]
    matrix[:, :, 3] = shift
    expected = np.column_stack([given, [5e-4, 4e-4], shift])
    np.testing.assert_allclose(decode_matrix(matrix), expected, rtol=1e-9, atol=1e-9)
