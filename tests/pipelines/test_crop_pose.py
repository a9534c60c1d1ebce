"""Landmark poses in 3DDFA_V2's crop: the geometry by construction."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.inputs import NO_POSE, read_portrait
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pipelines.extractors.pose import crop_pose, fit_pose, rotation_matrix
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic import write_embedded


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one embedded clip of a second."""
    return write_embedded(tmp_path_factory.mktemp("talk"), speakers=1, clips=1, seconds=1)


def seen(angles: np.ndarray, *, scale: float = 1e-3, at: tuple[float, float] = (150, 170)) -> np.ndarray:
    """Landmarks (T,68,2) of the generic head: `scale` pixels a micrometre, its origin `at` x, y of the picture."""
    turned = np.einsum("tij,nj->tni", rotation_matrix(angles)[:, :2], HEAD)
    return turned * (scale, -scale) + at


def test_the_generic_head_has_the_known_place_in_the_crop() -> None:
    """3DDFA's origin lies 3.8 mm below and 49 mm behind the generic head's; its front view has 1.9 degrees of pitch."""
    angles = np.random.default_rng(0).uniform(-30, 30, (40, 3))
    points = seen(angles)
    pose = crop_pose(points)
    assert pose.shape == (40, 7) and pose.dtype == np.float32
    np.testing.assert_allclose(pose[:, :3], angles + np.array([0, 1.9, 0]), atol=1e-3)
    mean = points.mean(axis=1)
    spread = np.sqrt(((points - mean[:, None]) ** 2).sum(axis=2).mean(axis=1))
    box = 3 * spread  # FaceBoxes' box; 3DDFA enlarges it by 1.58 and shifts it down by 0.14 sides
    side, centre = 1.58 * box, mean + np.column_stack([0 * box, (0.14 - 0.347 / 3) * box])
    origin = rotation_matrix(angles)[:, :2] @ (0, -3800, -49_000) * (1e-3, -1e-3) + (150, 170)
    offset = (origin - centre) / side[:, None] * 120
    np.testing.assert_allclose(pose[:, 4:6], np.column_stack([61 + offset[:, 0], 60 - offset[:, 1]]), atol=1e-3)
    np.testing.assert_allclose(pose[:, 3], 0.98 * 1e-3 * 120 / side, rtol=1e-4)
    np.testing.assert_allclose(pose[:, 6], -66.67, rtol=1e-6)


def test_the_head_faces_the_camera_as_in_3ddfas_data() -> None:
    """The channels lie in the ranges of DAWN's data, where the released code has its default too."""
    pose = crop_pose(seen(np.zeros((1, 3))))[0]
    assert np.abs(pose[:3]).max() < 2
    assert 4.3e-4 < pose[3] < 5e-4 and 56 < pose[4] < 64 and 56 < pose[5] < 74
    np.testing.assert_allclose(pose[3:5], NO_POSE[3:5], rtol=0.1)


def test_moving_and_zooming_the_picture_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    points = seen(rng.uniform(-30, 30, (20, 3))) + rng.normal(0, 1, (20, 68, 2))
    still = crop_pose(points)
    for factor, shift in ((0.31, (700, -20)), (3.0, (-90, 400)), (1.0, (12.3, 45.6))):
        np.testing.assert_allclose(crop_pose(points * factor + shift), still, rtol=1e-4, atol=1e-3)
    frame = fit_pose(points + np.array([12, 0]), size=256)
    assert np.abs(frame[:, 4] - fit_pose(points, size=256)[:, 4]).min() > 5, "in the frame the head has moved"


def test_a_mirrored_picture_has_the_mirrored_pose() -> None:
    rng = np.random.default_rng(2)
    points = seen(rng.uniform(-25, 25, (10, 3))) + rng.normal(0, 1, (10, 68, 2))
    partner = np.abs(HEAD[:, None] * (-1, 1, 1) - HEAD).sum(axis=2).argmin(axis=1)
    mirrored = points[:, partner] * (-1, 1) + (300, 0)
    one, other = crop_pose(points), crop_pose(mirrored)
    np.testing.assert_allclose(other[:, [1, 3, 5]], one[:, [1, 3, 5]], rtol=1e-4)
    np.testing.assert_allclose(other[:, [0, 2]], -one[:, [0, 2]], atol=1e-3)
    np.testing.assert_allclose(other[:, 4], 122 - one[:, 4], atol=1e-3)


def test_frames_are_independent_of_each_other() -> None:
    rng = np.random.default_rng(3)
    points = seen(rng.uniform(-30, 30, (9, 3))) + rng.normal(0, 1, (9, 68, 2))
    np.testing.assert_allclose(crop_pose(points[4:5]), crop_pose(points)[4:5], rtol=1e-5)


def test_a_portrait_of_any_size_has_one_pose(talk: Path, tmp_path: Path) -> None:
    """The state of a portrait starts a clip whose conditions are differences from it."""
    frame = read_frames(next((talk / "VideoFlash").iterdir()))[0]
    backend, poses = pick_backend("dlib"), []
    for side, border in ((256, 0), (512, 0), (256, 120)):
        picture = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
        picture = cv2.copyMakeBorder(picture, border, 0, border, 0, cv2.BORDER_REPLICATE)
        path = tmp_path / f"{side}-{border}.png"
        cv2.imwrite(str(path), picture[..., ::-1])
        poses.append(read_portrait(path, size=128, backend=backend, crop="paper")[0].pose)
    spread = np.ptp(poses, axis=0)
    assert spread[:3].max() < 2 and spread[3] < 1e-5 and spread[4:6].max() < 1


def test_a_cache_of_the_former_poses_is_refused_in_one_line(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PrepareSettings(dataset="embedded", size=32, max_frames=10, face="dlib", extract=("pose",))
    with monkeypatch.context() as former:
        former.setattr(EXTRACTORS["pose"], "fingerprint", lambda self: "pose-2-weak-perspective-68")
        prepare(talk, tmp_path / "cache", settings)
    before = Cache(tmp_path / "cache").clips()[0]["pose"]
    with pytest.raises(InputError, match=r"extractor pose 'pose-2-weak-perspective-68' \(now 'pose-3-") as caught:
        prepare(talk, tmp_path / "cache", settings)
    assert "--overwrite" in str(caught.value) and "\n" not in str(caught.value)
    assert np.array_equal(Cache(tmp_path / "cache").clips()[0]["pose"], before)
    prepare(talk, tmp_path / "cache", settings, overwrite=True)
