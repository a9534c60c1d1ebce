"""The best checkpoint is never chosen on the test split: without `val`, speakers are held out of training."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from micro import losses, micro_settings, micro_train
from micro_dit_head import micro_train as micro_dit_head_train
from safetensors.torch import load_file
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.loading import report_notes
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.data import ClipPool
from dawn_bench.training.holdout import HOLDOUT_FILE, Holdout, hold_out, write_holdout
from dawn_bench.training.validation import held_out
from dawn_bench.workflow import training_setup
from dawn_bench.workflow.training_setup import holdouts

EVERY = tuple(f"{key}.loop.validate_every=2" for key in ("lfg", "a2v_1", "pbnet"))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_whole_speakers_leave_training(tmp_path: Path) -> None:
    """Clips c0, c1, ... are of speakers s0, s1, s2 in turn; six train, three test."""
    cache = Cache(write_tiny_cache(tmp_path / "cache", splits=("train",) * 6 + ("test",) * 3))
    holdout = hold_out(cache, 2)
    seen = holdout.apply_to(cache)
    train, val = set(seen.ids("train")), set(seen.ids("val"))
    assert len(val) == 2 and train | val == set(cache.ids("train")) and not train & val
    assert {seen[i].speaker for i in val} == set(holdout.speakers)
    assert not {seen[i].speaker for i in train} & set(holdout.speakers)
    assert set(ClipPool(seen).ids) == train and held_out(seen, 9) == ("val", seen.clips("val"))
    assert seen.ids("test") == cache.ids("test") and cache.splits == ["test", "train"]  # the cache itself is unchanged
    assert pickle.loads(pickle.dumps(seen)).ids("val") == seen.ids("val")  # as loader workers get it
    assert hold_out(cache, 2) == holdout and len(hold_out(cache, 3).speakers) == 1  # two of three would be too many


@pytest.mark.parametrize(
    ("splits", "count", "clips", "split"),
    [
        (("train", "train", "test", "val"), 2, 0, "val"),  # the cache's own split
        (("train", "train", "test"), 0, 0, "val"),  # no validation
        (("train", "train", "test"), 2, 1, "val"),
        (("train", "test", "test"), 2, 0, "train"),  # nothing to hold out, and still not `test`
        (("test", "test", "test"), 1, 1, "val"),  # a cache without `train` trains on everything
    ],
)
def test_what_is_held_out_of_small_caches(
    splits: tuple[str, ...], count: int, clips: int, split: str, tmp_path: Path
) -> None:
    cache = Cache(write_tiny_cache(tmp_path / "cache", splits=splits))
    holdout = hold_out(cache, count)
    assert (len(holdout.clips), holdout.split) == (clips, split)
    seen = holdout.apply_to(cache)
    if count:
        name, chosen = held_out(seen, count, split=holdout.split)
        assert name == split and chosen and all(clip.split != "test" or "train" not in splits for clip in chosen)
    assert not {*ClipPool(seen).ids} & {*holdout.clips}


def test_a_lone_speaker_gives_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(write_tiny_cache(tmp_path / "cache", splits=("train",) * 6))
    monkeypatch.setattr(Cache, "__getitem__", lambda self, clip: type("OneVoice", (), {"speaker": "me"}))
    holdout = hold_out(cache, 2)
    assert len(holdout.clips) == 1 and "held out for validation: 1 clip of the only speaker" in holdout.sentence()


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages on a cache with train and test, validated every second of four steps."""
    out = tmp_path_factory.mktemp("held") / "run"
    for stage in ("lfg", "a2v-1"):
        micro_train(tiny_cache, out, *EVERY, stage=stage)
    return out


