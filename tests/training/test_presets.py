"""Presets carry the released and the paper's numbers; ablations change what the paper changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from micro import losses, micro_settings, micro_train
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.pbnet_loss import kl_weight
from dawn_bench.models.dawn.presets import ABLATIONS, TTR_STRIDE, preset
from dawn_bench.models.dawn.settings import TrainSettings
from dawn_bench.training.data import ClipPool, step_rng, windows


def test_the_released_numbers() -> None:
    """Spec of the released training files: rates, batches, steps, curriculum, weights."""
    released = preset("dawn-128")
    lfg, one, two, pbnet = (released.lfg.loop, released.a2v_1, released.a2v_2, released.pbnet)
    assert two is not None and pbnet is not None
    assert (lfg.learning_rate, lfg.final_learning_rate, lfg.batch_size, lfg.betas) == (4e-4, 2e-6, 82, (0.5, 0.999))
    assert lfg.steps == 1000 * 369 * 100 // 82
    assert (one.loop.learning_rate, one.loop.final_learning_rate, one.loop.clip_norm) == (2e-4, 1e-6, 2.0)
    assert (one.frames, one.min_frames, one.random_source, one.loop.batch_size) == (20, None, False, 20)
    assert (two.frames, two.min_frames, two.random_source, two.loop.batch_size) == (40, 30, True, 40)
    assert (one.loop.steps, two.loop.steps) == (12_500 * 20, 125_000)
    for stage in (one, two):
        model = stage.model
        assert (model.lip_weight, model.x0_weight, model.null_probability, model.drop_per_frame) == (
            0.15,
            0.15,
            0.1,
            True,
        )
    assert (pbnet.loop.learning_rate, pbnet.loop.final_learning_rate, pbnet.loop.weight_decay) == (4e-4, 2e-5, 0.01)
    assert (pbnet.loop.batch_size, pbnet.frames, pbnet.loop.steps) == (40, 200, 100_000 * 10)
    weights = [kl_weight(e, pbnet.model) for e in (9_999, 10_000, 80_000, 100_000)]
    assert weights == pytest.approx([0, 0.004, 0.004, 0.004 * 9 / 7]) and pbnet.model.gan_weight == 1
    large = preset("dawn-256")
    assert (large.lfg.loop.learning_rate, large.lfg.loop.batch_size) == (6e-4, 20)
    assert large.lfg.loop.steps == 400 * 369 * 100 // 20
    crema = preset("dawn-128-crema")
    assert (crema.lfg.loop.learning_rate, crema.lfg.loop.batch_size) == (4e-4, 100)
    assert crema.lfg.loop.steps == 600 * (7435 - 820) * 100 // 100
    assert preset("dawn-128-vox").lfg == released.lfg.model_copy(update={"start": "voxceleb"})


def test_the_papers_numbers() -> None:
    paper = preset("dawn-128-paper")
    assert paper.a2v_2 is not None and paper.pbnet is not None
    assert paper.lfg.loop.steps == 400 * 369 * 25 // 82 == 45_000
    for stage in (paper.a2v_1, paper.a2v_2):
        assert (stage.model.lip_weight, stage.model.x0_weight) == (1.0, 0.0)
        assert stage.model.lip_normalisation == "frame"
    model, passes = paper.pbnet.model, 25
    assert paper.pbnet.loop.steps == 1600 * passes * 10 and model.gan_weight == 0.6
    rise = [kl_weight(e * passes, model) for e in (0, 400, 1000, 1600)]
    assert rise == pytest.approx([0, 0, 0.005, 0.01])


def test_fixed_has_the_released_settings_without_the_quirks() -> None:
    mended, released = preset("dawn-128-fixed"), preset("dawn-128")
    assert mended.pbnet is not None and released.pbnet is not None
    assert mended.a2v_1.loop == released.a2v_1.loop and mended.pbnet.loop == released.pbnet.loop
    assert mended.a2v_1.model.lip_weight == released.a2v_1.model.lip_weight
    assert (mended.a2v_1.model.mask_encoder, released.a2v_1.model.mask_encoder) == ("trained", "seed1234")
    assert mended.pbnet.model.gan_detached and not released.pbnet.model.gan_detached


def _seen(settings: TrainSettings) -> float:
    stages = [s for s in (settings.a2v_1, settings.a2v_2) if s is not None]
    return sum((s.frames + (s.min_frames or s.frames)) / 2 * s.loop.batch_size * s.loop.steps for s in stages)


@pytest.mark.parametrize("name", ["small", "dawn-128"])
def test_one_stage_alone_sees_as_many_frames_as_both(name: str) -> None:
    both = preset(name)
    for ablation, source in (("only-stage-1", False), ("only-stage-2", True)):
        alone = preset(f"{name}+{ablation}")
        assert alone.a2v_2 is None and alone.a2v_1.random_source is source
        assert _seen(alone) == pytest.approx(_seen(both), rel=1e-2)
        assert alone.preset == f"{name}+{ablation}" and ablation in alone.note
    assert preset(f"{name}+only-stage-2").a2v_1.frames == both.a2v_2.frames  # type: ignore[union-attr]


def test_unknown_ablations_and_those_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=f"no ablation called 'all'.*{next(iter(ABLATIONS))}"):
        preset("small+all")
    with pytest.raises(InputError, match="one stage"):
        preset("tiny+only-stage-2")


def test_a_coarse_model_sees_every_fourth_frame(tiny_cache: Path) -> None:
    assert preset("small+ttr").a2v_ttr.stride == TTR_STRIDE == 4  # type: ignore[union-attr]
    cache = Cache(tiny_cache)
    pool = ClipPool(cache)
    batch = windows(pool, step_rng(0, 0, stream="x"), count=3, frames=5, random_source=False, stride=4)
    for row, place in enumerate(batch["clip"].tolist()):
        sound = cache[pool.ids[place]]["logmel"]
        start = next(k for k in range(14) if (sound[k] == batch["audio"][row, 0].numpy()).all())
        assert (sound[start : start + 17 : 4] == batch["audio"][row].numpy()).all()


def test_the_coarse_stage_trains(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    with pytest.raises(InputError, match=r"no stage a2v-ttr.*\+ttr"):
        micro_train(tiny_cache, tmp_path, stage="a2v-ttr")
    coarse = micro_settings().a2v_1.model_copy(update={"stride": 4}).model_dump(mode="json")
    micro_train(tiny_cache, tmp_path, f"a2v_ttr={json.dumps(coarse)}", stage="a2v-ttr")
    assert len(losses(tmp_path, "a2v-ttr")) == 4


def test_without_pbnet_pose_and_blinks_change_nothing(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    audio_only = ("a2v_1.model.pose_scales=[0,0,0,0,0,0]", "a2v_1.model.eye_scale=0", "pbnet=null", "a2v_2=null")
    done = micro_train(tiny_cache, tmp_path, *audio_only, stage="a2v-1")
    model = load_checkpoint(done["a2v-1"], "a2v")[0]
    assert not model.config.driven and micro_settings().a2v_1.model.driven
    assert not preset("small+no-pbnet").a2v_1.model.driven and preset("small+no-pbnet").pbnet is None
    assert model.condition_scales[-8:].tolist() == [0] * 8
    with pytest.raises(InputError, match="has no PBNet"):
        micro_train(tiny_cache, tmp_path, *audio_only, stage="pbnet")


def test_an_lfg_starts_from_given_weights(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    """Ours, and a file laid out as the published ones; another width is refused with the keys that do not fit."""
    ours = micro_run / "lfg" / "model.safetensors"
    tensors = load_checkpoint(ours, "lfg")[0].state_dict()
    published = tmp_path / "vox256.pth"
    parts = ("generator", "bg_predictor", "region_predictor")
    layout = {p: {k.removeprefix(f"{p}."): v for k, v in tensors.items() if k.startswith(f"{p}.")} for p in parts}
    torch.save({"epoch": 3, **layout, "avd_network": {"x": torch.zeros(1)}}, published)
    still = ("lfg.loop.learning_rate=1e-30", "lfg.loop.final_learning_rate=0", "lfg.loop.steps=1")
    for number, path in enumerate((ours, published)):
        run = tmp_path / str(number)
        micro_train(tiny_cache, run, f"lfg.init={path}", *still, stage="lfg")
        trained, facts = load_checkpoint(run / "lfg" / "model.safetensors", "lfg")
        started = {k: v for k, v in trained.state_dict().items() if "running" not in k and "num_batches" not in k}
        assert all(torch.equal(v, tensors[k]) for k, v in started.items())
        assert facts["init"] == path.name and len(facts["init_sha256"]) == 64
        assert str(tmp_path) not in str(facts)
    with pytest.raises(InputError, match=r"vox256\.pth: does not fit the LFG: keys .*of another shape"):
        micro_train(tiny_cache, tmp_path / "w", f"lfg.init={published}", "lfg.model.block_expansion=8", stage="lfg")
    with pytest.raises(InputError, match="no such checkpoint"):
        micro_train(tiny_cache, tmp_path / "w", f"lfg.init={tmp_path / 'no.pth'}", stage="lfg")
    assert isinstance(trained, LFG)


@pytest.mark.parametrize("stage", ["lfg", "a2v-1", "pbnet"])
def test_every_stage_trains_in_bfloat16(stage: str, tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    """On the CPU too; losses near float32's at the first step, weights stay float32."""
    if stage != "lfg":
        (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    done = micro_train(tiny_cache, tmp_path, f"{stage.replace('-', '_')}.loop.amp=true", stage=stage)
    first, plain = losses(tmp_path, stage)[0], losses(micro_run, stage)[0]
    assert first["total"] == pytest.approx(plain["total"], rel=0.05) and first["total"] != plain["total"]
    kinds = {t.dtype for t in load_checkpoint(done[stage], stage.partition("-")[0])[0].state_dict().values()}
    assert kinds <= {torch.float32, torch.int64}


def test_windows_of_strided_frames_must_fit(tmp_path: Path, micro_run: Path) -> None:
    cache = write_tiny_cache(tmp_path / "cache", splits=("train",), frames=12)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lfg").symlink_to(micro_run / "lfg")
    coarse = micro_settings().a2v_1.model_copy(update={"stride": 4}).model_dump(mode="json")
    with pytest.raises(InputError, match="no clip has the 13 frames"):
        micro_train(cache, tmp_path / "run", f"a2v_ttr={json.dumps(coarse)}", stage="a2v-ttr")
