"""Workers for the rows of a reproduced table: the fill of `evaluate`, one row after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dawn_bench.baselines.base import Method
from dawn_bench.baselines.outputs import Failure
from dawn_bench.cache import Cache
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.workflow.bench import AsRow, clear_bench
from dawn_bench.workflow.chosen import chosen_clips
from dawn_bench.workflow.entries import Source
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.filling import fill, filled, merge_lists, plan_jobs, workers_of
from dawn_bench.workflow.paper_rows import PaperRow
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.row_runs import settings_of
from dawn_bench.workflow.stored import lost_outputs


def fill_row(
    row: PaperRow, method: Method, job: Reproduction, cache: Cache, metrics: Sequence[str], folder: Path
) -> Mapping[str, Failure]:
    """Have workers generate a row's outputs in `folder` and compute what its metrics need; nothing for one process.

    `method` is the row's, as `row_runs.method_of` builds it. Returns the clips that have just failed, by id. Raises
    `InputError` as `executor.run`.
    """
    evaluation = row_evaluation(row, job, cache, metrics)
    chosen = chosen_clips(evaluation, cache)
    workers, pool = workers_of(evaluation, frames=sum(clip.n_frames for clip in chosen.clips))
    if workers.in_process:
        return {}
    sources = {row.name: Source(row.name, evaluation, chosen.clips, folder, method=method)}
    try:
        jobs = plan_jobs(evaluation, chosen, sources, pool, workers, row=AsRow(row.method, folder.absolute()))
        merge_lists(jobs, folder)  # those of a killed run are older than what is recorded from here on
        lost = lost_outputs(jobs, sources, chosen.clips, folder, seed=job.seed, aligned=False)
        fill(jobs, workers, pool, lost=lost)
        merge_lists(jobs, folder)
        return filled(jobs).failed.get(row.name, {})
    finally:
        clear_bench()


def row_evaluation(row: PaperRow, job: Reproduction, cache: Cache, metrics: Sequence[str]) -> Evaluation:
    """The evaluation of a row's method over the row's pieces, with its run and options."""
    run, options, _ = settings_of(row, job)
    pieces = () if row.length is None else (f"piece_length={row.length}", "piece_remainder=drop")
    shared = (
        "out",
        "split",
        "max_clips",
        "installs",
        "weights",
        "seed",
        "device",
        "jobs",
        "engine",
        "address",
        "devices",
    )
    return Evaluation(
        cache=cache.root,
        methods=(row.method,),
        metrics=tuple(metrics),
        checkpoint=run,
        options=options,
        protocol=PAPER_DAWN.id,
        protocol_set=pieces,
        sanity=False,
        **{name: getattr(job, name) for name in shared},
    )
