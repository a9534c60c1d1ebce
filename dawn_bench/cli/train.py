"""`dawn-bench train`: train the bundled models on a prepared cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    cache: Annotated[Path, typer.Option(help="A cache made by `prepare`.")],
    out: Annotated[Path, typer.Option(help="Run folder: a sub-folder a stage.")],
    model: Annotated[str, typer.Option(help="dawn, dit-head, or diffspeaker (on a mesh cache).")] = "dawn",
    stage: Annotated[
        list[str] | None, typer.Option(help="A stage of the model (dawn: lfg, a2v-1, a2v-2, pbnet) or all; repeatable.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="tiny; dawn: small, dawn-128, dawn-128-fixed, dawn-128-paper, dawn-256, NAME+ABLATION.")
    ] = "tiny",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    config: Annotated[Path | None, typer.Option(help="YAML with settings that replace the preset's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting: lfg.loop.steps=500; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Train a model. Several GPUs: torchrun --nproc-per-node N -m dawn_bench train ...

    Example: dawn-bench train --cache CACHE --out RUN --preset small --stage all
    """
    from dawn_bench.cache import Cache
    from dawn_bench.config import resolve_config
    from dawn_bench.models.spec import RECIPES
    from dawn_bench.progress import console
    from dawn_bench.provenance import pick_device
    from dawn_bench.training.processes import rank
    from dawn_bench.workflow.train import train as run

    settings = resolve_config(RECIPES[model].preset(preset), file=config, overrides=set_ or ())
    done = run(
        Cache(cache),
        settings,
        out=out,
        stages=stage or ["all"],
        seed=seed,
        device=pick_device(device),
        resume=resume,
        model=model,
    )
    for name, path in done.items() if rank() == 0 else ():
        console().print(f"{name}: {path}", markup=False)
