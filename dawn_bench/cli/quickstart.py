"""`dawn-bench quickstart`: the whole benchmark once, offline, on an embedded synthetic dataset."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.workflow.jobs import Quickstart


@job_command(Quickstart)
def quickstart(job: Quickstart) -> None:
    """Run everything once, offline: a synthetic dataset, prepare, train, generate, evaluate, report.

    Run the same command again to continue a stopped run. The scores say nothing about DAWN: the clips are synthetic and
    the models are tiny. They are real numbers of metrics whose networks come with the installation.

    Example: dawn-bench quickstart --out demo

    With FID, FVD and LSE of the published networks: dawn-bench quickstart --out demo --weights fetch
    """
    from dawn_bench.progress import console
    from dawn_bench.workflow.quickstart import plan_for, run_quickstart

    done = run_quickstart(
        job.out,
        plan_for(job.preset, seed=job.seed),
        jobs=job.jobs,
        device=job.device,
        weights=job.weights,
        all_metrics=job.all_metrics,
    )
    for line in done.summary:
        console().print(line)
    console().print(f"report: {done.report}")
