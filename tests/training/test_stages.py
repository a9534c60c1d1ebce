"""Every stage end to end: it overfits one clip, a generator loads its checkpoints, batches match their description."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from micro import losses, micro_settings, micro_train
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.masks import face_mask, lip_box, released_box_mask
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.presets import PRESETS, fit_to_cache, preset
from dawn_bench.models.spec import MODELS
from dawn_bench.training.augment import JitterConfig, flips, jitter
from dawn_bench.training.data import ClipPool, frame_pairs, sequences, step_rng, windows


def test_all_stages_train_and_a_generator_loads_the_run(micro_run: Path, tiny_cache: Path) -> None:
    talker = DawnGenerator.load(micro_run)
    assert (talker.size, talker.audio_encoder) == (32, "logmel")
    assert talker.a2v.config.audio_dim == 80 and talker.a2v.config.source_dim == 16
    facts = talker.facts["a2v"]
    assert (facts["stage"], facts["steps"], facts["seed"], facts["preset"]) == ("a2v-2", 4, 0, "micro")
    assert facts["clips"] == 4 and facts["versions"]["torch"]
    assert "substitute" in talker.facts["lfg"]["perceptual_loss"]


def test_stage_two_starts_from_the_weights_of_stage_one(tiny_cache: Path, micro_run: Path) -> None:
    stage = MODELS["dawn"].stages["a2v-2"](Cache(tiny_cache), fit_to_cache(micro_settings(), Cache(tiny_cache)),
                            run=micro_run, seed=5, device="cpu")  # fmt: skip
    first = load_checkpoint(micro_run / "a2v-1" / "model.safetensors", "a2v")[0].state_dict()
    assert all(torch.equal(first[k], v) for k, v in stage.module.state_dict().items())


@pytest.fixture(scope="module")
def one_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("one") / "cache", splits=("train",))


#: Settings that learn one clip by heart in seconds, and the loss that must fall.
STILL = "jitter={brightness: 0, contrast: 0, saturation: 0, hue: 0}"
LONGER = {
    "lfg": ("picture", "loop.steps=50", "loop.learning_rate=0.005", "flip=false"),
    "a2v-1": ("eps", "loop.steps=40", "loop.learning_rate=0.01", "frames=2", "model.lip_weight=0", STILL),
    "pbnet": ("rc", "loop.steps=40", "loop.learning_rate=0.01", "adversarial=false"),
}


@pytest.mark.parametrize("stage", list(LONGER))
def test_the_loss_of_one_clip_falls_clearly(stage: str, one_clip: Path, tmp_path: Path, micro_run: Path) -> None:
    if stage.startswith("a2v"):
        (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    name, *changes = LONGER[stage]
    micro_train(one_clip, tmp_path, *(f"{stage.replace('-', '_')}.{c}" for c in changes), stage=stage)
    values = np.array([line[name] for line in losses(tmp_path, stage)])
    assert values[-10:].mean() < 0.75 * values[:5].mean()


def test_a2v_without_an_lfg_and_absent_stages_are_refused_before_work(
    tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no trained lfg"):
        micro_train(tiny_cache, tmp_path, stage="a2v-1")
    with pytest.raises(InputError, match=r"training stage called 'lgf'.*lfg"):
        micro_train(tiny_cache, tmp_path, stage="lgf")
    (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    with pytest.raises(InputError, match="no stage a2v-2"):
        micro_train(tiny_cache, tmp_path, "a2v_2=null", stage="a2v-2")


def test_windows_longer_than_every_clip_are_refused_at_once(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    """Also where most drawn lengths would fit."""
    (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    with pytest.raises(InputError, match=r"no clip has the 31 frames .*longest: 30"):
        micro_train(tiny_cache, tmp_path, "a2v_2.frames=31", stage="a2v-2")
    assert not (tmp_path / "a2v-2").exists()


def test_batches_depend_on_seed_and_step_alone(tiny_cache: Path) -> None:
    settings = fit_to_cache(micro_settings(), Cache(tiny_cache))
    stages = [
        MODELS["dawn"].stages["lfg"](Cache(tiny_cache), settings, run=Path(), seed=s, device="cpu") for s in (3, 3, 4)
    ]
    first, again, other = (s.batch(7) for s in stages)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["driving"], other["driving"])
    assert not torch.equal(first["theta"], stages[0].batch(8)["theta"])


def test_every_row_of_a_batch_is_of_the_clip_it_names(tiny_cache: Path) -> None:
    cache = Cache(tiny_cache)
    pool, rng = ClipPool(cache), step_rng(0, 0, stream="x")
    assert pool.ids == ["c0", "c1", "c2", "c3"]
    batch = windows(pool, rng, count=5, frames=6, random_source=True)
    for row, place in enumerate(batch["clip"].tolist()):
        clip = cache[pool.ids[place]]
        starts = [k for k in range(25) if np.array_equal(clip["logmel"][k : k + 6], batch["audio"][row])]
        assert len(starts) == 1
        span = slice(starts[0], starts[0] + 6)
        np.testing.assert_array_equal(batch["frames"][row], clip["frames"][span])
        np.testing.assert_array_equal(batch["pose"][row], clip["pose"][span])
        np.testing.assert_array_equal(batch["lip_box"][row], lip_box(clip["landmarks"][span]))
    first = windows(pool, rng, count=3, frames=4, random_source=False)
    np.testing.assert_array_equal(first["source"], first["frames"][:, 0])
    pairs = frame_pairs(pool, rng, count=3)
    assert pairs["source"].shape == pairs["driving"].shape == (3, 32, 32, 3)


def test_the_boxes_of_a_batch_are_those_of_the_stored_masks(tmp_path: Path) -> None:
    """Their pixels are the masks of the cache; the released masks, which training uses, have up to one more a side."""
    cache = Cache(write_tiny_cache(tmp_path / "c", masks=True))
    pool, rng = ClipPool(cache), step_rng(0, 0, stream="x")
    batch = windows(pool, rng, count=8, frames=6, random_source=True)
    for row, place in enumerate(batch["clip"].tolist()):
        clip = cache[pool.ids[place]]
        assert {"lip_mask", "face_mask"} <= set(clip.arrays)
        start = next(k for k in range(25) if np.array_equal(clip["logmel"][k : k + 6], batch["audio"][row]))
        source = next(k for k in range(30) if np.array_equal(clip["bbox"][k], batch["source_bbox"][row]))
        for name, boxes, span in (
            ("lip_mask", batch["lip_box"][row], slice(start, start + 6)),
            ("face_mask", batch["source_bbox"][row][None], slice(source, source + 1)),
        ):
            mask = clip[name][span]
            assert np.array_equal(face_mask(boxes.numpy(), 32), mask) and mask.any()
            for side in (32, 8):  # of frames, and of the latent motion
                cells = mask.reshape(-1, side, 32 // side, side, 32 // side).any(axis=(2, 4))
                released = released_box_mask(boxes, side, height=32, width=32, swap_axes=True).numpy() > 0
                assert (released >= cells).all()
                wider = np.stack([cv2.dilate(cell.astype(np.uint8), np.ones((3, 3))) for cell in cells]) > 0
                assert (released <= wider).all()


def test_a_batch_does_not_depend_on_whether_masks_are_stored(tiny_cache: Path, tmp_path: Path) -> None:
    caches = Cache(tiny_cache), Cache(write_tiny_cache(tmp_path / "c", masks=True))
    one, other = (
        windows(ClipPool(cache), step_rng(3, 1, stream="x"), count=4, frames=5, random_source=True) for cache in caches
    )
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_short_clips_are_padded_and_masked(tiny_cache: Path) -> None:
    batch = sequences(ClipPool(Cache(tiny_cache)), step_rng(0, 0, stream="x"), count=2, frames=40)
    assert batch["mask"].sum(1).tolist() == [30, 30]
    assert not batch["pose"][:, 30:].any() and not batch["blink"][:, 30:].any() and not batch["audio"][:, 30:].any()


def test_colours_change_alike_and_stay_pictures() -> None:
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    wide = JitterConfig(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
    one, two = jitter([picture, picture.clone()], wide, torch.Generator().manual_seed(1))
    assert torch.equal(one, two) and not torch.equal(one, picture)
    assert one.min() >= 0 and one.max() <= 1
    off = JitterConfig(brightness=0, contrast=0, saturation=0, hue=0)
    assert torch.equal(jitter([picture], off, torch.Generator().manual_seed(1))[0], picture)


def test_flips_swap_or_mirror_but_never_both() -> None:
    a, b = torch.arange(6.0).view(1, 1, 1, 6), torch.arange(6.0, 12).view(1, 1, 1, 6)
    kinds = {
        (a.flip(-1), b.flip(-1)): "mirror",
        (b, a): "swap",
        (a, b): "none",
    }
    counts = dict.fromkeys(kinds.values(), 0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        got = flips(a, b, generator)
        counts[next(n for (x, y), n in kinds.items() if torch.equal(got[0], x) and torch.equal(got[1], y))] += 1
    assert counts["swap"] == pytest.approx(200, abs=40) and counts["mirror"] == pytest.approx(100, abs=35)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_fits_a_cache_and_states_its_purpose(name: str, tiny_cache: Path) -> None:
    settings = fit_to_cache(preset(name), Cache(tiny_cache))
    assert settings.preset == name and settings.note
    assert settings.a2v_1.model.audio_dim == settings.pbnet.model.audio_dim == 80
    assert settings.a2v_1.model.source_dim == settings.lfg.model.latent_channels
    assert type(settings).model_validate(settings.model_dump()) == settings


def test_paper_and_released_settings_differ_where_the_paper_differs() -> None:
    paper, released = preset("dawn-128-paper"), preset("dawn-128")
    assert (paper.a2v_1.model.lip_weight, released.a2v_1.model.lip_weight) == (1.0, 0.15)
    assert (paper.a2v_1.model.x0_weight, released.a2v_1.model.x0_weight) == (0.0, 0.15)
    with pytest.raises(InputError, match="no preset called 'huge'"):
        preset("huge")
