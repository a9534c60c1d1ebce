"""What a run that goes on compares: every setting of every stage, every origin, and what its checkpoint records."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from micro import micro_settings
from safetensors.torch import save_file
from torch import nn
from walking import another, check_classified, leaves, with_leaf

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import Extracted, of_provenance
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.provenance import fingerprint
from dawn_bench.training import resume
from dawn_bench.training.holdout import Holdout, parse_holdout, read_holdout, write_holdout
from dawn_bench.training.loop import fit
from dawn_bench.training.resume import CONFIG_FILE, MODEL_FILE, STATE_FILE, claim, restore, save_state, write_model
from dawn_bench.training.stage import LoopConfig
from dawn_bench.weights import CONTENT_HASH, content_hash
from dawn_bench.workflow import train as training
from dawn_bench.workflow.train import train

HERE = Path(__file__).name
#: Settings that may differ when a run goes on, where the learning rate of its steps stays what it was.
EXTENDS = {"loop.steps", "loop.decay_steps"}
#: Settings that may differ because no number depends on them.
FREE = {"recompute"}


def stage_configs() -> list[tuple[str, str, Config]]:
    """Every stage of every model, as the first preset or variant that has it sets it."""
    configs: list[tuple[str, str, Config]] = []
    for name in [name for name in MODELS if MODELS[name].preset.place.startswith("dawn_bench.")]:  # type: ignore[attr-defined]
        spec = MODELS[name]
        presets = [spec.preset(p) for p in (*spec.presets, *(f"{spec.presets[1]}+{v}" for v in spec.variants))]
        for stage in spec.stages:
            configs.append((name, stage, next(c for p in presets if (c := getattr(p, stage_key(stage))) is not None)))
    return configs


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "stage", "config"), stage_configs(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_setting_of_a_stage_refuses_to_go_on_with_another_value(
    model: str, stage: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / stage
    out.mkdir()
    config.to_yaml(out / CONFIG_FILE)
    written = resume.read_yaml(out / CONFIG_FILE)
    monkeypatch.setattr(resume, "read_yaml", lambda *_, **__: written)  # it takes most of the time
    claim(out, config, resume=True)
    names = []
    for name, value, annotation in leaves(config):
        names.append(name)
        changed = with_leaf(config, name, another(value, annotation))
        if name in FREE:
            claim(out, changed, resume=True)
        elif name not in EXTENDS:
            with pytest.raises(InputError, match=rf"other settings: {stage_key(stage)}\.{name}[ .]") as caught:
                claim(out, changed, resume=True)
            assert "another --out" in str(caught.value)
    assert set(names) >= EXTENDS and len(names) > 20


def loop(**changes: Any) -> Config:
    return micro_settings().pbnet.model_copy(update={"loop": LoopConfig(**{"steps": 10, "warmup": 2, **changes})})


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        ({}, {"steps": 11}, "its learning rate falls to 1e-06 over 10 steps"),
        ({}, {"steps": 9}, "extended, not shortened"),
        ({}, {"steps": 11, "decay_steps": 10}, ""),
        ({}, {"steps": 11, "decay_steps": 11}, "over 10 steps"),
        ({}, {"decay_steps": 10}, ""),
        ({"decay_steps": 8}, {"steps": 30, "decay_steps": 8}, ""),
        ({"decay_steps": 8}, {"decay_steps": 9}, "over 8 steps"),
        ({"decay_steps": 8}, {}, "over 8 steps"),
        ({"final_learning_rate": 2e-4}, {"steps": 11, "final_learning_rate": 2e-4}, ""),
        ({"final_learning_rate": 1.9e-4}, {"steps": 11, "final_learning_rate": 1.9e-4}, "falls to 0.00019"),
        ({"final_learning_rate": 3e-4}, {"steps": 11, "final_learning_rate": 3e-4}, ""),
    ],
)
def test_more_steps_are_accepted_where_the_rate_of_the_earlier_ones_stays(
    before: dict[str, Any], now: dict[str, Any], refused: str, tmp_path: Path
) -> None:
    out = tmp_path / "pbnet"
    out.mkdir()
    loop(**before).to_yaml(out / CONFIG_FILE)
    if not refused:
        claim(out, loop(**now), resume=True)
        return
    with pytest.raises(InputError, match=refused):
        claim(out, loop(**now), resume=True)


# --- origins ---------------------------------------------------------------------------------------------------------


class Tiny(Config):
    """The settings of `Line`."""

    loop: LoopConfig = LoopConfig(steps=2, batch_size=1, save_every=1, log_every=1)


class Line:
    """A stage of one weight."""

    name = "line"
    ids = ("a",)

    def __init__(self, steps: int = 2, **origin: str) -> None:
        self.config = Tiny(loop=LoopConfig(steps=steps, batch_size=1, save_every=1, log_every=1, decay_steps=2))
        self.loop, self.module, self.origin = self.config.loop, nn.Linear(1, 1), origin
        self.saved: list[dict[str, Any]] = []

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        return {"clip": torch.zeros(1, dtype=torch.long), "x": torch.ones(1, 1)}

    def losses(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"total": self.module(batch["x"]).square().mean()}

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.module.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        self.saved.append(provenance)
        save_file(self.module.state_dict(), path, metadata={"provenance": json.dumps(provenance, default=str)})


def trained(out: Path, *, steps: int = 2, seed: int = 5, cache: str = "c", go_on: bool = False, **origin: str) -> Line:
    stage = Line(steps, **origin)
    fit(stage, out=out, seed=seed, device="cpu", resume=go_on, provenance={"cache": cache, "preset": "p"})  # type: ignore[arg-type]
    return stage


def test_a_run_goes_on_with_its_own_seed_cache_and_frozen_networks_alone(tmp_path: Path) -> None:
    out = tmp_path / "line"
    (facts,) = trained(out, network="vgg").saved
    assert {k: facts[k] for k in ("stage", "seed", "steps", "cache", "preset")} == {
        "stage": "line", "seed": 5, "steps": 2, "cache": "c", "preset": "p",
    }  # fmt: skip
    assert facts["versions"]["torch"] and facts["device"].startswith("cpu")
    origin = torch.load(out / STATE_FILE)["origin"]
    assert origin == {"seed": 5, "cache": "c", "network": "vgg"}
    same: dict[str, Any] = {"network": "vgg", "steps": 3, "go_on": True}
    for name, changes in (("seed", {"seed": 6}), ("cache", {"cache": "d"}), ("network", {"network": "other"})):
        with pytest.raises(InputError, match=rf"was started with {name} \w+, not \w+"):
            trained(out, **{**same, **changes})
    assert trained(out, **same).saved[0]["steps"] == 3
    with pytest.raises(InputError, match="already holds a training run"):
        trained(out, network="vgg")


def test_a_state_says_at_which_step_it_is_and_of_what(tmp_path: Path) -> None:
    module, (path, origin) = nn.Linear(1, 1), (tmp_path / STATE_FILE, {"seed": 1, "cache": "c"})

    def go_on(steps: int, **changes: Any) -> int:
        return restore(tmp_path, module, [], None, origin={**origin, **changes}, steps=steps)

    assert go_on(4) == 0
    save_state(path, 4, module, [], None, origin)
    assert go_on(4) == 4 and go_on(9) == 4
    assert go_on(9, network="new since") == 4  # a state of a version that recorded less
    with pytest.raises(InputError, match="is at step 4 already, past the 3"):
        go_on(3)
    for name in origin:
        with pytest.raises(InputError, match=f"started with {name} "):
            go_on(4, **{name: "another"})
    path.unlink()
    (tmp_path / MODEL_FILE).write_bytes(b"")
    with pytest.raises(InputError, match="holds a trained model, but no state"):
        go_on(4)


# --- the checkpoint --------------------------------------------------------------------------------------------------


def test_a_hash_of_a_checkpoint_covers_each_tensor_and_each_fact() -> None:
    facts = {"kind": "k", "config": "{}", "provenance": "{}"}
    state = {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.int64)}
    hashes = [
        content_hash(state, facts),
        content_hash({**state, "a": torch.arange(6.0) + 1}, facts),
        content_hash({**state, "a": torch.arange(6.0).reshape(2, 3)}, facts),
        content_hash({**state, "b": torch.zeros(4, dtype=torch.int32)}, facts),
        content_hash({"a": state["a"]}, facts),
        content_hash({"c": state["a"], "b": state["b"]}, facts),
        *(content_hash(state, {**facts, name: "other"}) for name in facts),
        content_hash(state, {**facts, "new": ""}),
    ]
    assert len(set(hashes)) == len(hashes)
    assert content_hash(dict(reversed(state.items())), {**facts, CONTENT_HASH: "x"}) == hashes[0]
    assert content_hash({**state, "a": torch.arange(12.0)[::2] / 2}, facts) == hashes[0]


def test_the_model_of_a_finished_run_is_kept_and_one_of_anything_else_is_replaced(tmp_path: Path) -> None:
    path, state = tmp_path / MODEL_FILE, {"a": torch.ones(2)}

    def write(target: Path, tensors: dict[str, torch.Tensor], *, seal: bool = True, **facts: str) -> None:
        own = {"kind": "k", "config": '{"x": 1}', "provenance": '{"steps": 2, "versions": "1"}', **facts}
        save_file(tensors, target, metadata={**own, **({CONTENT_HASH: content_hash(tensors, own)} if seal else {})})

    def kept() -> bool:
        before = path.read_bytes()
        write_model(path, lambda target: write(target, state), steps=2, finished=True)
        return path.read_bytes() == before

    write(path, state, provenance='{"steps": 2, "versions": "0"}')
    assert kept()  # the same model, written by another version
    write(path, state, seal=False, config="{}")
    assert kept()  # of a version without the hash, and with fewer settings
    others: list[tuple[dict[str, torch.Tensor], dict[str, str]]] = [
        ({"a": torch.zeros(2)}, {}),
        ({"a": torch.ones(3)}, {}),
        ({"b": torch.ones(2)}, {}),
        (state, {"kind": "other"}),
        (state, {"config": '{"x": 2}'}),
        (state, {"config": '{"x": 1, "y": 1}'}),
        (state, {"provenance": '{"steps": 3}'}),
        (state, {"provenance": "[]"}),
    ]
    for tensors, facts in others:
        write(path, tensors, **facts)
        assert not kept(), (tensors, facts)
    write_model(path, lambda target: write(target, {"a": torch.zeros(2)}), steps=2, finished=False)
    assert not kept()


# --- what a training records -----------------------------------------------------------------------------------------


@pytest.fixture
def provenance(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `train` gives each stage for its checkpoint; nothing is trained."""
    seen: list[dict[str, Any]] = []

    def fitted(stage: Any, *, out: Path, **facts: Any) -> Path:
        seen.append({**facts["provenance"], "seed": facts["seed"], "split": facts["validation_split"]})
        return out / MODEL_FILE

    monkeypatch.setattr(training, "fit", fitted)
    return seen


