"""`dawn-bench report`: from a results folder to a page and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(help="The results folder that `dawn-bench evaluate --out` filled.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: RESULTS/report.")] = None,
    format: Annotated[
        list[str] | None, typer.Option(help="html, md, csv, json or latex; repeat for several. Default: all.")
    ] = None,
    clips: Annotated[int, typer.Option(min=0, help="How many clips the gallery shows.")] = 3,
    published: Annotated[
        list[int] | None,
        typer.Option(
            help="Tables of DAWN's paper whose rows stand below ours on the same dataset, unranked. Default: 1."
        ),
    ] = None,
    no_published: Annotated[bool, typer.Option("--no-published", help="Show no published rows.")] = False,
) -> None:
    """Write the leaderboard of a results folder: report.html (one self-contained file: sortable tables, plots with
    intervals, loss curves, videos side by side), report.md, and leaderboard.csv, .json and .tex.

    Scores are only read, never computed again. Values made with stand-in weights are marked and not ranked.

    Example: dawn-bench report runs/results --out runs/report
    """
    from dawn_bench.reports.page import FORMATS, write_report

    tables = () if no_published else tuple(published or (1,))
    for path in write_report(
        results, out or results / "report", formats=format or FORMATS, clips=clips, published=tables
    ):
        typer.echo(path)