def test_training_says_what_it_holds_out_and_the_report_too(
    run: Path, tiny_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro_train(tiny_cache, tmp_path, *EVERY, stage="lfg")
    said = " ".join(capsys.readouterr().err.split())
    clip = json.loads((tmp_path / "lfg" / HOLDOUT_FILE).read_text())["clips"]
    speakers = list(dict.fromkeys(Cache(tiny_cache)[i].speaker for i in clip))
    assert (len(clip), len(speakers)) == (2, 2)
    sentence = f"held out for validation: 2 clips of speakers {', '.join(speakers)}; no split val"
    assert sentence in said and said.index(sentence) < said.index("train lfg")
    for stage in ("lfg", "a2v-1"):
        assert {line["split"] for line in lines(run / stage / "validation.jsonl")} == {"val"}
        assert json.loads((run / stage / "best.json").read_text())["split"] == "val"
        facts = load_checkpoint(run / stage / "model.safetensors", stage.partition("-")[0])[1]
        assert facts["clips"] == 4 - len(clip) and facts["validation"]["clips"] == clip  # the same for every stage
    assert any(note.startswith(f"Stages a2v-1, lfg: {sentence}") for note in report_notes(run))


def test_training_says_where_a_cache_leaves_it_the_test_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = write_tiny_cache(tmp_path / "cache", splits=("test",) * 5 + ("val",))
    micro_train(cache, tmp_path / "run", "lfg.loop.steps=1", stage="lfg")
    said = " ".join(capsys.readouterr().err.split())
    sentence = "the cache has no split train: all clips are trained on, 5 clips of split test, 1 clip of split val"
    assert sentence in said and said.index(sentence) < said.index("train lfg")


def test_every_model_holds_clips_out(tiny_cache: Path, tmp_path: Path) -> None:
    micro_dit_head_train(tiny_cache, tmp_path, "vqgan_face.loop.validate_every=2", stage="vqgan-face")
    assert {line["split"] for line in lines(tmp_path / "vqgan-face" / "validation.jsonl")} == {"val"}
    assert any(note.startswith("Stage vqgan-face: held out for validation") for note in report_notes(tmp_path))


def test_a_run_goes_on_with_the_clips_it_began_with(
    run: Path, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a later version would hold others out; a clip that is gone is one line."""
    shutil.copytree(run / "lfg", tmp_path / "lfg")
    monkeypatch.setattr("dawn_bench.workflow.training_setup.hold_out", lambda *_: Holdout(clips=("c1", "c2")))
    before = (tmp_path / "lfg" / HOLDOUT_FILE).read_bytes()
    micro_train(tiny_cache, tmp_path, *EVERY, stage="lfg", resume=True)  # finished: nothing is written
    assert (tmp_path / "lfg" / "model.safetensors").read_bytes() == (run / "lfg" / "model.safetensors").read_bytes()
    assert (tmp_path / "lfg" / HOLDOUT_FILE).read_bytes() == before
    record = json.loads(before) | {"clips": ["c99"]}
    (tmp_path / "lfg" / HOLDOUT_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"has no clip 'c99', which was held out"):
        micro_train(tiny_cache, tmp_path, *EVERY, stage="lfg", resume=True)
    (tmp_path / "lfg" / HOLDOUT_FILE).write_text('{"split": 3}')
    with pytest.raises(InputError, match=r"held-out\.json: is not a record of held-out clips"):
        micro_train(tiny_cache, tmp_path, *EVERY, stage="lfg", resume=True)


def test_a_later_stage_holds_out_what_the_earlier_ones_did(tmp_path: Path) -> None:
    """Also where another number of clips is asked for, and where only some of the earlier stages have a record."""
    cache = Cache(write_tiny_cache(tmp_path / "cache", splits=("train",) * 6 + ("test",) * 3))
    spec, settings = MODELS["dawn"], micro_settings(*EVERY, "a2v_1.loop.validation_clips=3")
    chosen = Holdout(clips=("c1", "c4"), speakers=("s1",))
    assert holdouts(spec, settings, cache, ["a2v-1"], tmp_path)["a2v-1"] != chosen
    for name in ("lfg", "pbnet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    write_holdout(tmp_path / "pbnet", chosen)
    assert holdouts(spec, settings, cache, ["a2v-1", "a2v-2"], tmp_path) == {"a2v-1": chosen, "a2v-2": chosen}
    assert holdouts(spec, settings, cache, ["lfg"], tmp_path) == {"lfg": Holdout(split="test")}  # began without
    own = Holdout(clips=("c2",), speakers=("s2",))
    write_holdout(tmp_path / "lfg", own)
    assert holdouts(spec, settings, cache, ["pbnet", "lfg"], tmp_path) == {"pbnet": chosen, "lfg": own}
    (tmp_path / "lfg" / HOLDOUT_FILE).unlink()
    write_holdout(tmp_path / "pbnet", Holdout())  # of a run without validation: there is nothing to share
    assert holdouts(spec, settings, cache, ["a2v-1"], tmp_path)["a2v-1"].clips


@pytest.mark.parametrize("model", [name for name in MODELS if len(MODELS[name].stages) > 1])
def test_stages_that_are_trained_alone_hold_out_for_all_of_them(
    model: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stage decides for the later ones, which may ask for more clips than it does."""
    spec, cache, counts = MODELS[model], Cache(tiny_cache), list[int]()
    monkeypatch.setattr(training_setup, "hold_out", lambda cache, count: counts.append(count) or Holdout())
    preset = spec.preset(spec.presets[0])
    named = {name: config for name in spec.stages if (config := getattr(preset, stage_key(name))) is not None}
    for asking in named:
        clips = {name: 9 if name == asking else 1 for name in named}
        loops = {name: {"validate_every": 5, "validation_clips": clips[name]} for name in named}
        settings = preset.model_copy(
            update={
                stage_key(name): config.model_copy(update={"loop": config.loop.model_copy(update=loops[name])})
                for name, config in named.items()
            }
        )
        for alone in named:
            holdouts(spec, settings, cache, [alone], tmp_path)
    assert counts == [9] * len(named) ** 2


def test_a_run_of_an_earlier_version_goes_on_as_it_was(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a record: trained on every training clip, bit for bit, and validated on `test`, which is said."""
    steps = ("lfg.loop.final_learning_rate=0.001", "lfg.loop.validate_every=2")
    kept = ("lfg.loop.final_learning_rate=0.001",)
    micro_train(tiny_cache, tmp_path / "whole", *kept, "lfg.loop.steps=4", stage="lfg")
    micro_train(tiny_cache, tmp_path / "old", *kept, "lfg.loop.steps=2", stage="lfg")
    old = tmp_path / "old" / "lfg"
    (old / HOLDOUT_FILE).unlink()
    settings = old / "config.yaml"
    settings.write_text(settings.read_text().replace("validate_every: null", "validate_every: 2"))
    micro_train(tiny_cache, tmp_path / "old", *steps, "lfg.loop.steps=4", stage="lfg", resume=True)
    assert "best checkpoint chosen on split test" in " ".join(capsys.readouterr().err.split())
    ours, plain = (load_file(tmp_path / name / "lfg" / "model.safetensors") for name in ("old", "whole"))
    assert all(torch.equal(ours[k], plain[k]) for k in plain)
    assert losses(tmp_path / "old", "lfg") == losses(tmp_path / "whole", "lfg")
    assert {line["split"] for line in lines(old / "validation.jsonl")} == {"test"} and not (old / HOLDOUT_FILE).exists()
    assert any("best checkpoint chosen on split test" in note for note in report_notes(tmp_path / "old"))


def test_a_report_on_an_earlier_run_says_that_test_chose(micro_run: Path, tmp_path: Path) -> None:
    (tmp_path / "lfg").mkdir()
    (tmp_path / "lfg" / "best.json").write_text('{"step": 4, "measure": "psnr", "value": 20.0, "split": "test"}')
    notes = report_notes(tmp_path)
    assert [note for note in notes if "test" in note] == [
        "Stage lfg: best checkpoint chosen on split test: begun by a version without validation clips."
    ]
    (tmp_path / "lfg" / "best.json").write_text("{")
    assert not [note for note in report_notes(tmp_path) if "best" in note]