def test_a_checkpoint_records_the_cache_that_it_was_trained_on(
    tiny_cache: Path, tmp_path: Path, provenance: list[dict[str, Any]]
) -> None:
    """Each entry of `cache.json` makes it another cache, from which the run is not resumed."""
    shutil.copytree(tiny_cache, tmp_path / "cache")
    file = tmp_path / "cache" / "cache.json"
    first = json.loads(file.read_text()) | {
        "fingerprints": {"face": "dlib", "face fingerprint": "1", "extractor pose": "pose-3"},
        "settings": {"crop": "face", "seed": 0},
        "crop": "paper",
        "root": "/videos",
    }

    def recorded(**changes: Any) -> dict[str, Any]:
        file.write_text(json.dumps(first | changes))
        train(Cache(tmp_path / "cache"), micro_settings(), out=tmp_path / "run", stages=["pbnet"], seed=3, device="cpu")
        return provenance[-1]

    facts = recorded()
    assert facts["cache"] == fingerprint(first)
    expected = {"model": "dawn", "preset": "micro", "clips": 4, "dataset": "tiny", "crop": "paper", "seed": 3}
    assert {name: facts[name] for name in expected} == expected
    assert of_provenance(facts) == {"face": Extracted("dlib", "1"), "pose": Extracted("pose", "pose-3")}
    seen = {facts["cache"]}
    for name, value in first.items():
        if name in ("schema", "size", "fps"):  # another cache altogether
            continue
        other = recorded(**{name: "other" if isinstance(value, str) else {**value, "new": "1"}})
        assert other["cache"] not in seen, name
        seen.add(other["cache"])


