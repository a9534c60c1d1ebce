"""Landmark poses beside those of 3DDFA_V2's published small network, on real clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dawn_bench import weights
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.boxes import detector_box, square
from dawn_bench.pipelines.extractors.pose import crop_pose, fit_pose
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings

pytestmark = pytest.mark.real

CHANNELS = ("yaw", "pitch", "roll", "scale", "tx", "ty")
#: Clips of six people who move their heads.
CLIPS = (
    "WDA_KatieHill_000.mp4",
    "WDA_AlexandriaOcasioCortez_000.mp4",
    "WDA_AlexandriaOcasioCortez_000_excerpt.mp4",
    "WDA_EdMarkey0_000.mp4",
    "latentsync_demo1.mp4",
    "vretalk_face4.mp4",
    "voxceleb2_620900105.mp4",
)


@pytest.fixture
def network(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3DDFA_V2's small network in the weights folder."""
    for source, name in (
        ("tddfa_mb05_120x120.pth", "mb05_120x120.pth"),
        ("param_mean_std_62d_120x120.pkl", "param_mean_std_62d_120x120.pkl"),
    ):
        (tmp_path / name).write_bytes((shared / "data" / "nets" / source).read_bytes())
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    assert weights.resolve("tddfa-v2-small").state == "canonical"


def talk(video: Path, *, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `step`-th of 200 frames uint8 (T,256,256,3) of a clip as prepared, and landmarks (T,68,2)."""
    sink, settings = (
        MemorySink(),
        PrepareSettings(size=256, face="dlib", max_frames=200, extract=(), require_audio=False),
    )
    process_clip(Source(video.stem, "a", "test", video), settings, pick_backend("dlib"), sink)
    return sink.arrays["frames"][::step], sink.arrays["landmarks"][::step]


def by_network(
    frames: np.ndarray, landmarks: np.ndarray, *, moved: tuple[float, float, float] = (0, 0, 1)
) -> np.ndarray:
    """Pose (T,6) by the network in the crop of landmarks that are `moved`: x, y in widths of the crop, and enlarged.

    Whatever the crop was, scale and translation are those in the crop that was not moved.
    """
    crop = square(detector_box(landmarks), whole=False)
    side = crop[:, 2:3] - crop[:, :1]
    middle = (crop[:, None, :2] + crop[:, None, 2:]) / 2
    x, y, enlarged = moved
    there = (landmarks - middle) * enlarged + middle + np.array([x, y]) * side[:, None]
    pose = EXTRACTORS["pose-3ddfa"]().run({"frames": frames, "landmarks": there}, size=256, n_frames=len(frames))[
        "pose"
    ]
    used = np.round(square(detector_box(there)))
    k = (used[:, 2] - used[:, 0]) / 120
    image_x, image_y = used[:, 0] + (pose[:, 4] - 1) * k, used[:, 1] + (120 - pose[:, 5]) * k
    unit = side[:, 0] / 120
    tx, ty = (image_x - crop[:, 0]) / unit + 1, 120 - (image_y - crop[:, 1]) / unit
    return np.column_stack([pose[:, :3], pose[:, 3] * k / unit, tx, ty])


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each channel, (6,)."""
    return np.array([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(6)])


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_poses_agree_with_the_network(clips_dir: Path, network: None, name: str) -> None:
    """Yaw, roll and ty correlate by .9, or as well as the network in a box moved by 2 % does with itself."""
    frames, landmarks = talk(clips_dir / name, step=2)
    true, pose = by_network(frames, landmarks), crop_pose(landmarks)[:, :6]
    moves = ((0.02, -0.02, 1), (-0.02, 0.02, 1.02))
    ceiling = np.mean([correlations(by_network(frames, landmarks, moved=move), true) for move in moves], axis=0)
    measured = dict(zip(CHANNELS, correlations(pose, true), strict=True))
    for channel, limit in zip(CHANNELS, ceiling, strict=True):
        assert measured[channel] > 0, (channel, measured)
        if channel in ("yaw", "roll", "ty"):
            assert measured[channel] > min(0.9, limit), (channel, measured, limit)
    offset, spread = np.median(pose - true, axis=0), true.std(axis=0)
    assert (np.abs(offset) < spread).all(), dict(zip(CHANNELS, zip(offset, spread, strict=True), strict=True))


def test_a_small_face_off_centre_has_the_same_pose_as_in_the_clip(clips_dir: Path, network: None) -> None:
    """The picture is scaled to 45 % and put into a corner: network and landmarks give what they gave before."""
    frames, landmarks = talk(clips_dir / "WDA_KatieHill_000.mp4", step=4)
    canvas, side = np.full((len(frames), 256, 256, 3), 90, np.uint8), 115
    for picture, frame in zip(canvas, frames, strict=True):
        picture[256 - side :, :side] = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    there = ((landmarks + 0.5) * (side / 256) - 0.5 + (0, 256 - side)).astype(np.float32)
    true, pose = by_network(canvas, there), crop_pose(there)[:, :6]
    np.testing.assert_allclose(pose, crop_pose(landmarks)[:, :6], rtol=1e-3, atol=2e-2)
    assert (correlations(pose, true)[[0, 1, 2, 4, 5]] > 0.9).all()
    before = by_network(frames, landmarks)
    assert (np.abs(np.median(true - before, axis=0)) < before.std(axis=0) / 2).all()
    assert (np.abs(np.median(pose - true, axis=0)) < true.std(axis=0)).all()
    former = fit_pose(there, size=256)
    assert abs(np.median(former[:, 4] - true[:, 4])) > 20 and correlations(former, true)[5] < 0
