"""`dawn-bench quickstart`: the whole benchmark once, offline, on an embedded synthetic dataset."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show
from dawn_bench.workflow.jobs import Quickstart


@job_command(Quickstart)
def quickstart(job: Quickstart) -> None:
    """Run everything once, offline: a synthetic dataset, prepare, train, generate, evaluate, report.

    Run the same command again to continue a stopped run. The scores say nothing about DAWN: the clips are synthetic and
    the models are tiny. The metrics are real: their networks come with the installation.

    Example: dawn-bench quickstart --out demo

    With FID, FVD and LSE of the published networks: dawn-bench quickstart --out demo --weights fetch
    """
    from dawn_bench.workflow.quickstart import plan_for, run_quickstart

    done = run_quickstart(
        job.out,
        plan_for(job.preset, seed=job.seed),
        jobs=job.jobs,
        device=job.device,
        weights=job.weights,
        all_metrics=job.all_metrics,
    )
    signals = [signal.model_dump(mode="json") for signal in done.signals]
    facts = {"report": done.report, "learning": signals, "summary": done.summary}
    show(facts, [*done.summary, f"report: {done.report}"])
