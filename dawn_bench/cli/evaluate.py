"""`dawn-bench evaluate`: generate with each method, score everything once, keep the rows, write the report."""

from __future__ import annotations

import typer

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show
from dawn_bench.workflow.evaluation import Evaluation


@job_command(Evaluation)
def evaluate(job: Evaluation) -> None:
    """Generate clips with each method, score them next to sanity rows, and write the leaderboard.

    Example: dawn-bench evaluate --method dawn --checkpoint RUN --cache CACHE --out RESULTS

    Your own outputs: dawn-bench evaluate --method mine --outputs MY_MP4S --cache CACHE --out RESULTS

    On every GPU: dawn-bench evaluate --devices all --method dawn --checkpoint RUN --cache CACHE --out RESULTS
    """
    from dawn_bench.errors import EXIT_STRICT, EXIT_UNSOLVED
    from dawn_bench.terminal import console
    from dawn_bench.workflow.evaluate import evaluate_methods
    from dawn_bench.workflow.summary import next_line

    done = evaluate_methods(job)
    failed = [dict(zip(("method", "clip", "reason"), item, strict=True)) for item in done.failed]
    rows = [row.model_dump(mode="json") for row in done.rows]
    facts = {"report": done.report, "scores": rows, "failed": failed, "seconds": done.timings, "summary": done.summary}
    show(facts, done.screen)
    if done.report is not None:
        console().print(next_line(job))
    if done.unsolved:
        raise typer.Exit(EXIT_UNSOLVED)
    if job.strict and done.failed:
        raise typer.Exit(EXIT_STRICT)
