"""Train the stages of a preset, one after another, into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.spec import RECIPES, stage_key
from dawn_bench.provenance import fingerprint
from dawn_bench.training.data import training_ids
from dawn_bench.training.loop import MODEL_FILE, claim, distributed, fit, rank
from dawn_bench.training.stage import STAGES


def train(
    cache: Cache,
    settings: Any,
    *,
    out: Path,
    stages: Sequence[str],
    seed: int,
    device: str,
    resume: bool = False,
    model: str = "dawn",
) -> dict[str, Path]:
    """Train `stages` of `model` (names of `STAGES`, or `all`) on the cache's train split; each stage's checkpoint.

    `settings` are those of the model's recipe (`RECIPES`). Raises `InputError` when a stage comes without the trained
    stage that it learns from, or `out` holds another run.
    """
    recipe = RECIPES[model]
    if not len(cache):
        raise InputError("holds no usable clip.", path=cache.root, hint="Look at: dawn-bench cache stats")
    settings = recipe.fit_to_cache(settings, cache)
    wanted = [n for n in recipe.stages if getattr(settings, stage_key(n)) is not None]
    names = wanted if "all" in stages else list(stages)
    for name in names:
        if name in STAGES and name not in recipe.stages:
            raise InputError(
                f"stage {name!r} is none of {model}'s.", hint=f"Known: {', '.join(recipe.stages)}; or another --model."
            )
    provenance = {
        "model": model,
        "preset": settings.preset,
        "cache": fingerprint(cache.settings),
        "clips": len(training_ids(cache)),
        "dataset": cache.settings.get("dataset"),
        **recipe.facts(cache),
    }
    done: dict[str, Path] = {}
    builders = {name: STAGES[name] for name in names}
    for name in names:  # refused before anything is written or trained
        if (config := getattr(settings, stage_key(name))) is not None:
            claim(out / name, config, resume=resume)
    with distributed(device) as device:
        if rank() == 0:
            out.mkdir(parents=True, exist_ok=True)
            settings.to_yaml(out / f"settings-{model}.yaml")
        for name, build in builders.items():
            first = recipe.after.get(name)
            if first is not None and not (out / first / MODEL_FILE).is_file():
                raise InputError(
                    f"holds no trained {first}, which {name} learns from.",
                    path=out,
                    hint=f"Train --stage {first} first.",
                )
            stage = build(cache, settings, run=out, seed=seed, device=device)
            done[name] = fit(stage, out=out / name, seed=seed, device=device, resume=resume, provenance=provenance)
    return done
