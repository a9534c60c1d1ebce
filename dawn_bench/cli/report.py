"""`dawn-bench report`: a page and tables from a results folder."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.workflow.jobs import Reporting


@job_command(Reporting)
def report(job: Reporting) -> None:
    """Write the leaderboard of a results folder as report.html, report.md, leaderboard.csv, .json and .tex.

    The page is one file with sortable tables, plots with intervals, loss curves and videos. Scores are only read, never
    computed again. Values computed with stand-in networks are marked and not ranked.

    Example: dawn-bench report runs/results --out runs/report
    """
    from dawn_bench.reports.page import FORMATS, write_report
    from dawn_bench.terminal import echo

    out = job.out or job.results / "report"
    for path in write_report(job.results, out, formats=job.format or FORMATS, clips=job.clips, published=job.published):
        echo(path)
