"""DiT-Head's stages validated: the same for the same weights, harmless to training, figures that can be checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import losses
from micro_dit_head import micro_settings, micro_train
from safetensors.torch import load_file
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dit_head.dubbing import DubOptions
from dawn_bench.models.dit_head.generator import DitHeadGenerator
from dawn_bench.models.dit_head.mask import frame_mask, mouth_mask
from dawn_bench.models.dit_head.presets import PRESETS, fit_to_cache, preset
from dawn_bench.models.dit_head.stages.dit import DiTStage
from dawn_bench.models.dit_head.stages.vqgan import FRAMES, VQGANStage
from dawn_bench.models.spec import MODELS
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pixels import to_frames, to_signed
from dawn_bench.training.logger import BEST_FILE
from dawn_bench.training.talking import compare_with_truth, mouth_agreement
from dawn_bench.training.validation import Validates, psnr, ssim

MEASURES = {"vqgan-face": "psnr", "vqgan-masked": "psnr", "dit": "psnr"}
KINDS = {"vqgan-face": "dit-head-vqgan", "vqgan-masked": "dit-head-vqgan", "dit": "dit-head-dit"}
EVERY = [f"{key}.loop.validate_every=2" for key in ("vqgan_face", "vqgan_masked", "dit")]


@pytest.fixture(scope="module")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cache with its last two clips in split `val`, not `test`."""
    return write_tiny_cache(tmp_path_factory.mktemp("split") / "cache", splits=("train",) * 4 + ("val",) * 2)


