"""`dawn-bench reproduce`: a table of the paper, our values next to the published values."""

from __future__ import annotations

from dataclasses import asdict

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show
from dawn_bench.workflow.reproduction import Reproduction


@job_command(Reproduction)
def reproduce(job: Reproduction) -> None:
    """Run the rows of a table of the DAWN paper, print ours next to the published values, and list what differs.

    Example: dawn-bench reproduce table3 --cache CACHE --checkpoint RUN --out REPRODUCED
    """
    from dawn_bench.workflow.reproduce import reproduce as run

    table, file = run(job), job.out / f"table{job.table}.md"
    show({"file": file, **asdict(table)}, [table.markdown(), f"table: {file}"])
