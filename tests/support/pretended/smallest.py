"""The smallest training of every model: settings, cache, an untrained run, and one stage trained on a device."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import micro
import micro_dit_head
import micro_mesh
import pytest
import torch

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.ablations import ttr
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.resume import MODEL_FILE
from dawn_bench.workflow.train import train


@dataclass(frozen=True)
class Smallest:
    """Settings from `--set` overrides, and the fixture of the cache: `tiny_cache` or `tiny_meshes`."""

    settings: Callable[..., Any]
    cache: str


def _dawn(*overrides: str) -> Any:
    from dawn_bench.config import resolve_config

    return resolve_config(ttr(micro.micro_settings()), overrides=overrides)


SMALLEST = {
    "dawn": Smallest(_dawn, "tiny_cache"),
    "dit-head": Smallest(micro_dit_head.micro_settings, "tiny_cache"),
    "diffspeaker": Smallest(micro_mesh.micro_mesh_settings, "tiny_meshes"),
}
#: Every stage of every model.
STAGES = [(model, stage) for model in MODELS for stage in MODELS[model].stages]


def smallest(model: str) -> Smallest:
    """The smallest training of a model; fails for one that has none yet."""
    if model not in SMALLEST:
        pytest.fail(f"model {model} has no smallest training: add it to SMALLEST in {__file__}")
    return SMALLEST[model]


def write_untrained(model: str, cache: Path, run: Path) -> Path:
    """A run folder with about the first weights of every stage, as if trained for no step."""
    spec, data = MODELS[model], Cache(cache)
    settings = spec.fit_to_cache(smallest(model).settings(), data)
    for name in spec.stages:
        stage = spec.stage(name)(data, settings, run=run, seed=0, device="cpu")
        _fill_zeros(stage.module)
        (run / name).mkdir(parents=True, exist_ok=True)
        stage.save(run / name / MODEL_FILE, {**spec.facts(data), "stage": name, "steps": 0, "model": model})
    return run


def _fill_zeros(module: torch.nn.Module) -> None:
    """Small weights where a model begins with zeros: its output would not depend on its input."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(0, 0.02, generator=generator)


def train_stage(
    model: str, stage: str, cache: Path, run: Path, *changes: str, before: Path, device: str, resume: bool = False
) -> Path:
    """Train one stage into `run`; those before it are those of `before`. `changes` are settings of the stage."""
    run.mkdir(exist_ok=True)
    for name in itertools.takewhile(lambda name: name != stage, MODELS[model].stages):
        if not (run / name).exists():
            (run / name).symlink_to(before / name)
    key = stage_key(stage)
    settings = smallest(model).settings(*(f"{key}.{change}" for change in changes))
    done = train(Cache(cache), settings, out=run, stages=[stage], seed=0, device=device, model=model, resume=resume)
    return done[stage]


def log(run: Path, stage: str, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The lines of a log of a stage, without what depends on the clock."""
    lines = (run / stage / name).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "data_share"} for line in lines]
