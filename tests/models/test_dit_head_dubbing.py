"""Dubbing: what is outside the hole stays, what is in it is not seen; length, seeds, and what is missing is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_dit_head import micro_train

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.models.dit_head.dubbing import DubOptions, blend
from dawn_bench.models.dit_head.generator import DitHeadGenerator
from dawn_bench.models.dit_head.mask import mouth_mask
from dawn_bench.models.inputs import ping_pong

QUICK = DubOptions(steps=2)


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dit-head") / "run"
    micro_train(tiny_cache, out)
    return out


@pytest.fixture(scope="module")
def dubber(run: Path) -> DitHeadGenerator:
    """With a louder last layer: four steps of training leave it almost at zero."""
    generator = DitHeadGenerator.load(run)
    torch.nn.init.normal_(generator.dit.out.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    return generator


@pytest.fixture(scope="module")
def clip(tiny_cache: Path) -> Clip:
    return Cache(tiny_cache)["c4"]


def dub(
    dubber: DitHeadGenerator, clip: Clip, *, sound: np.ndarray | None = None, seed: int = 1, **changes
) -> np.ndarray:
    features = clip["logmel"] if sound is None else sound
    given = {"options": QUICK} | changes
    return dubber.dub(clip["frames"], clip["landmarks"], features, seed=seed, **given)


def test_a_run_records_its_training_data(dubber: DitHeadGenerator) -> None:
    assert (dubber.size, dubber.audio_encoder) == (32, "logmel") and dubber.identity


def test_outside_the_hole_every_pixel_is_the_videos(dubber: DitHeadGenerator, clip: Clip) -> None:
    dubbed = dub(dubber, clip)
    hole = mouth_mask(clip["landmarks"], 32, dubber.dit.config.mask)
    assert dubbed.dtype == np.uint8 and dubbed.shape == clip["frames"].shape
    np.testing.assert_array_equal(dubbed[~hole], clip["frames"][~hole])
    assert (dubbed[hole] != clip["frames"][hole]).any()


def test_the_hole_hides_what_it_covers(dubber: DitHeadGenerator, clip: Clip) -> None:
    """Noise in the holes of the video changes nothing, once the reference is another picture."""
    hole = mouth_mask(clip["landmarks"], 32, dubber.dit.config.mask)
    frames = clip["frames"].copy()
    frames[hole] = np.random.default_rng(0).integers(0, 256, frames[hole].shape)
    reference = np.asarray(clip["frames"][0])
    dubbed = [
        dubber.dub(f, clip["landmarks"], clip["logmel"], seed=1, options=QUICK, reference=reference)
        for f in (clip["frames"], frames)
    ]
    np.testing.assert_array_equal(*dubbed)
    np.testing.assert_array_equal(dubbed[0], dub(dubber, clip))  # the first frame is the reference by default


def test_the_seed_and_the_sound_decide(dubber: DitHeadGenerator, clip: Clip) -> None:
    first, again, other = (dub(dubber, clip, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("length", [1, 13, 47])
def test_the_clip_is_as_long_as_the_sound(dubber: DitHeadGenerator, clip: Clip, length: int) -> None:
    dubbed = dub(dubber, clip, sound=np.resize(clip["logmel"], (length, 80)))
    assert dubbed.shape == (length, 32, 32, 3)


def test_a_short_video_is_played_ping_pong() -> None:
    assert ping_pong(4, 9).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert ping_pong(1, 3).tolist() == [0, 0, 0] and ping_pong(5, 2).tolist() == [0, 1]


def test_a_portrait_stands_still_but_for_its_mouth(dubber: DitHeadGenerator, clip: Clip) -> None:
    frame, points = np.asarray(clip["frames"][0]), clip["landmarks"][0]
    dubbed = dubber.dub(frame[None], points[None], clip["logmel"][:9], seed=1, options=QUICK)
    hole = mouth_mask(points[None], 32, dubber.dit.config.mask)[0]
    assert dubbed.shape == (9, 32, 32, 3)
    np.testing.assert_array_equal(dubbed[:, ~hole], np.tile(frame[~hole], (9, 1, 1)))


def test_batches_of_frames_change_nothing_that_can_be_seen(
    dubber: DitHeadGenerator, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dub(dubber, clip).astype(int)
    monkeypatch.setattr("dawn_bench.models.dit_head.dubbing.BATCH", 7)
    assert np.abs(dub(dubber, clip) - whole).max() <= 1


def test_guidance_and_blending_change_the_lips_only(dubber: DitHeadGenerator, clip: Clip) -> None:
    hole = mouth_mask(clip["landmarks"], 32, dubber.dit.config.mask)
    plain = dub(dubber, clip)
    for change in ({"guidance": 3.0}, {"interpolation": "blend"}, {"seam": 0.0}, {"eta": 1.0}):
        dubbed = dub(dubber, clip, options=QUICK.model_copy(update=change))
        assert (dubbed[hole] != plain[hole]).any()
        np.testing.assert_array_equal(dubbed[~hole], plain[~hole])


def test_blending_is_a_mean_of_three_and_leaves_what_stands_still() -> None:
    z = torch.tensor([0.0, 4.0, 0.0, 0.0]).view(4, 1, 1, 1)
    assert blend(z).flatten().tolist() == [1.0, 2.0, 1.0, 0.0]
    assert torch.equal(blend(torch.ones(3, 2, 2, 2)), torch.ones(3, 2, 2, 2))


def test_a_missing_model_is_named(run: Path, tmp_path: Path) -> None:
    part = tmp_path / "run"
    shutil.copytree(run, part)
    (part / "dit" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no trained dit.*--model dit-head"):
        DitHeadGenerator.load(part)
