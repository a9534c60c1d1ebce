"""`dawn-bench reproduce`: a table of the paper, ours beside the published values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    table: Annotated[str, typer.Argument(help="table1, table2, table3, table4, table5, table7 or table8.")],
    cache: Annotated[Path, typer.Option(help="The cache with the true clips.")],
    out: Annotated[Path, typer.Option(help="Results folder; a second run adds to it and makes nothing twice.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Run folder of the trained models.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="A run of preset NAME+ABLATION: only-stage-1=RUN, only-stage-2=RUN, no-pbnet=RUN, ttr=RUN; repeatable."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which clips are scored.")] = "test",
    max_clips: Annotated[int | None, typer.Option(min=1, help="Only the first clips of the split.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="How DAWN's rows are sampled: steps=10; repeatable.")] = None,
    methods: Annotated[Path | None, typer.Option(help="File that says where other methods are installed.")] = None,
    weights: Annotated[str, typer.Option(help="auto, files (refuse stand-ins) or seeded.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the generation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Run the rows of a table of DAWN's paper, print ours beside the published values, and say what differs.

    Example: dawn-bench reproduce table3 --cache CACHE --checkpoint RUN --out REPRODUCED
    """
    from typing import cast

    import yaml

    from dawn_bench.errors import InputError
    from dawn_bench.progress import console
    from dawn_bench.provenance import pick_device
    from dawn_bench.weights import Policy
    from dawn_bench.workflow.reproduce import Reproduction
    from dawn_bench.workflow.reproduce import reproduce as run

    number = table.lower().removeprefix("table").strip()
    if not number.isdigit():
        raise InputError(f"{table!r} names no table.", hint="Example: table1")
    if weights not in ("auto", "files", "seeded"):
        raise InputError(f"--weights {weights!r} is not known.", hint="Known: auto, files, seeded.")
    job = Reproduction(
        table=int(number),
        cache=cache,
        out=out,
        checkpoint=checkpoint,
        variants={name: Path(run) for name, run in _pairs(variant, "--variant").items()},
        split=split,
        max_clips=max_clips,
        options={key: yaml.safe_load(value) for key, value in _pairs(option, "--option").items()},
        methods_file=methods,
        weights=cast(Policy, weights),
        seed=seed,
        device=pick_device(device),
    )
    typer.echo(run(job).markdown())
    console().print(f"table: {out / f'table{number}.md'}", markup=False)


def _pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    from dawn_bench.errors import InputError

    found = {}
    for text in texts or ():
        key, sep, value = text.partition("=")
        if not sep:
            raise InputError(f"{flag} {text!r} is not of the form name=value.")
        found[key.strip()] = value
    return found
