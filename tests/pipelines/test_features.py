"""Extractors: pose, blink, log-mel, and the errors of speech features without weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

from dawn_bench.errors import InputError
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.blink import eye_aspect_ratio
from dawn_bench.pipelines.extractors.head import HEAD, WEIGHTS
from dawn_bench.pipelines.extractors.hubert import chunked, normalise
from dawn_bench.pipelines.extractors.logmel import log_mel
from dawn_bench.pipelines.extractors.pose import fit_pose, rotation_matrix
from dawn_bench.pipelines.extractors.rigid import fit_head


def project(angles: np.ndarray, *, scale: float = 4.5e-4, shift: tuple[float, float] = (60, 60)) -> np.ndarray:
    """The generic head projected into a 128 px frame, landmarks (T,68,2)."""
    seen = scale * np.einsum("tij,nj->tni", rotation_matrix(angles)[:, :2], HEAD) + np.array(shift)
    seen[..., 1] = 120 - seen[..., 1]
    return seen * (128 / 120) - 0.5


def test_pose_recovers_angles_scale_and_translation() -> None:
    angles = np.random.default_rng(0).uniform(-35, 35, (40, 3))
    pose = fit_pose(project(angles, shift=(58, 63)), size=128)
    assert pose.shape == (40, 7) and pose.dtype == np.float32
    np.testing.assert_allclose(pose[:, :3], angles, atol=1e-3)
    np.testing.assert_allclose(pose[:, 3:6], np.tile([4.5e-4, 58, 63], (40, 1)), rtol=1e-4)


def test_pose_of_a_frame_does_not_depend_on_other_frames() -> None:
    rng = np.random.default_rng(1)
    points = project(rng.uniform(-35, 35, (20, 3))) + rng.normal(0, 1, (20, 68, 2))
    np.testing.assert_allclose(fit_pose(points[7:8], size=128), fit_pose(points, size=128)[7:8], rtol=1e-6)


def test_pose_is_the_best_fit_of_noisy_landmarks() -> None:
    """No small rotation away from the fit lowers the weighted distance that it minimises."""
    rng = np.random.default_rng(2)
    points = project(rng.uniform(-30, 30, (10, 3))) + rng.normal(0, 0.5, (10, 68, 2))
    pose = fit_pose(points, size=128).astype(float)

    def distance(angles: np.ndarray) -> np.ndarray:
        seen = np.einsum("tij,nj->tni", rotation_matrix(angles)[:, :2], HEAD) * pose[:, 3, None, None]
        seen = seen + pose[:, None, 4:6]
        seen[..., 1] = 120 - seen[..., 1]
        off = np.linalg.norm(seen * (128 / 120) - 0.5 - points, axis=2)
        typical = np.sqrt(off**2 @ WEIGHTS / WEIGHTS.sum())[:, None]
        return (WEIGHTS * np.log1p((off / (2 * typical)) ** 2) * typical**2).sum(axis=1)

    best = distance(pose[:, :3])
    for turn in np.vstack([np.eye(3), -np.eye(3)]) * 3:
        assert (distance(pose[:, :3] + turn) > best).all()


def test_pose_signs() -> None:
    still = project(np.zeros((1, 3)))[0]
    yaw, pitch, roll = (project(np.eye(3)[i : i + 1] * 15)[0] for i in range(3))
    assert yaw[30, 0] < still[30, 0]  # the nose goes to the left of the picture
    assert pitch[30, 1] > still[30, 1]  # and down
    assert roll[45, 1] < still[45, 1] and roll[36, 1] > still[36, 1]  # anticlockwise: the right side rises


def test_pose_does_not_depend_on_the_frame_size_or_on_speech() -> None:
    angles = np.array([[12.0, -8.0, 5.0]])
    points = project(angles)
    double = (points + 0.5) * 2 - 0.5
    np.testing.assert_allclose(fit_pose(double, size=256), fit_pose(points, size=128), rtol=1e-4, atol=1e-4)
    points[:, 48:] += 5  # an open mouth
    points[:, 6:11] += 5
    np.testing.assert_allclose(fit_pose(points, size=128)[:, :3], angles, atol=1e-3)


def test_pose_is_robust_to_one_outlier() -> None:
    points = project(np.array([[12.0, -8.0, 5.0]]))
    points[0, 42] += 12
    assert np.abs(fit_pose(points, size=128)[0, :3] - (12, -8, 5)).max() < 2.5


def test_no_single_point_of_the_head_turns_the_fit_far() -> None:
    """Each in its own frame lies a sixth of the face away; plain least squares are 2 degrees off on average."""
    outlying = np.flatnonzero(WEIGHTS)
    angles = np.random.default_rng(3).uniform(-25, 25, (len(outlying), 3))
    true = rotation_matrix(angles)
    points = np.einsum("tij,nj->tni", true[:, :2], HEAD) * 1e-3
    along = np.linspace(0, 2 * np.pi, len(outlying))
    points[np.arange(len(outlying)), outlying] += 25 * np.stack([np.cos(along), np.sin(along)], axis=1)
    apart = np.einsum("tij,tkj->tik", fit_head(points).rotation, true)
    degrees = np.degrees(Rotation.from_matrix(apart).magnitude())
    assert np.median(degrees) < 0.5 and degrees.max() < 1.5


def test_eye_aspect_ratio_of_known_eyes() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 36:42] = [(0, 0), (3, -1), (6, -1), (9, 0), (6, 1), (3, 1)]  # the person's right eye: 2 / 9
    points[0, 42:48] = [(20, 0), (23, -2), (26, -1), (30, 0), (26, 1), (23, 2)]  # left: (4 + 2) / (2 · 10)
    np.testing.assert_allclose(eye_aspect_ratio(points), [[0.3, 2 / 9]], rtol=1e-6)


def test_log_mel_peaks_in_the_band_and_frame_of_a_tone() -> None:
    t = np.arange(16_000) / 16_000
    sound = np.where((t >= 0.4) & (t < 0.6), 10_000 * np.sin(2 * np.pi * 1000 * t), 0).astype(np.int16)
    rows = log_mel(sound, 25).astype(float)
    assert rows.shape == (25, 80)
    mels = 2595 * np.log10(1 + np.array([1000, 8000]) / 700)
    assert abs(rows[12].argmax() - (mels[0] / mels[1] * 81 - 1)) <= 1
    loud = rows.max(axis=1) > 0.5
    assert list(np.flatnonzero(loud)) == list(range(10, 15))
    np.testing.assert_allclose(rows[:9], (np.log(1e-6) + 9) / 4, atol=1e-2)


def test_log_mel_has_the_length_of_the_video_also_for_long_sound() -> None:
    sound = np.random.default_rng(0).integers(-9000, 9000, 640 * 1100).astype(np.int16)
    rows = log_mel(sound, 1100)
    assert np.isfinite(rows.astype(float)).all()
    start = log_mel(sound[: 640 * 50], 50)
    np.testing.assert_allclose(rows[:49].astype(float), start[:49].astype(float), atol=2e-3)
    assert log_mel(sound[:1000], 10).shape == (10, 80)


def test_extractors_declare_their_needs() -> None:
    known = {"frames", "audio", "landmarks", "bbox", "valid"}
    for name in EXTRACTORS:
        extractor = EXTRACTORS[name]()
        assert extractor.name == name
        assert set(extractor.needs) <= known
        assert extractor.fingerprint() == EXTRACTORS[name]().fingerprint()


SPEECH = {"hubert": "hubert-large-ls960-ft", "wav2vec2": "wav2vec2-base-960h"}


@pytest.mark.parametrize("name", list(SPEECH))
def test_speech_features_need_their_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    reason = EXTRACTORS[name].missing() or ""
    assert f"{SPEECH[name]}/model.safetensors or pytorch_model.bin" in reason
    assert reason.endswith(f"dawn-bench weights fetch --for {name}")
    with pytest.raises(InputError, match=rf"{SPEECH[name]}.model\.safetensors"):
        EXTRACTORS[name]().run({"audio": np.zeros(16_000, np.int16)}, size=128, n_frames=25)


@pytest.mark.parametrize("name", list(SPEECH))
def test_speech_features_equal_the_network_output(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network in the published file format: prefixed keys, weight norm under its old names."""
    small = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    network: torch.nn.Module
    if name == "hubert":
        config = transformers.HubertConfig(do_stable_layer_norm=True, feat_extract_norm="layer", **small)
        network = transformers.HubertModel(config).eval()
    else:
        config = transformers.Wav2Vec2Config(**small)
        network = transformers.Wav2Vec2Model(config).eval()
    folder = tmp_path / SPEECH[name]
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_string())
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {f"{name}.{key}": value.contiguous() for key, value in network.state_dict().items()}
    for new, former in old.items():
        state = {key.replace(new, former): value for key, value in state.items()}
    save_file({**state, "lm_head.weight": torch.zeros(4, 4)}, folder / "model.safetensors")
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))

    sound = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)
    rows = EXTRACTORS[name]().run({"audio": sound}, size=128, n_frames=25)[name]
    with torch.inference_mode():
        steps = network(torch.from_numpy(normalise(sound))[None]).last_hidden_state[0].numpy()
    assert rows.shape == (25, 32) and rows.dtype == np.float16
    np.testing.assert_allclose(rows[[0, -1]], steps[[0, -1]], atol=5e-3)
    np.testing.assert_allclose(rows[12], steps[24], atol=5e-3)


