"""What validation generates from and compares with, on numbered caches: clips, frames, sources, styles, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import micro
import micro_mesh
import numpy as np
import pytest
import torch
from numbered_cache import code, numbered_clip, write_numbered, write_numbered_meshes
from torch import Tensor

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.dawn.stages import a2v as a2v_stage
from dawn_bench.models.dawn.stages import lfg as lfg_stage
from dawn_bench.models.dawn.stages import pbnet as pbnet_stage
from dawn_bench.models.diffspeaker import presets as diffspeaker_presets
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.stages.diffspeaker import DiffSpeakerStage
from dawn_bench.models.spec import MODELS
from dawn_bench.training.mouth import frame_landmarks, mouth_opening
from dawn_bench.training.validation import SAMPLE_FRAMES, Validation

LENGTHS = (26, 30, SAMPLE_FRAMES + 6)
SPLITS = ("train", "val", "val")
SPEAKERS = ("train", "train", "val")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    root = tmp_path_factory.mktemp("numbered") / "cache"
    return Cache(write_numbered(root, lengths=LENGTHS, splits=SPLITS))


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("numbered") / "run"
    _stage("lfg", cache, out).save(out / "lfg" / "model.safetensors", {})
    return out


def _stage(name: str, cache: Cache, run: Path, *overrides: str) -> Any:
    settings = MODELS["dawn"].fit_to_cache(micro.micro_settings(*overrides), cache)
    stage = MODELS["dawn"].stages[name](cache, settings, run=run, seed=9, device="cpu")
    stage.module.eval()
    return stage


def test_the_lfg_rebuilds_every_frame_but_the_first_from_the_first(
    cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an LFG whose answer is the driving frame, and one whose answer is the source."""
    stage, clips = _stage("lfg", cache, run), cache.clips("val")
    monkeypatch.setattr(LFG, "motion", lambda self, source, driving: (driving, driving[:, :1]))
    monkeypatch.setattr(LFG, "decode", lambda self, encoded, flow, occlusion: flow)
    perfect = stage.validate(stage.module, clips, device="cpu")
    assert perfect.values["psnr"] == 100 and perfect.values["ssim"] == pytest.approx(1)
    copies = []
    for clip in clips:
        truth = np.asarray(clip["frames"][:SAMPLE_FRAMES], np.float64)
        copies.append(10 * np.log10(255**2 / np.square(truth[1:] - truth[:1]).mean()))
    assert perfect.values["psnr_copy"] == pytest.approx(np.mean(copies), rel=1e-5)
    monkeypatch.setattr(
        LFG, "decode", lambda self, encoded, flow, occlusion: encoded.picture_BCSS.expand(len(flow), -1, -1, -1)
    )
    assert stage.validate(stage.module, clips, device="cpu").values["psnr"] == pytest.approx(np.mean(copies), rel=1e-5)
    assert [v.shape for v in perfect.videos.values()] == [(min(n, SAMPLE_FRAMES), 32, 64, 3) for n in LENGTHS[1:]]
    far = perfect.pictures["source-truth-rebuilt"]
    last = clips[0]["frames"][-1]
    np.testing.assert_array_equal(far[:32, 32:64], last)  # the frame that is least like the first is the last
    np.testing.assert_array_equal(far[:32, :32], clips[0]["frames"][0])
    assert lfg_stage.BATCH < 30


