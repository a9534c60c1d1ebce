"""What the training job hands to the loop, stage by stage and for every model: cache, folder, seed, provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import micro
import micro_dit_head
import micro_mesh
import pytest
import yaml
from numbered_cache import LENGTHS, write_numbered, write_numbered_meshes
from safetensors import safe_open

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.provenance import fingerprint
from dawn_bench.training.holdout import read_holdout
from dawn_bench.workflow import train as job

SETTINGS = {
    "dawn": micro.micro_settings,
    "dit-head": micro_dit_head.micro_settings,
    "diffspeaker": micro_mesh.micro_mesh_settings,
}
VIDEO = {
    "size": 32,
    "audio_encoder": "logmel",
    "crop": "paper",
    "extractors": {
        "pose": {"name": "pose-dense", "version": "p1"},
        "blink": {"name": "blink-ear", "version": "b1"},
        "logmel": {"name": "logmel", "version": "l1"},
    },
}
#: Facts on the data that each model adds.
FACTS = {
    "dawn": VIDEO,
    "dit-head": VIDEO,
    "diffspeaker": {"vertices": 5, "fps": 30, "crop": None, "extractors": {}},
}
SPLITS = ("train", "test", "train", "train", "train")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("caches")
    write_numbered(folder / "video", splits=SPLITS)
    return {"video": folder / "video", "mesh": write_numbered_meshes(folder / "mesh", splits=SPLITS)}


def _train(model: str, cache: Path, out: Path, stages: tuple[str, ...] = ("all",), **given: Any) -> Any:
    """Run the job with a loop that only writes the checkpoint; returns the job's answer and what the loop was given."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def fit(stage: Any, **named: Any) -> Path:
        calls.append((stage, named))
        assert read_holdout(named["out"]) is not None  # the record is there before the first step
        stage.save(named["out"] / job.MODEL_FILE, named["provenance"])
        return named["out"] / job.MODEL_FILE

    settings = given.pop("settings", None) or SETTINGS[model]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "fit", fit)
        arguments: dict[str, Any] = {"seed": 11, "device": "cpu", "model": model} | given
        return job.train(Cache(cache), settings, out=out, stages=stages, **arguments), calls, settings


def _validated(settings: Any, stages: list[str]) -> Any:
    """The settings with validation of two clips in every stage."""
    changes = {}
    for name in stages:
        config = getattr(settings, stage_key(name))
        loop = config.loop.model_copy(update={"validate_every": 2, "validation_clips": 1})
        changes[stage_key(name)] = config.model_copy(update={"loop": loop})
    return settings.model_copy(update=changes)


@pytest.mark.parametrize("model", list(MODELS))
def test_every_stage_is_trained_on_its_clips_in_its_folder_with_its_facts(
    model: str, caches: dict[str, Path], tmp_path: Path
) -> None:
    assert model in SETTINGS, f"add the micro settings and the facts of {model}"
    spec = MODELS[model]
    cache = caches["mesh" if spec.modality == "mesh" else "video"]
    plain = SETTINGS[model]()
    names = [name for name in spec.stages if getattr(plain, stage_key(name)) is not None]
    answer, calls, settings = _train(
        model, cache, tmp_path, settings=_validated(plain, names), track=("wandb", "mlflow")
    )
    assert [stage.name for stage, _ in calls] == names
    assert answer == {name: tmp_path / name / "model.safetensors" for name in names}
    holdout = read_holdout(tmp_path / names[0])
    assert holdout is not None and len(holdout.clips) == 1 and holdout.clips[0] in {"c0", "c2", "c3", "c4"}
    trained_on = [c for c in ("c0", "c2", "c3", "c4") if c not in holdout.clips]
    fitted = spec.fit_to_cache(settings, holdout.apply_to(Cache(cache)))
    expected_preset = {"diffspeaker": "tiny"}.get(model, "micro")
    for stage, given in calls:
        assert stage.ids == trained_on and stage.cache.ids("val") == list(holdout.clips)
        assert stage.seed == 11 and stage.config == getattr(fitted, stage_key(stage.name))
        rest = {k: v for k, v in given.items() if k != "provenance"}
        assert rest == {
            "out": tmp_path / stage.name, "seed": 11, "device": "cpu", "resume": False, "validation_split": "val",
            "track": ("wandb", "mlflow"),
        }  # fmt: skip
        facts = given["provenance"]
        notes = facts.pop("substitutes")
        assert notes == [s.report_note for s in spec.substitutes(settings, Cache(cache), stage.name)]
        assert facts == {
            "model": model, "preset": expected_preset, "cache": fingerprint(Cache(cache).settings),
            "clips": len(trained_on), "dataset": "numbered", "validation": holdout.facts(), **FACTS[model],
        }  # fmt: skip
        with safe_open(tmp_path / stage.name / "model.safetensors", "pt") as file:
            assert json.loads(file.metadata()["config"]) == json.loads(stage.config.model.model_dump_json())
    written = yaml.safe_load((tmp_path / f"settings-{model}.yaml").read_text())
    assert type(settings).model_validate(written) == fitted
    assert isinstance(fitted, Config)


def test_stages_are_trained_in_the_order_that_is_asked_for_and_after_what_they_need(
    caches: dict[str, Path], tmp_path: Path
) -> None:
    """Names also as the settings spell them, each once; the frozen LFG and the first weights are those of the run."""
    _, calls, _ = _train("dawn", caches["video"], tmp_path, ("lfg", "a2v_1", "a2v-1", "lfg"))
    assert [stage.name for stage, _ in calls] == ["lfg", "a2v-1"]
    first = calls[1][0].module.state_dict()
    for seed, started in ((11, True), (5, True)):
        (tmp_path / "a2v-2" / "model.safetensors").unlink(missing_ok=True)
        _, ((second, given),), _ = _train("dawn", caches["video"], tmp_path, ("a2v-2",), seed=seed)
        weights = second.module.state_dict()
        assert all((weights[k] == v).all() for k, v in first.items()) == started and given["seed"] == seed
    frozen = calls[1][0].lfg.state_dict()
    assert all((frozen[k] == v).all() for k, v in calls[0][0].module.state_dict().items())
    with pytest.raises(InputError, match="holds no trained lfg"):
        _train("dawn", caches["video"], tmp_path / "empty", ("a2v-2",))


def test_a_run_resumes_with_the_flag_and_is_refused_without(caches: dict[str, Path], tmp_path: Path) -> None:
    _train("dawn", caches["video"], tmp_path, ("pbnet",))
    with pytest.raises(InputError, match="already holds a training run"):
        _train("dawn", caches["video"], tmp_path, ("pbnet",))
    _, ((_, given),), _ = _train("dawn", caches["video"], tmp_path, ("pbnet",), resume=True)
    assert given["resume"] is True


def test_meshes_and_videos_are_for_their_own_models(caches: dict[str, Path], tmp_path: Path) -> None:
    for model in MODELS:
        wrong = caches["video" if MODELS[model].modality == "mesh" else "mesh"]
        with pytest.raises(InputError, match=f"{MODELS[model].title} learns from"):
            _train(model, wrong, tmp_path)
    assert not list(tmp_path.iterdir()) and len(LENGTHS) == len(SPLITS)
