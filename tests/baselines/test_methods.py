"""Every method that needs no training gives a clip of the right length and type; DAWN is built with its options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dawn_bench.baselines.base import METHODS, SANITY, Context, Item, build_method, modalities_of, sanity_rows
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError


@pytest.fixture(scope="module")
def clips(tiny_cache: Path) -> list[Clip]:
    return Cache(tiny_cache).clips("test")


@pytest.mark.parametrize("name", SANITY)
def test_sanity_rows_give_a_clip_like_the_truth(name: str, clips: list[Clip]) -> None:
    method = METHODS[name](Context())
    generated = method.generate(Item(clips[0], clips, 0))
    assert (method.name, method.method_class) == (name, "sanity")
    assert generated.frames.dtype == np.uint8 and generated.frames.shape == clips[0]["frames"].shape
    assert generated.audio.dtype == np.int16 and generated.audio.shape == clips[0]["audio"].shape
    for _ in range(8):  # x264 has differed once in four times
        again = METHODS[name](Context()).generate(Item(clips[0], clips, 0))
        np.testing.assert_array_equal(generated.frames, again.frames)


def test_sanity_rows_match_their_names(clips: list[Clip]) -> None:
    item = Item(clips[0], clips, 0)
    generated = {name: METHODS[name](Context()).generate(item) for name in SANITY}
    truth = clips[0]
    np.testing.assert_array_equal(generated["ground-truth"].frames, truth["frames"])
    assert (generated["still"].frames == truth["frames"][0]).all()
    np.testing.assert_array_equal(generated["shuffled-sound"].frames, truth["frames"])
    np.testing.assert_array_equal(generated["shuffled-sound"].audio, clips[1]["audio"])
    lossy = generated["ground-truth-reencoded"].frames.astype(float) - truth["frames"]
    assert 0.1 < np.abs(lossy).mean() < 20


def test_a_lone_clip_has_no_other_sound(clips: list[Clip]) -> None:
    with pytest.raises(ItemError, match="no_other_clip"):
        METHODS["shuffled-sound"](Context()).generate(Item(clips[0], clips[:1], 0))


def test_dawn_follows_the_sound_and_its_shuffled_variant_another_clips(micro_run: Path, clips: list[Clip]) -> None:
    context = Context(micro_run, options={"steps": 2})
    dawn, shuffled = (METHODS[name](context) for name in ("dawn", "dawn-shuffled"))
    truth = METHODS["dawn"](Context(micro_run, options={"steps": 2, "drive": "truth"}))
    generated = [m.generate(Item(clips[0], clips, 0)).frames for m in (dawn, shuffled, truth)]
    assert all(frames.shape == (30, 32, 32, 3) and frames.dtype == np.uint8 for frames in generated)
    assert (generated[0] != generated[1]).any() and (generated[0] != generated[2]).any()
    assert len({dawn.fingerprint, shuffled.fingerprint, truth.fingerprint}) == 3
    assert "pose" in truth.uses and "pose" not in dawn.uses and "others" in shuffled.uses
    again = METHODS["dawn"](context)
    assert again.fingerprint == dawn.fingerprint
    alone = again.generate(Item(clips[0], clips[:1], 0)).frames
    np.testing.assert_array_equal(generated[0], alone)  # the other clips do not matter to it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": "many"}, "option 'steps'"),
        ({"step": 3}, "option 'step'.*steps"),
        ({"drive": "video"}, "'drive' is 'video'.*pbnet, truth"),
    ],
)
def test_wrong_options_of_dawn_are_one_line(options: dict, message: str, micro_run: Path) -> None:
    with pytest.raises(InputError, match=message):
        METHODS["dawn"](Context(micro_run, options=options))


def test_dawn_without_a_run_gives_a_hint() -> None:
    with pytest.raises(InputError, match="--checkpoint RUN"):
        METHODS["dawn"](Context())


def test_a_method_of_another_modality_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="diffspeaker generates meshes, but this cache has videos"):
        build_method("diffspeaker", Context(Path("no-such-run")))
    with pytest.raises(InputError, match="dawn generates videos, but this cache has meshes"):
        build_method("dawn", Context(Path("no-such-run"), modality="mesh"))


def test_sanity_rows_are_those_that_serve_the_modality() -> None:
    assert sanity_rows("video") == SANITY
    assert sanity_rows("mesh") == ("ground-truth", "still", "shuffled-sound")


def test_a_class_may_declare_what_it_generates() -> None:
    class Mine:
        modalities = ("mesh",)

    assert modalities_of(Mine) == ("mesh",)  # type: ignore[arg-type]
    assert modalities_of(METHODS["dawn"]) == ("video",)


def test_the_command_lists_methods_with_their_modality() -> None:
    lines = CliRunner().invoke(app, ["methods"]).stdout.splitlines()
    listed = {line.split("  ")[0].strip(): line for line in lines}
    assert list(listed) == list(METHODS)
    assert listed["diffspeaker"].split()[1:] == ["mesh", "runs", "inside", "dawn-bench"]
    assert listed["still"].split()[1:3] == ["video,", "mesh"] and listed["dawn"].split()[1] == "video"
    assert "not installed; see dawn-bench methods wav2lip" in listed["wav2lip"]