def test_a2v_samples_a_clip_from_its_first_frame_with_its_true_head(
    cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = _stage("a2v-2", cache, run)
    calls: list[tuple[tuple[Tensor, ...], dict[str, Any], Tensor]] = []
    shown: list[tuple[str, np.ndarray]] = []

    def sample(self: A2VFDM, *given: Tensor, **named: Any) -> Tensor:
        calls.append((given, named, torch.rand(1, generator=named["generator"])))
        return torch.zeros(1, 3, given[2].shape[1], 8, 8)

    def compare(generated: Any) -> Validation:
        shown.extend((clip.id, frames) for clip, frames in generated)
        return Validation({"mouth_r": 0.0}, "mouth_r")

    monkeypatch.setattr(A2VFDM, "sample", sample)
    monkeypatch.setattr(a2v_stage, "compare_with_truth", compare)
    stage.lfg.train()
    stage.validate(stage.module, cache.clips("val"), device="cpu")
    assert not stage.lfg.training
    assert [(name, frames.shape) for name, frames in shown] == [
        (f"c{c}", (min(LENGTHS[c], SAMPLE_FRAMES), 32, 32, 3)) for c in (1, 2)
    ]
    for number, ((source, mask, cond), named, draw) in zip((1, 2), calls, strict=True):
        clip, frames = cache[f"c{number}"], np.arange(min(LENGTHS[number], SAMPLE_FRAMES))
        assert named.keys() == {"generator"}
        assert draw == torch.rand(1, generator=torch.Generator().manual_seed(9))
        first = torch.from_numpy(np.moveaxis(np.array(clip["frames"][0]), -1, 0).copy())[None] / 255
        with torch.no_grad():
            torch.testing.assert_close(source, stage.lfg.encode(first).features_BChh)
        x0, y0, x1, y1 = clip["bbox"][0].tolist()
        y, x = np.mgrid[:32, :32]
        inside = (x >= int(x0)) & (x <= int(x1 + 1)) & (y >= int(y0)) & (y <= int(y1 + 1))
        np.testing.assert_array_equal(mask[0, 0], inside)
        sound = code(number, frames)[:, None] + np.arange(80) % 2 / 4
        head = frames[:, None] * np.array([*(1 + np.arange(6) / 8), 1 / 1024, 1 / 2048])
        np.testing.assert_allclose(cond[0], np.concatenate([sound, head], 1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dims", [(6, 2), (6, 0), (0, 2)])
def test_pbnet_is_validated_on_whole_tracks_from_their_first_state(
    dims: tuple[int, int], cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that doubles the true change: twice as lively in angles and blinks, whatever translations do."""
    overrides = [f"pbnet.model.{n}={v}" for n, v in zip(("pos_dim", "eye_dim"), dims, strict=True)]
    stage = _stage("pbnet", cache, run, *overrides)
    clips = cache.clips("val")
    states = {}
    for clip in clips:
        state = np.concatenate([clip["pose"][:, :6], clip["blink"]], 1)
        states[code(int(clip.id[1]), 0)] = state[:, :6] if dims[1] == 0 else state[:, 6:] if dims[0] == 0 else state

    def generate(self: PBNet, first: Tensor, audio: Tensor, *, generator: torch.Generator) -> Tensor:
        state = torch.from_numpy(states[int(audio[0, 0, 0])])
        torch.testing.assert_close(first[0], state[0])
        assert torch.rand(1, generator=generator) == torch.rand(1, generator=torch.Generator().manual_seed(9))
        factors = torch.full((sum(dims),), 2.0)
        factors[3 : dims[0]] = 9.0
        return (state[:1] + (state - state[:1]) * factors)[None]

    monkeypatch.setattr(PBNet, "generate", generate)
    drawn: list[tuple[np.ndarray, np.ndarray, str]] = []

    def tracks(true: np.ndarray, generated: np.ndarray, title: str) -> np.ndarray:
        drawn.append((true, generated, title))
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(pbnet_stage, "_tracks", tracks)
    monkeypatch.setattr(PBNet, "encode", lambda self, x, audio, valid: (x + valid.sum(), None))

    def decode(self: PBNet, first: Tensor, z: Tensor, audio: Tensor, valid: Tensor) -> Tensor:
        assert valid.all()
        x = z - valid.sum()
        torch.testing.assert_close(first, x[:, 0])
        return x - first[:, None] + 0.5

    monkeypatch.setattr(PBNet, "decode", decode)
    seen = stage.validate(stage.module, clips, device="cpu")
    assert seen.best == "rc" and seen.smaller_is_better
    assert seen.values["rc"] == pytest.approx(0.25, rel=1e-3)
    spreads = {name: value for name, value in seen.values.items() if name != "rc"}
    expected = {"pose_spread": dims[0], "blink_spread": dims[1]}
    assert spreads == {name: pytest.approx(2, rel=1e-4) for name, count in expected.items() if count}
    for (true, _, title), clip in zip(drawn, clips, strict=True):
        assert len(true) == clip.n_frames and title.startswith(clip.id)


def test_diffspeaker_speaks_each_held_out_sequence_in_its_own_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose offsets are right but for a unit in x: that is its error; the neutral face's is the motion."""
    meshes = Cache(write_numbered_meshes(tmp_path / "meshes", lengths=(20, 22, 24), splits=SPEAKERS))
    settings = diffspeaker_presets.fit_to_cache(
        micro_mesh.micro_mesh_settings(
            "diffspeaker.own_subjects=false", "diffspeaker.model.vertices=5", "diffspeaker.model.subjects=[s1, s0, s2]"
        ),
        meshes,
    )
    stage = DiffSpeakerStage(meshes, settings, run=Path(), seed=9, device="cpu")
    (clip,) = meshes.clips("val")

    def generate(self: DiffSpeaker, audio: Tensor, style: Tensor, *, generator: torch.Generator, frames: int) -> Tensor:
        assert style.tolist() == [2] and frames == 24
        np.testing.assert_array_equal(audio[0], np.asarray(clip["audio"], np.float32) / 32768)
        assert torch.rand(1, generator=generator) == torch.rand(1, generator=torch.Generator().manual_seed(9))
        off = torch.from_numpy(clip["vertices"] - clip["template"])
        return (off + torch.tensor([1.0, 0, 0])).reshape(1, frames, -1)

    monkeypatch.setattr(DiffSpeaker, "generate", generate)
    monkeypatch.setattr(
        "dawn_bench.models.diffspeaker.stages.diffspeaker.MeshRenderer.frames",
        lambda self, vertices: [np.full((4, 4, 3), v[0, 0] - 200, np.uint8) for v in vertices],
    )
    seen = stage.validate(stage.module, [clip], device="cpu")
    still = np.linalg.norm(clip["vertices"] - clip["template"], axis=-1).mean()
    assert seen.values == {"mve": pytest.approx(1, rel=1e-4), "still": pytest.approx(float(still), rel=1e-4)}
    assert seen.smaller_is_better and seen.best == "mve"
    video = seen.videos["c2"]  # the truth on the left
    assert (video[:, 0, 4, 0].astype(int) - video[:, 0, 0, 0] == 1).all()


def test_numbered_clips_are_what_the_tests_take_them_for() -> None:
    """No two frames, channels or sides are alike."""
    clip = numbered_clip(2, size=32, frames=26)
    for name in ("frames", "pose", "blink", "logmel", "bbox", "landmarks"):
        rows = clip[name].reshape(26, -1)
        assert len(np.unique(rows, axis=0)) == 26, name
    assert all(len(np.unique(clip[name][5])) == clip[name].shape[1] for name in ("pose", "blink", "bbox"))
    assert not np.array_equal(clip["frames"], clip["frames"][:, :, ::-1])
    assert not np.array_equal(clip["frames"], clip["frames"].swapaxes(1, 2))


def test_the_mouths_opening_is_that_of_the_three_inner_pairs_over_the_width_of_the_jaw() -> None:
    """By hand on points of which no two distances are alike."""
    points = np.random.default_rng(3).random((4, 68, 2)) * 50

    def apart(t: int, a: int, b: int) -> float:
        return float(np.hypot(*(points[t, a] - points[t, b])))

    expected = [(apart(t, 61, 67) + apart(t, 62, 66) + apart(t, 63, 65)) / 3 / apart(t, 0, 16) for t in range(4)]
    np.testing.assert_allclose(mouth_opening(points), expected)


def test_a_frame_without_a_detected_face_has_the_box_of_the_frame_before() -> None:
    """And of several faces the one where the true face of that frame is."""
    far, near = np.array([0.0, 0, 10, 10]), np.array([50.0, 50, 60, 60])
    detected = [[], [far, near], [], [far, near], [near, far], [far]]

    class Detector:
        def detect(self, frame: np.ndarray) -> np.ndarray:
            return np.array(detected[int(frame[0, 0, 0])]).reshape(-1, 4)

        def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
            return np.tile(box[:2], (68, 1))

    frames = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    corners = ([50, 50], [50, 50], [0, 0], [0, 0])
    true = np.stack([np.linspace(corner, np.add(corner, 10), 68) for corner in corners])
    seen = frame_landmarks(frames, Detector(), true)[:, 0, 0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(seen, [np.nan, 50, 50, 0, 0, 0])  # past the last true face, that one counts
    np.testing.assert_array_equal(frame_landmarks(frames, Detector())[:, 0, 0], [np.nan, 0, 0, 0, 50, 0])  # type: ignore[arg-type]
