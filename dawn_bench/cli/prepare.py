"""`dawn-bench prepare`: videos to a cache."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show, suggest, wants_json
from dawn_bench.workflow.jobs import Preparation

if TYPE_CHECKING:
    from dawn_bench.pipelines.preparation.prepare import PrepareReport
    from dawn_bench.pipelines.settings import PrepareSettings


@job_command(Preparation)
def prepare(job: Preparation) -> None:
    """Turn videos into a cache: cropped faces, 25 fps, 16 kHz sound, head pose, blinks, audio features.

    Clips that cannot be used are left out, each with its reason. The same command continues a stopped run.

    Example: dawn-bench prepare --root my-videos --cache my-cache --jobs 4

    On eight GPUs: dawn-bench prepare --root my-videos --cache my-cache --devices all --jobs 32

    As DAWN prepared CREMA-D: dawn-bench prepare --like dawn --dataset crema --root CREMA-D --cache crema

    Synthetic meshes, written to --root where it does not exist yet:
    dawn-bench prepare --dataset embedded-mesh --root MESHES --cache CACHE
    """
    from joblib import cpu_count

    from dawn_bench.errors import EXIT_STRICT, InputError

    if job.list_missing:
        _list_missing(job)
        return
    if job.cache is None:
        raise InputError("--cache is required: the folder to write to.", hint="Example: --cache my-cache")
    from dawn_bench.pipelines.preparation.prepare import prepare as run

    settings = job.settings
    if settings.like is not None:
        _show_recipe(settings)
    if settings.dataset == "embedded-mesh":
        from dawn_bench.pipelines.meshes.write import is_to_be_written, write_meshes

        if is_to_be_written(job.root):
            write_meshes(job.root, seed=settings.seed)
    report = run(
        job.root,
        job.cache,
        settings,
        jobs=job.jobs or (1 if job.devices else cpu_count()),
        engine=job.engine,
        address=job.address,
        overwrite=job.overwrite,
        device=job.device,
        devices=job.devices,
        name=job.name,
    )
    _show(report)
    from dawn_bench.workflow.next_steps import MESHES, after_prepare

    if report.ok:
        suggest(*after_prepare(report.cache, meshes=settings.dataset in MESHES))
    if job.strict and report.quarantined:
        raise typer.Exit(EXIT_STRICT)


def _show_recipe(settings: PrepareSettings) -> None:
    """Print what a recipe sets, what was given instead, and what it cannot reproduce."""
    from dawn_bench.pipelines.recipes.base import RECIPES
    from dawn_bench.pipelines.settings import PrepareSettings
    from dawn_bench.progress import console

    assert settings.like is not None
    recipe = RECIPES[settings.like]
    said = PrepareSettings(like=settings.like)
    words = []
    for name in recipe.settings:
        value, stated = (_words(getattr(s, name)) for s in (settings, said))
        words.append(f"{name} {value}" + (f" (given; the recipe has {stated})" if value != stated else ""))
    console().print(f"like {settings.like}, {recipe.title}: {', '.join(words)}")
    for line in recipe.differs:
        console().print(f"  {line}")


def _words(value: object) -> str:
    return "+".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _list_missing(job: Preparation) -> None:
    """Print id, reason and detail of every published clip that is not below the root, and the counts."""
    from collections import Counter

    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.datasets.base import DATASETS
    from dawn_bench.terminal import console
    from dawn_bench.text import counted

    if not job.root.is_dir():
        raise InputError("does not exist.", path=job.root, hint="Check --root.")
    rows = DATASETS[job.dataset]().missing(job.root.resolve(), job.settings)
    show([dict(zip(("clip", "reason", "detail"), row, strict=True)) for row in rows], map("\t".join, rows))
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reason for _, reason, _ in rows).items())
    missing = f"{counted(len(rows), 'clip')} of the published list {'is' if len(rows) == 1 else 'are'} missing"
    console().print(missing + (f": {counts}" if counts else ""))


def _show(report: PrepareReport) -> None:
    """Print the summary of a run: clips by reason, frames, time."""
    from dawn_bench.pipelines.preparation.remedies import remedy
    from dawn_bench.terminal import echo, print_table
    from dawn_bench.text import counted, duration

    if wants_json():
        facts = {"cache": report.cache, "clips": report.ok, "frames": report.frames, "fps": report.fps}
        facts |= {"left_out": report.quarantined, "without": report.incomplete, "already_prepared": report.resumed}
        show(facts | {"seconds": report.wall}, ())
        return
    rows = [(str(report.ok), f"ready, {counted(report.frames, 'frame')}, {duration(report.seconds)}")]
    sure = [reason for reason in report.quarantined if reason != "no_face"]  # there may be none: see the clip's reason
    ways = {reason: f" ({way})" for reason in sure if (way := remedy(reason, ""))}
    rows += [(str(count), f"left out: {reason}{ways.get(reason, '')}") for reason, count in report.quarantined.items()]
    rows += [(str(count), f"without {name}") for name, count in report.incomplete.items() if count]
    print_table("clips", "", rows=rows)
    resumed = f", {counted(report.resumed, 'clip')} already prepared before" if report.resumed else ""
    echo(f"{report.cache}  in {duration(report.wall)}{resumed}")
    if report.quarantined:
        echo(f"Reasons by clip: {shlex.join(['dawn-bench', 'cache', 'stats', str(report.cache)])}")
