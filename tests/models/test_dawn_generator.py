"""The generator: any length, the seed decides, tracks drive the head, what is missing is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.config import validated
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import SamplingOptions

QUICK = SamplingOptions(steps=2)


@pytest.fixture(scope="module")
def talker(micro_run: Path) -> DawnGenerator:
    return DawnGenerator.load(micro_run)


@pytest.fixture(scope="module")
def clip(tiny_cache: Path) -> Clip:
    return Cache(tiny_cache)["c4"]


def test_the_seed_decides_and_nothing_else(talker: DawnGenerator, clip: Clip) -> None:
    first, again, other = (
        talker.talk(source_of(clip), clip["logmel"][:6], seed=seed, options=QUICK) for seed in (1, 1, 2)
    )
    assert first.dtype == np.uint8 and first.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("length", [1, 5, 47])
def test_the_clip_is_as_long_as_the_sound(length: int, talker: DawnGenerator, clip: Clip) -> None:
    """Also longer than the windows that the model was trained on, and than the picture's own clip."""
    sound = np.resize(clip["logmel"], (length, 80))
    assert len(talker.talk(source_of(clip), sound, seed=0, options=QUICK)) == length


def test_given_tracks_drive_the_head_and_pbnet_is_not_run(
    talker: DawnGenerator, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, source = clip["logmel"][:6], source_of(clip)
    drawn = talker.talk(source, sound, seed=0, options=QUICK)
    turned = np.repeat(clip["pose"][:1], 6, axis=0)
    turned[:, 0] += 20
    half = talker.talk(source, sound, seed=0, options=QUICK, pose=turned)
    monkeypatch.setattr(talker.pbnet, "generate", lambda *a, **k: pytest.fail("PBNet was asked"))
    tracks = {"pose": clip["pose"][:6], "blink": clip["blink"][:6]}
    true = talker.talk(source, sound, seed=0, options=QUICK, **tracks)
    other = talker.talk(source, sound, seed=0, options=QUICK, **(tracks | {"pose": turned}))
    assert (true != drawn).any() and (true != other).any() and (half != drawn).any()


def test_options_change_the_outcome(talker: DawnGenerator, clip: Clip) -> None:
    changes: list[dict] = [{}, {"eta": 0}, {"cond_scale": 3}, {"window": 1}, {"solver": "dpm2m"}]
    results = [
        talker.talk(source_of(clip), clip["logmel"][:6], seed=0, options=SamplingOptions(steps=3, **change)).tobytes()
        for change in changes
    ]
    assert len(set(results)) == 5


def test_a_missing_model_is_named_with_the_command_that_makes_it(micro_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no trained lfg.*dawn-bench train"):
        DawnGenerator.load(tmp_path / "nothing")
    shutil.copytree(micro_run / "lfg", tmp_path / "run" / "lfg")
    with pytest.raises(InputError, match="holds no trained a2v"):
        DawnGenerator.load(tmp_path / "run")
    shutil.copytree(micro_run / "a2v-1", tmp_path / "run" / "a2v-1")
    shutil.copytree(micro_run / "pbnet", tmp_path / "run" / "pbnet")
    one = DawnGenerator.load(tmp_path / "run")
    assert one.facts["a2v"]["stage"] == "a2v-1" and one.identity != DawnGenerator.load(micro_run).identity
    (tmp_path / "run" / "pbnet" / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(InputError, match="damaged"):
        DawnGenerator.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "'steps'"),
        ({"eta": -1}, "'eta'"),
        ({"cond_scale": float("nan")}, "'cond_scale'"),
        ({"solver": "euler"}, "'solver'.*ddim"),
        ({"window": 0}, "'window'"),
        ({"stesp": 3}, "'stesp'.*steps"),
    ],
)
def test_options_out_of_range_are_one_line(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validated(SamplingOptions, given, what="option")


@pytest.mark.parametrize("field", ["pose", "blink", "bbox"])
def test_a_clip_whose_tracks_hold_nan_fails_alone(field: str, tiny_cache: Path) -> None:
    """Only where the values are read: later poses drive the variant with true poses alone."""
    clip = Cache(tiny_cache)["c4"]
    values = np.array(clip[field])
    values[5] = np.nan
    broken = replace(clip, arrays={**clip.arrays, field: values})
    assert np.array_equal(source_of(broken).frame, clip["frames"][0])
    with pytest.raises(ItemError, match=f"not_finite: {field} of c4"):
        source_of(broken, read=slice(None))
    values[0] = np.nan
    with pytest.raises(ItemError, match=f"not_finite: {field} of c4"):
        source_of(broken)
