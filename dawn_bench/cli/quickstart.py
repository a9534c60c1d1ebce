"""`dawn-bench quickstart`: the whole job once, offline, on an embedded synthetic dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything that it makes.")],
    preset: Annotated[str, typer.Option(help="tiny (minutes) or small (longer, both training stages).")] = "tiny",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes for preparing.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the dataset and of training.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Run everything once, offline: a synthetic dataset, prepare, train, generate, evaluate, report.

    Example: dawn-bench quickstart --out demo

    The same command goes on where it was stopped. Its scores say nothing about DAWN: the clips are synthetic, the
    models tiny, and the scoring networks are stand-ins unless you have added their weights.
    """
    from dawn_bench.progress import console
    from dawn_bench.provenance import pick_device
    from dawn_bench.workflow.quickstart import plan_for, run_quickstart

    done = run_quickstart(out, plan_for(preset, seed=seed), jobs=jobs, device=pick_device(device))
    for line in done.summary:
        console().print(line, markup=False)
    console().print(f"report: {done.report}", markup=False)
