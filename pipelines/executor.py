"""Spreads the groups of a plan over workers: processes of this machine, or a Dask or Ray cluster.

The death of a worker costs nothing: the groups that were in its hands are retried alone, and a clip that kills its
worker again is quarantined.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Literal

from dawn_bench.errors import InputError
from dawn_bench.pipelines.group import GroupReport, Job, process_group, summary
from dawn_bench.pipelines.plan import read_part

Engine = Literal["loky", "dask", "ray"]


def run(
    jobs: Sequence[Job],
    *,
    workers: int,
    engine: Engine = "loky",
    address: str | None = None,
    work: Callable[[Job], GroupReport] = process_group,
) -> Iterator[GroupReport]:
    """Reports of `jobs` as they end, in any order.

    `workers` processes (`loky`), or a Dask or Ray cluster at `address`, or a local one of `workers` processes. Closing
    the iterator stops the workers. Raises `InputError` when the engine is not installed or the disk is full.
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
        if job.part.exists():  # done, but the death of another worker hid its report
            yield summary(job.number, read_part(job.part), clips=len(job.ids))
    left = [job for job in left if not job.part.exists()]
    suspects = [job for job in left if job.marker.exists()]
    for job in [*alone, *suspects]:
        yield _run_alone(job, work)
    rest = [job for job in left if job not in suspects]
    if rest:
        yield from run(rest, workers=workers, engine=engine, address=address, work=work)


def _run_alone(job: Job, work: Callable[[Job], GroupReport]) -> GroupReport:
    """One job in a process of its own, again without each clip that kills it."""
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
                    mend="It may be out of memory: try fewer --jobs.",
                ) from error
            job = replace(job, killers=job.killers | {killer})


def _parallel(
    jobs: Sequence[Job],
    work: Callable[[Job], GroupReport],
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
    from joblib import Parallel, delayed, parallel_config

    if engine == "ray":  # its joblib back end returns lists only: a chunk at a time
        size = 4 * workers
        with _ray(workers, address):
            for start in range(0, len(jobs), size):
                yield from Parallel(n_jobs=workers, batch_size=1)(
                    delayed(work)(job) for job in jobs[start : start + size]
                )
        return
    with parallel_config(backend="loky", inner_max_num_threads=1) if workers > 1 else parallel_config(n_jobs=1):
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
    results = parallel(delayed(work)(job) for job in jobs)
    try:
        yield from results
    finally:
        results.close()


def _dask(
    jobs: Sequence[Job], work: Callable[[Job], GroupReport], workers: int, address: str | None
) -> Iterator[GroupReport]:
    """On Dask, without joblib between: its generators wait for ever when a task fails there (joblib 1.6)."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise InputError("--engine dask needs Dask.", mend="pip install 'dawn-bench[cluster]'") from None
    local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) if not address else None
    try:
        client = Client(local or address)
    except OSError as error:
        raise InputError(f"no Dask scheduler answers at {address} ({error}).", mend="Check --address.") from None
    with local or nullcontext(), client:
        for future in as_completed(client.map(work, jobs, pure=False)):
            yield future.result()


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[None]:
    from joblib import parallel_config

    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise InputError("--engine ray needs Ray.", mend="pip install 'ray[default]'") from None
    ray.init(address=address, num_cpus=None if address else workers, ignore_reinit_error=True)
    register_ray()
    with parallel_config(backend="ray"):
        yield


def _is_worker_death(error: Exception) -> bool:
    """Whether a worker process died (loky's and Dask's errors, by name: Dask may be absent)."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"BrokenProcessPool", "TerminatedWorkerError", "KilledWorker"})
