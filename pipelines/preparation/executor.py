"""Distributes the groups of a plan over workers: processes of this machine, or a Dask or Ray cluster.

A worker that dies takes no other work with it: its groups are retried one by one, and a clip on which the worker dies
again is quarantined.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Literal

from dawn_bench.errors import InputError
from dawn_bench.pipelines.preparation.group import GroupJob, GroupReport, process_group, summary
from dawn_bench.pipelines.preparation.plan import read_part
from dawn_bench.terminal import show_logs

Engine = Literal["loky", "dask", "ray"]
#: Times in a row that workers may die before one of them begins a clip.
MOST_FRUITLESS = 3


def run(
    jobs: Sequence[GroupJob],
    *,
    workers: int,
    engine: Engine = "loky",
    address: str | None = None,
    work: Callable[[GroupJob], GroupReport] = process_group,
    fruitless: int = 0,
) -> Generator[GroupReport, None, None]:
    """Process `jobs`; yields their reports as they finish, in any order. Closing the iterator stops the workers.

    Args:
        jobs: the groups to process.
        workers: number of processes.
        engine: `loky` for processes of this machine, `dask` or `ray`.
        address: of a Dask or Ray cluster; None starts a local one.
        work: what a worker does with a job.
        fruitless: how often in a row the workers died before one of them began a clip.

    Raises `InputError` when the engine is not installed, the cluster does not respond, the workers die at once, or the
    disk is full.
    """
    if engine == "loky":
        jobs = [replace(job, owner=os.getpid()) for job in jobs]
    alone = [job for job in jobs if job.marker.exists()] if engine == "loky" and workers == 1 else []
    together = [job for job in jobs if job.number not in {other.number for other in alone}]
    for job in jobs:
        job.marker.unlink(missing_ok=True)
    done: set[int] = set()
    try:
        for report in _parallel(together, work, workers=workers, engine=engine, address=address):
            done.add(report.number)
            yield report
    except Exception as error:
        if not _is_worker_death(error):
            raise
    left = [job for job in together if job.number not in done]
    for job in left:
        if job.part.exists():  # finished, but its report was lost with another worker
            yield summary(job.number, read_part(job.part), clips=len(job.ids))
    left = [job for job in left if not job.part.exists()]
    suspects = [job for job in left if job.marker.exists()]
    for job in [*alone, *suspects]:
        yield _run_alone(job, work)
    rest = [job for job in left if job not in suspects]
    if not rest:
        return
    fruitless = fruitless + 1 if len(rest) == len(together) else 0
    if fruitless == MOST_FRUITLESS:  # they would die again without end
        raise InputError(
            "the worker processes die before their first clip.",
            path=jobs[0].cache,
            hint="They may be out of memory: try fewer --jobs.",
        )
    yield from run(rest, workers=workers, engine=engine, address=address, work=work, fruitless=fruitless)


def _run_alone(job: GroupJob, work: Callable[[GroupJob], GroupReport]) -> GroupReport:
    """Process one job in a process of its own; repeat it without each clip on which the process dies."""
    job = replace(job, owner=os.getpid())
    while True:
        job.marker.unlink(missing_ok=True)
        try:
            return next(iter(_parallel([job], work, workers=2, engine="loky")))
        except Exception as error:
            if not _is_worker_death(error):
                raise
            killer = job.marker.read_text() if job.marker.exists() else ""
            if not killer or killer in job.killers:
                raise InputError(
                    f"the worker process dies on group {job.number} before its first clip.",
                    path=job.cache,
                    hint="It may be out of memory: try fewer --jobs.",
                ) from error
            job = replace(job, killers=job.killers | {killer})


def _parallel(
    jobs: Sequence[GroupJob],
    work: Callable[[GroupJob], GroupReport],
    *,
    workers: int,
    engine: Engine,
    address: str | None = None,
) -> Iterator[GroupReport]:
    """Reports in any order; closing the iterator stops the workers."""
    if not jobs:
        return
    if engine == "dask":
        yield from _dask(jobs, work, workers, address)
        return
    if engine == "ray":
        yield from _ray(jobs, work, workers, address)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1) if workers > 1 else parallel_config(n_jobs=1):
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
    task = partial(_in_worker, work) if workers > 1 else work
    results = parallel(delayed(task)(job) for job in jobs)
    try:
        yield from results
    finally:
        results.close()


def _dask(
    jobs: Sequence[GroupJob], work: Callable[[GroupJob], GroupReport], workers: int, address: str | None
) -> Iterator[GroupReport]:
    """On Dask directly: joblib's generators wait forever when a task fails there (joblib 1.6)."""
    try:
        from distributed import Client, LocalCluster, as_completed
        from distributed.comm import CommClosedError
    except ImportError:
        raise InputError("--engine dask needs Dask.", hint="pip install 'dawn-bench[cluster]'") from None
    local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) if not address else None
    try:
        client = Client(local or address)
    except OSError as error:
        raise InputError(f"no Dask scheduler responds at {address} ({error}).", hint="Check --address.") from None
    # Dask logs the loss of its scheduler with a traceback; our one line follows.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with local or nullcontext(), client:
        try:
            for future in as_completed(client.map(partial(_in_worker, work), jobs, pure=False)):
                yield future.result()
        except (CommClosedError, CancelledError) as error:
            where = address or "this machine"
            raise InputError(
                f"the Dask scheduler at {where} is gone ({type(error).__name__}).",
                hint="Start it again and run the same command: finished groups are kept.",
            ) from None


def _ray(
    jobs: Sequence[GroupJob], work: Callable[[GroupJob], GroupReport], workers: int, address: str | None
) -> Iterator[GroupReport]:
    """On Ray directly: joblib's back end returns no result before the last, and stops when a worker dies."""
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray.", hint="pip install 'dawn-bench[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        try:
            if address:
                ray.init(address=address, logging_level="warning")
            else:
                ray.init(num_cpus=workers, include_dashboard=False, logging_level="warning")
        except ConnectionError as error:
            raise InputError(f"no Ray cluster responds at {address} ({error}).", hint="Check --address.") from None
    task = ray.remote(max_retries=0)(_in_worker)
    try:
        waiting = [task.remote(work, job) for job in jobs]
        while waiting:
            ready, waiting = ray.wait(waiting)
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:  # its text is a traceback of the worker
                raise error.cause from None
    finally:
        if ours:
            ray.shutdown()


def _in_worker(work: Callable[[GroupJob], GroupReport], job: GroupJob) -> GroupReport:
    """`work(job)` in a worker process, whose log lines reach the same terminal and are escaped as ours are."""
    show_logs()
    return work(job)


def _is_worker_death(error: Exception) -> bool:
    """Whether a worker process died: errors of loky, Dask and Ray, by name, since the latter two are optional."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"BrokenProcessPool", "TerminatedWorkerError", "KilledWorker", "WorkerCrashedError"})
