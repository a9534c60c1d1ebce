"""`dawn-bench report`: a page and tables from a results folder."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show, wants_json
from dawn_bench.workflow.jobs import Reporting


@job_command(Reporting)
def report(job: Reporting) -> None:
    """Write the leaderboard of a results folder as report.html, report.md, leaderboard.csv, .json and .tex.

    The page is one file with sortable tables, plots with intervals, loss curves and videos. Scores are only read, never
    computed again. Values computed with stand-in (random) networks are marked and not ranked. --json prints
    the tables too.

    Example: dawn-bench report runs/results --out runs/report
    """
    from dawn_bench.readers import read_json
    from dawn_bench.reports.page import FILES, FORMATS, write_report

    out, formats = job.out or job.results / "report", job.format or FORMATS
    if wants_json() and "json" not in formats:
        formats = (*formats, "json")
    files = write_report(job.results, out, formats=formats, clips=job.clips, published=job.published)
    tables = read_json(out / FILES["json"], dict) if wants_json() else {}
    show({"files": files, **tables}, map(str, files))
