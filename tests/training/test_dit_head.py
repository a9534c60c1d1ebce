"""DiT-Head's stages: they train, resume and learn; checkpoints record deviations; wrong data are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import losses
from micro_dit_head import micro_settings, micro_train
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dit_head.audio import windows
from dawn_bench.models.dit_head.mask import frame_mask
from dawn_bench.models.dit_head.presets import PRESETS, choices, fit_to_cache, preset
from dawn_bench.models.dit_head.stages.dit import reference_frame
from dawn_bench.models.spec import MODELS

STAGE_KINDS = {"vqgan-face": "dit-head-vqgan", "vqgan-masked": "dit-head-vqgan", "dit": "dit-head-dit"}


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dit-head") / "run"
    micro_train(tiny_cache, out)
    return out


def test_checkpoints_hold_settings_and_what_is_not_the_papers(run: Path) -> None:
    for stage, kind in STAGE_KINDS.items():
        module, facts = load_checkpoint(run / stage / "model.safetensors", kind)
        assert (facts["model"], facts["preset"], facts["stage"]) == ("dit-head", "micro", stage)
        assert facts["ours"]["loop"]["steps"] == 4 and facts["audio_encoder"] == "logmel"
        assert all(torch.isfinite(t).all() for t in module.state_dict().values())
    assert facts["ours"]["model.depth"] == 2 and facts["ours"]["model.audio_dim"] == 80
    assert "model.window" not in facts["ours"]
    face, facts = load_checkpoint(run / "vqgan-face" / "model.safetensors", "dit-head-vqgan")
    assert "substitute" in facts["perceptual_loss"] and face.config.mask is None
    assert load_checkpoint(run / "vqgan-masked" / "model.safetensors", "dit-head-vqgan")[0].config.mask is not None


def test_latents_scale_is_measured_on_the_training_set(run: Path) -> None:
    dit = load_checkpoint(run / "dit" / "model.safetensors", "dit-head-dit")[0]
    for name in ("face", "masked"):
        assert (getattr(dit, f"{name}_std") != 1).all() and (getattr(dit, f"{name}_mean") != 0).all()


@pytest.mark.parametrize("stage", list(STAGE_KINDS))
def test_an_interrupted_run_resumes_bit_for_bit(stage: str, tiny_cache: Path, run: Path, tmp_path: Path) -> None:
    from dawn_bench.training import loop

    if stage == "dit":
        for needed in ("vqgan-face", "vqgan-masked"):
            (tmp_path / needed).symlink_to(run / needed)
    whole = loop.batches

    def stopped(batch, *, start, stop, workers, pin):  # type: ignore[no-untyped-def]
        yield from whole(batch, start=start, stop=3, workers=workers, pin=pin)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "batches", stopped)
        with pytest.raises(KeyboardInterrupt):
            micro_train(tiny_cache, tmp_path, stage=stage)
    micro_train(tiny_cache, tmp_path, stage=stage, resume=True)
    assert losses(tmp_path, stage) == losses(run, stage)
    resumed, expected = (
        load_checkpoint(p / stage / "model.safetensors", STAGE_KINDS[stage])[0] for p in (tmp_path, run)
    )
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], tensor, rtol=0, atol=0)


LONGER = {
    "vqgan-face": ("colour", "loop.steps=60", "loop.learning_rate=0.01", "loss.adversarial_from=100"),
    "vqgan-masked": ("colour", "loop.steps=60", "loop.learning_rate=0.01", "loss.adversarial_from=100"),
    "dit": ("whole", "loop.steps=100", "loop.learning_rate=0.01", "loop.final_learning_rate=0.01"),
}


@pytest.mark.parametrize("stage", list(LONGER))
def test_the_loss_of_one_clip_falls_clearly(stage: str, tmp_path: Path, run: Path) -> None:
    cache = write_tiny_cache(tmp_path / "cache", splits=("train",))
    out = tmp_path / "run"
    out.mkdir()
    if stage == "dit":
        for needed in ("vqgan-face", "vqgan-masked"):
            (out / needed).symlink_to(run / needed)
    name, *changes = LONGER[stage]
    micro_train(cache, out, *(f"{stage.replace('-', '_')}.{c}" for c in changes), stage=stage)
    values = np.array([line[name] for line in losses(out, stage)])
    assert values[-10:].mean() < 0.75 * values[:5].mean()


def test_the_discriminator_starts_at_its_configured_step(run: Path) -> None:
    lines = losses(run, "vqgan-face")
    assert [line["discriminator"] > 0 for line in lines] == [False, False, True, True]
    assert [line["grad_norm_1"] > 0 for line in lines] == [False, False, True, True]


def test_the_transformer_needs_both_vqgans(tiny_cache: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vqgan-masked"):
        micro_train(tiny_cache, tmp_path, stage="dit")
    (tmp_path / "vqgan-masked").symlink_to(run / "vqgan-masked")
    with pytest.raises(InputError, match="vqgan-face"):
        micro_train(tiny_cache, tmp_path, stage="dit")


def test_examples_are_of_the_clip_they_name(tiny_cache: Path, run: Path) -> None:
    cache = Cache(tiny_cache)
    settings = fit_to_cache(micro_settings(), cache)
    stages = [MODELS["dit-head"].stages["dit"](cache, settings, run=run, seed=s, device="cpu") for s in (3, 3, 4)]
    batch, again, other = (s.batch(7) for s in stages)
    assert all(torch.equal(batch[k], again[k]) for k in batch) and not torch.equal(batch["noise"], other["noise"])
    assert batch["noise"].shape == (4, 3, 8, 8) and batch["audio"].shape == (4, 11, 80)
    for row, place in enumerate(batch["clip"].tolist()):
        clip = cache[stages[0].ids[place]]
        picture, reference = (batch[k][row].numpy() for k in ("picture", "reference"))
        (at,) = (k for k in range(30) if np.array_equal(clip["frames"][k], picture))
        far = [k for k in range(30) if np.array_equal(clip["frames"][k], reference)]
        assert any(abs(k - at) >= 10 for k in far)
        np.testing.assert_array_equal(batch["audio"][row], windows(clip["logmel"], 5)[at])
        hole = frame_mask(clip, at, settings.dit.model.mask, size=32)
        np.testing.assert_array_equal(batch["hole"][row], hole)


def test_reference_frames_are_far_or_as_far_as_can_be() -> None:
    rng = np.random.default_rng(0)
    long, short = (Clip("c", "s", "train", n, {}) for n in (60, 12))
    places = {reference_frame(long, 30, gap=25, rng=rng) for _ in range(300)}
    assert places == {*range(6), *range(55, 60)}
    assert reference_frame(short, 2, gap=25, rng=rng) == 11 and reference_frame(short, 9, gap=25, rng=rng) == 0
    assert reference_frame(Clip("c", "s", "train", 1, {}), 0, gap=25, rng=rng) == 0


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_fit_a_cache_and_list_deviations(name: str, tiny_cache: Path) -> None:
    settings = fit_to_cache(preset(name), Cache(tiny_cache))
    assert settings.preset == name and settings.note
    assert settings.dit.model.audio_dim == 80
    assert settings.dit.model.latent_channels == settings.vqgan_face.model.latent_channels
    assert settings.vqgan_masked.model.mask == settings.dit.model.mask and settings.vqgan_face.model.mask is None
    assert type(settings).model_validate(settings.model_dump()) == settings
    chosen = choices(settings.dit)
    assert chosen["loop"]["batch_size"] == settings.dit.loop.batch_size and "model.timesteps" in chosen
    json.dumps(chosen)
    assert MODELS["dit-head"].preset(name) == preset(name)


def test_the_papers_size_is_the_papers_window_and_29_million_parameters() -> None:
    model = preset("paper").dit.model
    assert (model.window, model.audio_dim, model.depth, model.dim) == (5, 768, 12, 384)
    with pytest.raises(InputError, match=r"no preset called 'huge'.*tiny, small, paper"):
        preset("huge")


def test_frames_that_the_models_do_not_divide_are_refused(tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path, size=36, splits=("train",))
    with pytest.raises(InputError, match=r"36 px.*--size"):
        fit_to_cache(preset("tiny"), Cache(cache))


def test_wav2vec2_features_are_taken_where_there_are_any(tiny_cache: Path) -> None:
    from dawn_bench.models.dit_head.audio import encoder_of

    clip = Cache(tiny_cache)["c0"]
    assert encoder_of(clip) == "logmel"
    assert encoder_of(Clip("c", "s", "train", 1, {"wav2vec2": np.zeros((1, 768)), "logmel": np.zeros((1, 80))})) == (
        "wav2vec2"
    )
