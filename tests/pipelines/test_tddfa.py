"""3DDFA_V2's pose: published files and keys, the square crop, and one-line errors without files."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pipelines.extractors import tddfa
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet
from dawn_bench.pipelines.extractors.pose import decode_matrix, fit_pose
from dawn_bench.pipelines.extractors.tddfa import cut, detector_box, predict, square
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.media.video import iter_frames
from dawn_bench.pipelines.settings import PrepareSettings

POINTS = np.random.default_rng(0).uniform(40, 90, (3, 68, 2)).astype(np.float32)
FRAMES = np.stack([astronaut()[40 + k : 168 + k, 150:278] for k in range(3)])
MEAN, SPREAD = np.linspace(-1, 1, 62, dtype=np.float32), np.linspace(0.5, 2, 62, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    return tmp_path


def publish(folder: Path, name: str, width: float) -> MobileNet:
    """A network with random weights in the authors' format, with the table of means and standard deviations."""
    network = MobileNet(width=width).eval()
    weights.seeded_fill(network, salt=name)
    state = {f"module.{key.replace('fc.', 'fc_param.')}": value for key, value in network.state_dict().items()}
    state["module.fc_lm.weight"] = torch.zeros(136, 3)
    torch.save({"epoch": 9, "state_dict": state}, folder / name)
    table = {"mean": MEAN, "std": SPREAD}
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(table, protocol=3))
    return network


@pytest.mark.parametrize(("name", "width"), [("mb1_120x120.pth", 1.0), ("mb05_120x120.pth", 0.5)])
def test_pose_matches_the_published_network(folder: Path, name: str, width: float) -> None:
    network = publish(folder, name, width)
    extractor = EXTRACTORS["pose-3ddfa"]()
    pose = extractor.run({"frames": FRAMES, "landmarks": POINTS}, size=128, n_frames=3)["pose"]
    boxes = square(detector_box(POINTS))
    seen = np.stack([cut(frame, box)[..., ::-1] for frame, box in zip(FRAMES, boxes, strict=True)])
    with torch.inference_mode():
        raw = network((torch.from_numpy(seen.transpose(0, 3, 1, 2).astype(np.float32)) - 127.5) / 128).numpy()
    assert pose.shape == (3, 7) and pose.dtype == np.float32 and np.ptp(pose[:, 0]) > 0
    np.testing.assert_allclose(pose, decode_matrix((raw * SPREAD + MEAN)[:, :12].reshape(3, 3, 4)), rtol=1e-3)
    assert name.split("_")[0].replace("mb1", "v2:").replace("mb05", "small:") in extractor.fingerprint()