def test_normalise() -> None:
    samples = normalise(np.random.default_rng(0).integers(-3000, 5000, 16_000).astype(np.int16))
    assert samples.dtype == np.float32
    assert abs(samples.mean()) < 1e-6 and abs(samples.std() - 1) < 1e-4


def test_log_mel_of_long_sound_is_that_of_each_part() -> None:
    """Sound of 44 s is computed in blocks of about 41 s."""
    sound = np.random.default_rng(0).integers(-9000, 9000, 1100 * 640).astype(np.int16)
    sound *= np.repeat(np.arange(1100) % 7 > 2, 640)
    whole = log_mel(sound, 1100)
    for first in (0, 500, 1000):
        part = log_mel(sound[640 * first : 640 * (first + 100)], 100)
        np.testing.assert_array_equal(whole[first + 1 : first + 99], part[1:99])


def steps_of(samples: np.ndarray) -> np.ndarray:
    """A stand-in for a speech network whose samples are their own numbers: (steps,1), the first sample of each step."""
    return samples[: (len(samples) - 80) // 320 * 320 : 320, None]


@pytest.mark.parametrize("rest", [0, 399, 400, 720, 16_000, 319_999])
@pytest.mark.parametrize("frames", [None, 7])
def test_features_of_long_sound_are_those_of_their_own_instant(rest: int, frames: int | None) -> None:
    """Across the ends of the chunks of 20 s; a remainder of fewer than 400 samples has no feature of its own."""
    sound = np.arange(2 * 320_000 + rest, dtype=np.float32)
    lengths: list[int] = []

    def encode(part: np.ndarray) -> np.ndarray:
        lengths.append(len(part))
        return steps_of(part)

    features = chunked(sound, encode, n_frames=frames)
    assert lengths == [320_080, 320_000 + min(rest, 80), *([rest] if rest >= 400 else [])]
    known = 320.0 * np.arange(sum((length - 80) // 320 for length in lengths))
    steps = np.zeros((len(sound) - 80) // 320)
    steps[: len(known)] = known[: len(steps)]
    count = len(sound) // 640 if frames is None else frames
    expected = np.interp(np.linspace(0, len(steps) - 1, count), np.arange(len(steps)), steps)
    np.testing.assert_allclose(features[:, 0], expected, rtol=1e-5)
