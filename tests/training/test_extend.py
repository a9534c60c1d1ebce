"""A finished run is extended: the schedule says how the learning rate goes on, or the refusal names the setting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from micro import losses, micro_train
from safetensors.torch import load_file

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.training.loop import MODEL_FILE, learning_rate
from dawn_bench.training.stage import LoopConfig

#: A moving average and validation, whose bookkeeping must go on too.
WATCHED = ("pbnet.loop.ema=0.5", "pbnet.loop.validate_every=3")


def _train(cache: Path, out: Path, *overrides: str, resume: bool = False) -> None:
    micro_train(cache, out, *WATCHED, *overrides, stage="pbnet", resume=resume)


def _lines(run: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "pbnet" / name).read_text().splitlines()]


def test_steps_past_the_decay_stay_at_the_floor() -> None:
    short = LoopConfig(steps=100, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    long = short.model_copy(update={"steps": 300, "decay_steps": 100})
    assert [learning_rate(long, k) for k in range(100)] == [learning_rate(short, k) for k in range(100)]
    assert [learning_rate(long, k) for k in range(100, 300)] == pytest.approx([0.1] * 200)
    with pytest.raises(ValueError, match="decay_steps 5 is within the warmup"):
        LoopConfig(warmup=10, decay_steps=5)


@pytest.mark.parametrize(
    "schedule",
    [("pbnet.loop.final_learning_rate=1e-3", "pbnet.loop.warmup=2"), ("pbnet.loop.decay_steps=4",)],
    ids=["constant", "decay_steps"],
)
def test_an_extended_run_is_the_long_run(schedule: tuple[str, ...], tiny_cache: Path, tmp_path: Path) -> None:
    """Bit-identical losses, weights and moving average; validation and the best checkpoint go on."""
    long, short = tmp_path / "long", tmp_path / "short"
    _train(tiny_cache, long, *schedule, "pbnet.loop.steps=6")
    _train(tiny_cache, short, *schedule)
    assert load_checkpoint(short / "pbnet" / MODEL_FILE, "pbnet")[1]["steps"] == 4
    _train(tiny_cache, short, *schedule, "pbnet.loop.steps=6", resume=True)
    assert losses(short, "pbnet") == losses(long, "pbnet") and len(losses(short, "pbnet")) == 6
    ours, theirs = (load_file(run / "pbnet" / MODEL_FILE) for run in (short, long))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert load_checkpoint(short / "pbnet" / MODEL_FILE, "pbnet")[1]["steps"] == 6
    checks = _lines(short, "validation.jsonl")
    assert [line["step"] for line in checks] == [3, 4, 6]  # 4 was the end of the shorter run
    assert [line for line in checks if line["step"] != 4] == _lines(long, "validation.jsonl")
    best = json.loads((short / "pbnet" / "best.json").read_text())
    assert best["value"] == min(line[best["measure"]] for line in checks)
    assert load_checkpoint(short / "pbnet" / "best.safetensors", "pbnet")[1]["steps"] == best["step"]
    assert yaml.safe_load((short / "pbnet" / "config.yaml").read_text())["loop"]["steps"] == 6
    with pytest.raises(InputError, match=r"pbnet\.loop\.steps 6, not 4\. A run can be extended, not shortened"):
        _train(tiny_cache, short, *schedule, resume=True)


def test_a_cosine_names_the_setting_that_extends_it(tiny_cache: Path, tmp_path: Path) -> None:
    """The refusal changes nothing, and what it recommends works."""
    _train(tiny_cache, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.parent.name == "pbnet"}
    with pytest.raises(InputError) as caught:
        _train(tiny_cache, tmp_path, "pbnet.loop.steps=6", resume=True)
    text = str(caught.value)
    assert "pbnet.loop.steps 4, not 6; its learning rate falls to 1e-06 over 4 steps" in text and "\n" not in text
    assert "--set pbnet.loop.decay_steps=4;" in text
    assert {p: p.read_bytes() for p in before} == before
    _train(tiny_cache, tmp_path, "pbnet.loop.steps=6", "pbnet.loop.decay_steps=4", resume=True)
    assert [line["step"] for line in losses(tmp_path, "pbnet")] == [1, 2, 3, 4, 5, 6]
    _train(tiny_cache, tmp_path, "pbnet.loop.steps=7", "pbnet.loop.decay_steps=4", resume=True)
    assert len(losses(tmp_path, "pbnet")) == 7


def test_another_setting_is_named_with_both_values(tiny_cache: Path, tmp_path: Path) -> None:
    _train(tiny_cache, tmp_path)
    with pytest.raises(InputError, match=r"other settings: pbnet\.loop\.learning_rate 0\.001, not 0\.002"):
        _train(tiny_cache, tmp_path, "pbnet.loop.learning_rate=2e-3", "pbnet.loop.steps=9", resume=True)


def test_a_config_of_an_earlier_version_lacks_newer_settings(tiny_cache: Path, tmp_path: Path) -> None:
    _train(tiny_cache, tmp_path)
    file = tmp_path / "pbnet" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    del config["loop"]["decay_steps"]
    file.write_text(yaml.safe_dump(config))
    before = (tmp_path / "pbnet" / MODEL_FILE).read_bytes()
    _train(tiny_cache, tmp_path, resume=True)
    assert (tmp_path / "pbnet" / MODEL_FILE).read_bytes() == before


def test_a_stage_that_others_were_built_on_is_not_extended_below_them(
    tiny_cache: Path, micro_run: Path, tmp_path: Path
) -> None:
    for stage in ("lfg", "a2v-1"):
        shutil.copytree(micro_run / stage, tmp_path / stage)
    more = ("lfg.loop.steps=6", "lfg.loop.decay_steps=4")
    with pytest.raises(InputError, match=r"a2v-1: was trained on the present lfg.*Extend lfg in a copy"):
        micro_train(tiny_cache, tmp_path, *more, stage="lfg", resume=True)


def test_the_best_of_an_abandoned_run_is_not_that_of_the_next(tiny_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "pbnet").mkdir()
    note = {"step": 900, "measure": "rc", "value": -1.0, "split": "test"}
    (tmp_path / "pbnet" / "best.json").write_text(json.dumps(note))
    _train(tiny_cache, tmp_path, resume=True)
    assert json.loads((tmp_path / "pbnet" / "best.json").read_text())["step"] in (3, 4)