class Told(torch.nn.Module):
    """In place of the network: its parameters are colours of the picture that it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T,62) from (T,3,120,120)."""
        places = [x[:, :, 20, 70], x[:, :, 60, 60], x[:, :, 90, 40], x.mean(dim=(2, 3))]
        return torch.cat([*places, x.flatten(1)[:, :50]], dim=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_the_network_is_given_the_face_of_each_frame_in_bgr(
    folder: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder, "mb05_120x120.pth", 0.5)
    monkeypatch.setattr(tddfa, "_network", lambda *args: Told())
    monkeypatch.setattr(tddfa, "_BATCH", batch)
    boxes = square(detector_box(POINTS))
    blue_first = np.stack([cut(frame, box)[..., ::-1] for frame, box in zip(FRAMES, boxes, strict=True)])
    x = torch.from_numpy((blue_first.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128)
    assert not np.allclose(x[0], x[1], atol=0.1) and not np.allclose(x[:, 0], x[:, 2], atol=0.1)
    raw = Told()(x).numpy()
    np.testing.assert_allclose(predict(FRAMES, POINTS), raw, atol=1e-6)
    pose = EXTRACTORS["pose-3ddfa"]().run({"frames": FRAMES, "landmarks": POINTS}, size=128, n_frames=3)["pose"]
    np.testing.assert_allclose(pose, decode_matrix((raw * SPREAD + MEAN)[:, :12].reshape(3, 3, 4)), rtol=1e-3)


def test_the_large_network_is_preferred(folder: Path) -> None:
    publish(folder, "mb05_120x120.pth", 0.5)
    small = EXTRACTORS["pose-3ddfa"]().fingerprint()
    publish(folder, "mb1_120x120.pth", 1.0)
    assert EXTRACTORS["pose-3ddfa"]().fingerprint() != small


def test_missing_and_incompatible_files_are_named(folder: Path) -> None:
    extractor = EXTRACTORS["pose-3ddfa"]
    lacking = extractor.missing()  # type: ignore[attr-defined]
    assert "mb1_120x120.pth" in lacking and "param_mean_std_62d_120x120.pkl" in lacking and "\n" not in lacking
    publish(folder, "mb05_120x120.pth", 0.5)
    assert extractor.missing() is None  # type: ignore[attr-defined]
    torch.save({"other.weight": torch.zeros(2)}, folder / "mb05_120x120.pth")
    with pytest.raises(InputError, match=r"mb05_120x120\.pth: is not a 3DDFA_V2 checkpoint"):
        extractor().run({"frames": FRAMES, "landmarks": POINTS}, size=128, n_frames=3)


class _Code:
    def __reduce__(self) -> tuple:
        return Path.write_text, (Path("evil"), "")


@pytest.mark.parametrize("table", [b"", b"no pickle", pickle.dumps(_Code()), pickle.dumps({"mean": np.zeros(3)}),
                                   pickle.dumps({"mean": np.zeros(3), "std": np.zeros(3)})])  # fmt: skip
def test_the_table_of_means_is_read_without_executing_code(folder: Path, table: bytes) -> None:
    publish(folder, "mb05_120x120.pth", 0.5)
    path = folder / "param_mean_std_62d_120x120.pkl"
    path.write_bytes(table)
    with pytest.raises(InputError, match=path.name) as caught:
        EXTRACTORS["pose-3ddfa"]().run({"frames": FRAMES, "landmarks": POINTS}, size=128, n_frames=3)
    assert "\n" not in str(caught.value) and not Path("evil").exists()


def test_the_square_crop_follows_the_face() -> None:
    """A face twice as large and shifted: box and square follow, and the network input is the same."""
    boxes = detector_box(POINTS)
    np.testing.assert_allclose(detector_box(POINTS * 2 + 30), boxes * 2 + 30, rtol=1e-5)
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    whole = cut(frame, np.array([-10.0, -20.0, 90.0, 80.0]), side=None)
    assert whole.shape == (100, 100, 3) and np.array_equal(whole[20:80, 10:90], frame)
    assert whole.sum() == frame.sum()
    assert np.array_equal(cut(frame, np.array([5.0, 5.0, 45.0, 45.0])), cv2.resize(frame[5:45, 5:45], (120, 120)))
    assert not cut(frame, np.array([-50.0, 10.0, -20.0, 40.0])).any()


def test_the_setting_selects_one_pose_extractor() -> None:
    assert PrepareSettings().extract == ("pose", "blink", "logmel", "masks")
    chosen = PrepareSettings(pose="3ddfa")
    assert chosen.extract == ("pose-3ddfa", "blink", "logmel", "masks")
    assert PrepareSettings.model_validate(chosen.model_dump()) == chosen
    assert PrepareSettings(pose="3ddfa", extract=("pose", "pose-3ddfa")).extract == ("pose-3ddfa",)
    with pytest.raises(ValueError, match="--pose 3ddfa"):
        PrepareSettings(extract=("pose-3ddfa",))


@pytest.mark.real
def test_the_published_small_network_agrees_with_landmark_poses(shared: Path, clips_dir: Path, folder: Path) -> None:
    """R31 is the sine of yaw: the ninth parameter, in any unit, must follow the yaw fitted to the landmarks."""
    (folder / "mb05_120x120.pth").write_bytes((shared / "data/nets/tddfa_mb05_120x120.pth").read_bytes())
    assert weights.resolve("tddfa-v2-small").state == "canonical"
    frames = np.stack(list(iter_frames(clips_dir / "WDA_KatieHill_000.mp4")))[::8]
    backend = pick_backend("dlib")
    points = np.stack([backend.landmarks(frame, backend.detect(frame)[0]) for frame in frames])
    parameters, pose = predict(frames, points), fit_pose(points, size=512)
    assert parameters.shape == (len(frames), 62)
    assert np.corrcoef(parameters[:, 8], np.sin(np.radians(pose[:, 0])))[0, 1] > 0.97
    assert np.corrcoef(parameters[:, 9], np.sin(np.radians(pose[:, 1])))[0, 1] > 0.9  # R32 follows pitch
    assert np.corrcoef(parameters[:, 4], np.sin(np.radians(pose[:, 2])))[0, 1] > 0.9  # R21 follows roll