def test_each_field_of_the_record_of_held_out_clips_comes_back(tmp_path: Path) -> None:
    check_classified([f.name for f in fields(Holdout)], HERE, {"split", "clips", "speakers"})
    holdout = Holdout("val", ("c2", "c0"), ("s1", "s0"))
    write_holdout(tmp_path, holdout)
    assert read_holdout(tmp_path) == holdout == parse_holdout(json.loads(json.dumps(holdout.facts())))
    for name, value in {"split": "test", "clips": ("c1",), "speakers": ()}.items():
        write_holdout(tmp_path, replace(holdout, **{name: value}))
        assert read_holdout(tmp_path) == replace(holdout, **{name: value}) != holdout


def test_clips_that_are_held_out_leave_training_and_no_other_does(
    tiny_cache: Path, tmp_path: Path, provenance: list[dict[str, Any]]
) -> None:
    settings = micro_settings("pbnet.loop.validate_every=1", "pbnet.loop.validation_clips=1")
    run = tmp_path / "run"
    arguments: dict[str, Any] = {"out": run, "stages": ["pbnet"], "seed": 0, "device": "cpu"}
    train(Cache(tiny_cache), settings, **arguments)
    first = provenance[-1]
    chosen = parse_holdout(first["validation"])
    assert chosen is not None and chosen.clips and first["clips"] == 4 - len(chosen.clips) and first["split"] == "val"
    assert read_holdout(run / "pbnet") == chosen
    other = next(f"c{k}" for k in range(4) if f"c{k}" not in chosen.clips)
    write_holdout(run / "pbnet", Holdout("val", (other,), ("s9",)))
    (run / "pbnet" / STATE_FILE).write_bytes(b"")
    train(Cache(tiny_cache), settings, resume=True, **arguments)
    assert parse_holdout(provenance[-1]["validation"]) == Holdout("val", (other,), ("s9",))
    assert provenance[-1]["clips"] == 3
