"""Trackers: TensorBoard, Weights & Biases and MLflow show what the logs have, and never stop a training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from micro import micro_settings

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.presets import fit_to_cache
from dawn_bench.models.spec import MODELS
from dawn_bench.training.loop import MODEL_FILE, fit
from dawn_bench.training.trackers import DEFAULT, TrackerName, Trackers
from dawn_bench.training.validation import Validation
from dawn_bench.workflow.jobs import Training

FRAMES = np.zeros((3, 8, 8, 3), np.uint8)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The calls that the clients of both services get."""
    calls: dict[str, list[Any]] = {"wandb": [], "mlflow": []}

    def noting(client: str, name: str, value: Any = None) -> Any:
        return lambda *given, **named: calls[client].append((name, given, named)) or value

    wandb, mlflow = ModuleType("wandb"), ModuleType("mlflow")
    run = SimpleNamespace(id="w1", **{name: noting("wandb", name) for name in ("log", "define_metric", "finish")})
    wandb.init = noting("wandb", "init", run)  # type: ignore[attr-defined]
    wandb.Image = lambda picture: ("image", picture.shape)  # type: ignore[attr-defined]
    wandb.Video = lambda path, format: (format, Path(path).name)  # type: ignore[attr-defined]
    info = SimpleNamespace(info=SimpleNamespace(run_id="m1"))
    for name in ("set_experiment", "log_dict", "log_metrics", "log_image", "log_artifact", "end_run"):
        setattr(mlflow, name, noting("mlflow", name))
    mlflow.start_run = noting("mlflow", "start_run", info)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return calls


def trained(cache: Path, run: Path, *track: Any, resume: bool = False, steps: int = 2) -> Path:
    """A short PBNet, validated at its end with a picture and a video."""
    data = Cache(cache)
    settings = fit_to_cache(
        micro_settings(f"pbnet.loop.steps={steps}", "pbnet.loop.decay_steps=9", "pbnet.loop.validate_every=9"), data
    )
    stage = MODELS["dawn"].stage("pbnet")(data, settings, run=run, seed=0, device="cpu")
    stage.validate = lambda *_, **__: Validation(  # type: ignore[attr-defined]
        {"rc": 0.5}, "rc", pictures={"tracks": FRAMES[0]}, videos={"c0": np.zeros((3, 16, 16, 3), np.uint8)}
    )
    return fit(stage, out=run / "pbnet", seed=0, device="cpu", resume=resume, provenance={}, track=track)


def named(calls: list[Any], name: str) -> list[Any]:
    return [(given, words) for call, given, words in calls if call == name]


def test_services_show_what_the_logs_have(tiny_cache: Path, tmp_path: Path, services: dict[str, list[Any]]) -> None:
    trained(tiny_cache, tmp_path / "run", "wandb", "mlflow")
    lines = [json.loads(line) for line in (tmp_path / "run" / "pbnet" / "metrics.jsonl").read_text().splitlines()]
    ((_, init),) = named(services["wandb"], "init")
    assert (init["project"], init["name"], init["group"]) == ("dawn-bench", "run/pbnet", "run")
    assert init["config"]["loop"]["steps"] == 2 and init["id"] is None
    logged = [given[0] for given, _ in named(services["wandb"], "log")]
    losses = [each for each in logged if "train/total" in each]
    assert [(each["step"], each["train/total"]) for each in losses] == [(k["step"], k["total"]) for k in lines]
    assert {"validation/rc": 0.5, "step": 2} in logged
    assert {"validation/tracks": ("image", (8, 8, 3)), "step": 2} in logged
    assert {"validation/c0": ("mp4", "step-0000002-c0.mp4"), "step": 2} in logged
    metrics = [(words["step"], given[0]) for given, words in named(services["mlflow"], "log_metrics")]
    assert [(s, v["train/total"]) for s, v in metrics if "train/total" in v] == [(k["step"], k["total"]) for k in lines]
    assert (2, {"validation/rc": 0.5}) in metrics
    assert not any(words["synchronous"] for _, words in named(services["mlflow"], "log_metrics"))
    assert named(services["mlflow"], "log_image")[0][1] == {"artifact_file": "validation/tracks-0000002.png"}
    (((artifact,), _),) = named(services["mlflow"], "log_artifact")
    assert Path(artifact).is_file()
    assert services["wandb"][-1][0] == "finish" and services["mlflow"][-1][0] == "end_run"
    assert not (tmp_path / "run" / "pbnet" / "tensorboard").exists(), "it was not named"


def test_a_resumed_stage_goes_on_in_its_run(tiny_cache: Path, tmp_path: Path, services: dict[str, list[Any]]) -> None:
    trained(tiny_cache, tmp_path / "run", "wandb", "mlflow")
    for calls in services.values():
        calls.clear()
    trained(tiny_cache, tmp_path / "run", "wandb", "mlflow", resume=True, steps=3)
    ((_, init),) = named(services["wandb"], "init")
    assert (init["id"], init["resume"]) == ("w1", "allow")
    assert named(services["mlflow"], "start_run")[0][1]["run_id"] == "m1"
    assert [given[0]["step"] for given, _ in named(services["wandb"], "log") if "train/total" in given[0]] == [3]
    (tmp_path / "run" / "pbnet" / "trackers.json").write_text("{")
    trained(tiny_cache, tmp_path / "run", "wandb", resume=True, steps=4)
    assert named(services["wandb"], "init")[-1][1]["id"] is None


@pytest.mark.parametrize("moment", ["start", "log", "close"])
def test_a_tracker_that_fails_never_stops_a_training(
    moment: str, tiny_cache: Path, tmp_path: Path, services: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def failing(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto host")

    name = {"start": "set_experiment", "log": "log_metrics", "close": "end_run"}[moment]
    monkeypatch.setattr(sys.modules["mlflow"], name, failing)
    path = trained(tiny_cache, tmp_path / "run", "mlflow", "wandb")
    assert path.name == MODEL_FILE and path.is_file()
    text = " ".join(capsys.readouterr().err.split())
    assert text.count("note: no mlflow from here on, training continues: ConnectionError: no route") == 1
    assert services["wandb"][-1][0] == "finish" and len(named(services["wandb"], "log")) >= 5


def test_a_client_that_is_not_installed_is_left_out(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert trained(tiny_cache, tmp_path / "run", "wandb").is_file()
    assert "note: no wandb from here on" in capsys.readouterr().err


def test_training_that_breaks_ends_its_runs(
    tiny_cache: Path, tmp_path: Path, services: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("dawn_bench.training.loop._one_step", breaking)
    with pytest.raises(RuntimeError, match="broken"):
        trained(tiny_cache, tmp_path / "run", "wandb", "mlflow")
    assert services["wandb"][-1][0] == "finish" and services["mlflow"][-1][0] == "end_run"


def test_the_command_takes_the_trackers_that_exist() -> None:
    (choices, _) = get_args(get_type_hints(Training)["track"])
    assert get_args(choices) == get_args(TrackerName)
    assert Training.model_fields["track"].default == DEFAULT
    assert Trackers([], SimpleNamespace(), Path(), start=0).flush() is None  # type: ignore[arg-type]