@pytest.fixture(scope="module")
def plain(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dit-head") / "run"
    micro_train(tiny_cache, out)
    return out


@pytest.fixture(scope="module")
def watched(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, validated every second of four steps."""
    out = tmp_path_factory.mktemp("watched") / "run"
    micro_train(tiny_cache, out, *EVERY)
    return out


def _lines(run: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / stage / "validation.jsonl").read_text().splitlines()]


def _stage(name: str, cache: Cache, run: Path) -> VQGANStage | DiTStage:
    """A stage that holds the run's last weights."""
    stage = MODELS["dit-head"].stages[name](cache, fit_to_cache(micro_settings(), cache), run=run, seed=0, device="cpu")
    assert isinstance(stage, VQGANStage | DiTStage)
    weights = load_checkpoint(run / name / "model.safetensors", KINDS[name])[0].state_dict()
    (stage.module if isinstance(stage, DiTStage) else stage.module.vqgan).load_state_dict(weights)
    stage.module.eval()
    return stage


@pytest.mark.parametrize("stage", list(MEASURES))
def test_validation_changes_nothing_that_is_trained(stage: str, watched: Path, plain: Path) -> None:
    assert losses(watched, stage) == losses(plain, stage)
    ours, expected = (load_file(run / stage / "model.safetensors") for run in (watched, plain))
    assert all(torch.equal(ours[k], expected[k]) for k in expected)
    assert not (plain / stage / "validation.jsonl").exists()


@pytest.mark.parametrize("stage", list(MEASURES))
def test_the_same_weights_are_judged_the_same(stage: str, tiny_cache: Path, watched: Path) -> None:
    """Independent of earlier random draws, without side effects on them, and equal to the values of the run's log."""
    cache = Cache(tiny_cache)
    built = _stage(stage, cache, watched)
    assert isinstance(built, Validates)
    result = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        result.append(built.validate(built.module, cache.clips("val"), device="cpu"))
        assert torch.equal(torch.get_rng_state(), state)
    assert result[0].values == result[1].values
    for kind in ("pictures", "videos"):
        first, second = (getattr(f, kind) for f in result)
        assert all(np.array_equal(first[k], second[k]) for k in first)
    (last,) = (line for line in _lines(watched, stage) if line["step"] == 4)
    assert {k: v for k, v in last.items() if k not in ("step", "split")} == pytest.approx(result[0].values, abs=1e-5)


@pytest.mark.parametrize(("stage", "measure"), list(MEASURES.items()))
def test_the_best_checkpoint_is_kept_and_noted(stage: str, measure: str, watched: Path) -> None:
    lines = _lines(watched, stage)
    assert [(line["step"], line["split"]) for line in lines] == [(2, "val"), (4, "val")]
    best = max(lines, key=lambda line: line[measure])
    note = json.loads((watched / stage / "best.json").read_text())
    assert note == {"step": best["step"], "measure": measure, "value": best[measure], "split": "val"}
    assert load_checkpoint(watched / stage / BEST_FILE, KINDS[stage])[1]["steps"] == best["step"]


@pytest.mark.parametrize("stage", ["vqgan-face", "vqgan-masked"])
def test_a_vqgan_is_judged_on_what_it_is_trained_on(stage: str, tiny_cache: Path, watched: Path) -> None:
    cache = Cache(tiny_cache)
    built = _stage(stage, cache, watched)
    mask = micro_settings().vqgan_masked.model.mask
    values, pairs = {"psnr": [], "psnr_flat": [], "ssim": []}, []
    for clip in cache.clips("val"):
        frames = np.linspace(0, 29, FRAMES).astype(int)
        truth = clip["frames"][frames].copy()
        if stage == "vqgan-masked":
            truth[np.stack([frame_mask(clip, int(k), mask, size=32) for k in frames])] = 0
        with torch.no_grad():
            rebuilt = to_frames(built.module.vqgan(to_signed(torch.from_numpy(truth).movedim(-1, 1)))[0], signed=True)
        colour = np.ones_like(truth) * truth.mean((1, 2), keepdims=True)
        values["psnr"].append(psnr(rebuilt, truth))
        values["psnr_flat"].append(psnr(colour, truth))
        values["ssim"].append(ssim(rebuilt, truth))
        pairs.append(np.concatenate([truth[4], rebuilt[4]], axis=1))
    result = built.validate(built.module, cache.clips("val"), device="cpu")
    assert result.values == pytest.approx({k: np.mean(v) for k, v in values.items()}, rel=1e-5)
    np.testing.assert_array_equal(result.pictures["source-rebuilt"], np.concatenate(pairs))


def test_a_vqgan_that_learns_beats_flat_pictures(tiny_cache: Path, tmp_path: Path) -> None:
    longer = ("loop.steps=60", "loop.learning_rate=0.01", "loop.validate_every=30", "loss.adversarial_from=100")
    micro_train(tiny_cache, tmp_path, *(f"vqgan_face.{c}" for c in longer), stage="vqgan-face")
    first, last = _lines(tmp_path, "vqgan-face")
    assert last["psnr"] > max(first["psnr"], last["psnr_flat"])
    assert last["psnr_flat"] == first["psnr_flat"]


def test_the_transformer_is_judged_by_what_generation_would_make(tiny_cache: Path, watched: Path) -> None:
    """Its videos are a run's dubbing of the clips, and outside the hole the truth."""
    cache = Cache(tiny_cache)
    stage, dubber, clips = _stage("dit", cache, watched), DitHeadGenerator.load(watched), cache.clips("val")
    quick = DubOptions(steps=micro_settings().dit.quick_steps)

    def dub(clip: Clip, sound: np.ndarray) -> np.ndarray:
        return dubber.dub(clip["frames"], clip["landmarks"], sound, seed=0, options=quick)

    generated = [(c, dub(c, c["logmel"])) for c in clips]
    late = np.mean([mouth_agreement(c, dub(c, np.roll(c["logmel"], 15, axis=0))) for c in clips])
    result, expected = stage.validate(stage.module, clips, device="cpu"), compare_with_truth(generated)
    assert result.values == {**expected.values, "mouth_r_late": late}
    for clip, _ in generated:
        video = result.videos[clip.id]
        np.testing.assert_array_equal(video, expected.videos[clip.id])
        hole = mouth_mask(clip["landmarks"], 32, dubber.dit.config.mask)
        np.testing.assert_array_equal(video[:, :, :32], clip["frames"])
        np.testing.assert_array_equal(video[:, :, 32:][~hole], clip["frames"][~hole])
        assert (video[:, :, 32:][hole] != clip["frames"][hole]).any()


def test_sample_videos_are_written(watched: Path) -> None:
    names = sorted(p.name for p in (watched / "dit" / "samples").iterdir())
    assert names == [f"step-000000{s}-{c}.mp4" for s in (2, 4) for c in ("c4", "c5")]
    assert read_frames(watched / "dit" / "samples" / names[0]).shape == (30, 32, 64, 3)


@pytest.mark.parametrize(
    ("stage", "shown"),
    [("vqgan-face", {"source-rebuilt"}), ("vqgan-masked", {"source-rebuilt"}), ("dit", {"source-truth-made", "c4"})],
)
def test_tensorboard_holds_figures_and_pictures(stage: str, shown: set[str], watched: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(watched / stage / "tensorboard")).Reload()
    for name in {"psnr", "ssim"} | ({"mouth_r", "mouth_r_late"} if stage == "dit" else {"psnr_flat"}):
        points = [(p.step, p.value) for p in events.Scalars(f"validation/{name}")]
        expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in _lines(watched, stage)]
        assert points == expected
    assert {f"validation/{name}" for name in shown} <= set(events.Tags()["images"])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_validates_more_than_once(name: str) -> None:
    settings = preset(name)
    for loop in (settings.vqgan_face.loop, settings.vqgan_masked.loop, settings.dit.loop):
        assert loop.validate_every is not None and loop.steps >= 1.5 * loop.validate_every
