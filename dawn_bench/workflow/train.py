"""Train the stages of a preset, one after another, into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.files import replacing
from dawn_bench.models.spec import MODELS, ModelSpec, default_model, stage_key
from dawn_bench.provenance import fingerprint
from dawn_bench.training.data import training_ids
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE, claim, distributed, fit, rank
from dawn_bench.workflow.folders import run_folder


def train(
    cache: Cache,
    settings: Any,
    *,
    out: Path,
    stages: Sequence[str],
    seed: int,
    device: str,
    resume: bool = False,
    model: str | None = None,
) -> dict[str, Path]:
    """Train `stages` of `model` (names, or `all`) on the cache's train split; returns the checkpoint of each stage.

    `settings` are those of the model (`ModelSpec.preset`). Raises `InputError` when a stage is unknown, when `out`
    lacks the trained stage that it needs, when `out` holds another run, or when another process trains a stage there.
    """
    spec = MODELS[model or default_model()]
    if not len(cache):
        raise InputError("has no usable clip.", path=cache.root, hint="See dawn-bench cache stats.")
    settings = spec.fit_to_cache(settings, cache)
    names = _chosen(spec, settings, stages)
    provenance = {
        "model": spec.name,
        "preset": settings.preset,
        "cache": fingerprint(cache.settings),
        "clips": len(training_ids(cache)),
        "dataset": cache.settings.get("dataset"),
        **spec.facts(cache),
    }
    for name in names:  # before anything is written or trained
        if (config := getattr(settings, stage_key(name))) is not None:
            claim(out / name, config, resume=resume)
    checkpoints: dict[str, Path] = {}
    with ExitStack() as stack:
        if rank() == 0:
            for name in dict.fromkeys(names):
                stack.enter_context(run_folder(out / name))
            with replacing(out / f"settings-{spec.name}.yaml") as temporary:
                settings.to_yaml(temporary)
        device = stack.enter_context(distributed(device))
        for name in names:
            first = spec.after.get(name)
            if first is not None and not (out / first / MODEL_FILE).is_file():
                raise InputError(
                    f"holds no trained {first}, which {name} needs.",
                    path=out,
                    hint=f"Train --stage {first} first.",
                )
            stage = spec.stage(name)(cache, settings, run=out, seed=seed, device=device)
            checkpoints[name] = fit(
                stage, out=out / name, seed=seed, device=device, resume=resume, provenance=provenance
            )
    return checkpoints


def saved(run: Path) -> str:
    """A sentence on the last saved step of a run folder, from which `--resume` continues."""
    import torch

    states = sorted(run.glob(f"*/{STATE_FILE}"), key=lambda path: path.stat().st_mtime)
    if not states:
        return f"no step is saved in {run} yet"
    step = torch.load(states[-1], map_location="cpu", mmap=True, weights_only=True)["step"]
    return f"{states[-1].parent.name}: step {step} is saved in {states[-1]}; later steps are trained again"


def _chosen(spec: ModelSpec, settings: Any, stages: Sequence[str]) -> list[str]:
    """The stages to train, in order; `all` means every stage in the settings."""
    if "all" in stages:
        return [name for name in spec.stages if getattr(settings, stage_key(name)) is not None]
    for name in stages:
        spec.stage(name)
    return [spec.stage_name(name) for name in stages]
