"""`dawn-bench evaluate`: generate with each method, score everything once, keep the rows, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    cache: Annotated[Path, typer.Option(help="The cache with the true clips.")],
    out: Annotated[Path, typer.Option(help="Results folder; a second run adds to it and makes nothing twice.")],
    method: Annotated[str, typer.Option(help="Methods, separated by commas: dawn, still, or your own name.")] = "dawn",
    checkpoint: Annotated[Path | None, typer.Option(help="Run folder of the trained models (for dawn).")] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Score your own method: a folder of mp4 files named like the clips.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="CSV with columns clip,file where your files have other names.")
    ] = None,
    naming: Annotated[
        str, typer.Option(help="How the files of --outputs are called: {clip}, and * for anything.")
    ] = "{clip}",
    method_class: Annotated[
        str | None, typer.Option(help="Class of --outputs: portrait, dub, static-lips; each has its own table.")
    ] = None,
    methods_file: Annotated[
        Path | None, typer.Option("--methods", help="YAML that says where external methods are installed.")
    ] = None,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="A method that solves a smaller share of the clips is not ranked.")
    ] = 0.5,
    split: Annotated[str, typer.Option(help="Which clips are scored.")] = "test",
    metrics: Annotated[str | None, typer.Option(help="Metrics, separated by commas; default: all that apply.")] = None,
    max_clips: Annotated[int | None, typer.Option(min=1, help="Score only the first clips of the split.")] = None,
    protocol: Annotated[str, typer.Option(help="Named protocol.")] = "paper-dawn",
    protocol_set: Annotated[list[str] | None, typer.Option(help="Change one protocol field; repeatable.")] = None,
    weights: Annotated[str, typer.Option(help="auto, files (refuse stand-ins) or seeded.")] = "auto",
    option: Annotated[list[str] | None, typer.Option(help="Option of the methods: steps=10, drive=truth.")] = None,
    sanity: Annotated[bool, typer.Option(help="Score the sanity rows too.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 when an item failed.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the generation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Generate clips with each method, score them beside the sanity rows, and write the leaderboard.

    Example: dawn-bench evaluate --method dawn --checkpoint RUN --cache CACHE --out RESULTS

    Your own outputs: dawn-bench evaluate --method mine --outputs MY_MP4S --cache CACHE --out RESULTS
    """
    from typing import cast

    import yaml

    from dawn_bench.baselines.base import MethodClass
    from dawn_bench.errors import EXIT_STRICT, InputError
    from dawn_bench.progress import console
    from dawn_bench.provenance import pick_device
    from dawn_bench.weights import Policy
    from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

    if weights not in ("auto", "files", "seeded"):
        raise InputError(f"--weights {weights!r} is not known.", hint="Known: auto, files, seeded.")
    if method_class not in (None, "portrait", "dub", "static-lips"):
        raise InputError(f"--method-class {method_class!r} is not known.", hint="Known: portrait, dub, static-lips.")
    options = {}
    for text in option or ():
        key, sep, value = text.partition("=")
        if not sep:
            raise InputError(f"--option {text!r} is not of the form key=value.", hint="Example: --option steps=10")
        options[key] = yaml.safe_load(value)
    done = evaluate_methods(
        Evaluation(
            cache=cache,
            out=out,
            methods=tuple(m.strip() for m in method.split(",") if m.strip()),
            checkpoint=checkpoint,
            outputs=outputs,
            mapping=mapping,
            split=split,
            metrics=tuple(m.strip() for m in metrics.split(",")) if metrics else None,
            max_clips=max_clips,
            protocol=protocol,
            protocol_set=tuple(protocol_set or ()),
            weights=cast(Policy, weights),
            options=options,
            sanity=sanity,
            methods_file=methods_file,
            method_class=cast(MethodClass | None, method_class),
            naming=naming,
            min_coverage=min_coverage,
            seed=seed,
            device=pick_device(device),
        )
    )
    for line in done.summary:
        console().print(line, markup=False)
    console().print(f"report: {done.report}", markup=False)
    if strict and done.failed:
        raise typer.Exit(EXIT_STRICT)
