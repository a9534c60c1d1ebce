"""Distributes jobs over workers: processes of this machine, one for each GPU, or a Dask or Ray cluster.

A job leaves a file, its part, which marks it as finished, so that a stopped run continues with the others. A worker
that dies takes no other work with it: its jobs are retried one by one, and a clip on which the worker dies again is
left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from dawn_bench.errors import InputError
from dawn_bench.processes import Engine, Kind, Workers, all_begun, pool_of, set_up_worker, taken
from dawn_bench.stopping import children_without_ctrl_c
from dawn_bench.terminal import show_logs
from dawn_bench.worker_errors import portable

__all__ = ["Engine", "Job", "Kind", "Report", "Workers", "check_owner", "run", "set_up_worker"]

#: Times in a row that workers may die before one of them begins a clip.
MOST_FRUITLESS = 3


class Report(Protocol):
    """The result of one job."""

    @property
    def number(self) -> int:
        """Of the job."""


R = TypeVar("R", bound=Report)
R_co = TypeVar("R_co", bound=Report, covariant=True)


class Job(Protocol[R_co]):
    """A unit of work over some clips: a frozen dataclass, small enough to send to another machine.

    Fields:
        number: identifies it among the jobs of one run.
        owner: process whose death ends the work; None where it may run on another machine.
        killers: clips on which a worker process died, which it leaves out.
        after: numbers of the jobs that must have ended before it begins.
        kind: what it needs.
    """

    @property
    def number(self) -> int: ...
    @property
    def owner(self) -> int | None: ...
    @property
    def killers(self) -> frozenset[str]: ...
    @property
    def after(self) -> tuple[int, ...]: ...
    @property
    def kind(self) -> Kind: ...

    @property
    def title(self) -> str:
        """What it is called in messages."""

    @property
    def folder(self) -> Path:
        """What is written, for messages."""

    @property
    def part(self) -> Path:
        """The file that marks it as finished."""

    @property
    def marker(self) -> Path:
        """A file that exists while a worker processes it; it names the current clip."""

    def work(self) -> R_co:
        """Do it, and write its part."""

    def report(self) -> R_co:
        """The report of a finished job, from its part."""


J = TypeVar("J", bound=Job[Any])


def run(
    jobs: Sequence[J],
    *,
    workers: int | Workers,
    engine: Engine = "loky",
    address: str | None = None,
    work: Callable[[J], Any] | None = None,
    fruitless: int = 0,
) -> Generator[Any, None, None]:
    """Process `jobs`; yields their reports as they finish, in any order. Closing the iterator stops the workers.

    Args:
        jobs: in an order in which each comes after those that it needs.
        workers: number of processes, or more on where they run; `engine` and `address` are then those of `workers`.
        engine: `loky` for processes of this machine, `dask` or `ray`.
        address: of a Dask or Ray cluster; None starts a local one.
        work: what a worker does with a job, in place of the job's own work.
        fruitless: how often in a row the workers died before one of them began a clip.

    Raises `InputError` when the engine is not installed, the cluster does not respond, the workers die at once, or the
    disk is full.
    """
    places = workers if isinstance(workers, Workers) else Workers(workers, engine, address)
    if places.engine == "loky":
        jobs = [replace(job, owner=os.getpid()) for job in jobs]  # type: ignore[type-var]
    suspected = {job.number for job in jobs if places.in_process and job.marker.exists()}
    for job in jobs:
        job.marker.unlink(missing_ok=True)
    done: set[int] = set()
    try:
        # in order: a job may need those before it
        for alone, group in groupby(jobs, lambda job: job.number in suspected):
            some = list(group)
            one_by_one = (_run_alone(job, work, places) for job in some)
            reports = one_by_one if alone else _parallel(some, work, places=places)
            for report in reports:
                done.add(report.number)
                yield report
    except Exception as error:
        if not _is_worker_death(error):
            raise
    left = [job for job in jobs if job.number not in done]
    for job in left:
        if job.part.exists():  # finished, but its report was lost with another worker
            yield job.report()
    left = [job for job in left if not job.part.exists()]
    suspects = [job for job in left if job.marker.exists()]
    for job in suspects:
        yield _run_alone(job, work, places)
    rest = [job for job in left if job not in suspects]
    if not rest:
        return
    fruitless = fruitless + 1 if len(rest) == len(jobs) else 0
    if fruitless == MOST_FRUITLESS:  # they would die again without end
        raise InputError(
            "the worker processes die before their first clip.",
            path=jobs[0].folder,
            hint="They may be out of memory: try fewer --jobs.",
        )
    yield from run(rest, workers=places, work=work, fruitless=fruitless)


def _run_alone(job: J, work: Callable[[J], Any] | None, places: Workers) -> Any:
    """Process one job in a process of its own; repeat it without each clip on which the process dies."""
    job = replace(job, owner=os.getpid())  # type: ignore[type-var]
    here = Workers(2, gpus=min(places.gpus, 1), threads=places.threads)
    while True:
        job.marker.unlink(missing_ok=True)
        try:
            return next(iter(_parallel([job], work, places=here)))
        except Exception as error:
            if not _is_worker_death(error):
                raise
            killer = job.marker.read_text() if job.marker.exists() else ""
            if not killer or killer in job.killers:
                raise InputError(
                    f"the worker process dies on {job.title} before its first clip.",
                    path=job.folder,
                    hint="It may be out of memory: try fewer --jobs.",
                ) from error
            job = replace(job, killers=job.killers | {killer})  # type: ignore[type-var]


def _parallel(jobs: Sequence[J], work: Callable[[J], Any] | None, *, places: Workers) -> Iterator[Any]:
    """Reports in any order; closing the iterator stops the workers."""
    if not jobs:
        return
    task: Callable[[J], Any] = work or _own_work
    if places.engine == "dask":
        yield from _dask(jobs, task, places)
    elif places.engine == "ray":
        yield from _ray(jobs, task, places)
    elif places.in_process:
        yield from map(task, jobs)
    else:
        yield from _loky(jobs, task, places)


def _own_work(job: Job[R]) -> R:
    return job.work()


class _Order(TopologicalSorter[int], Generic[J]):
    """Hands out jobs as soon as those that they need have ended."""

    def __init__(self, jobs: Sequence[J]) -> None:
        self.jobs = {job.number: job for job in jobs}
        super().__init__({n: [m for m in job.after if m in self.jobs] for n, job in self.jobs.items()})
        self.prepare()

    def ready(self) -> list[J]:
        """The jobs that may begin and were not handed out yet."""
        return [self.jobs[number] for number in self.get_ready()]


def _loky(jobs: Sequence[J], work: Callable[[J], Any], places: Workers) -> Iterator[Any]:
    """On processes of this machine: one pool for each kind of job that there is."""

    def kind_of(job: J) -> Kind:
        return job.kind if places.gpus else "cpu"

    order, finished, submitted = _Order(jobs), SimpleQueue[Future[Any]](), set[Future[Any]]()
    numbers: dict[Kind, int] = {"cpu": places.number, "gpu": places.gpus}
    with ExitStack() as stack:
        pools, waiting, free = {}, {}, {}
        for kind in sorted({kind_of(job) for job in jobs}):
            number = min(numbers[kind], len(jobs))
            pools[kind] = taken(kind) or pool_of(number, places)
            stack.callback(pools[kind].shutdown, wait=True, kill_workers=True)
            waiting[kind], free[kind] = list[tuple[int, J]](), 2 * number  # what a pool can hand out at once
        stack.callback(all_begun, submitted)
        while order.is_active():
            for job in order.ready():
                heappush(waiting[kind_of(job)], (job.number, job))  # a worker keeps the method that it has loaded
            for kind, pool in pools.items():
                while waiting[kind] and free[kind]:
                    job = heappop(waiting[kind])[1]
                    with children_without_ctrl_c():
                        future = pool.submit(_in_worker, work, job, places.threads)
                        submitted.add(future)
                    future.add_done_callback(finished.put)
                    free[kind] -= 1
            submitted.discard(future := finished.get())
            report = future.result()
            free[kind_of(order.jobs[report.number])] += 1
            order.done(report.number)
            yield report


def _dask(jobs: Sequence[J], work: Callable[[J], Any], places: Workers) -> Iterator[Any]:
    """On Dask directly: joblib's generators wait forever when a task fails there (joblib 1.6)."""
    try:
        from distributed import Client, LocalCluster, as_completed
        from distributed.comm import CommClosedError
    except ImportError:
        raise InputError("--engine dask needs Dask.", hint="pip install 'dawn-bench[cluster]'") from None
    address, number = places.address, places.number
    gpus = {"GPU": 1} if any(job.kind == "gpu" for job in jobs) else {}  # what each local worker may use
    settings: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "resources": gpus}
    local = LocalCluster(n_workers=number, **settings) if not address else None
    try:
        client = Client(local or address)
    except OSError as error:
        raise InputError(f"no Dask scheduler responds at {address} ({error}).", hint="Check --address.") from None
    # Dask logs the loss of its scheduler with a traceback; our one line follows.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    order = _Order(jobs)
    with local or nullcontext(), client:
        if gpus:
            _check_gpus(client.scheduler_info()["workers"], address)
        futures = as_completed()
        try:
            while order.is_active():
                for job in order.ready():
                    needs = {"resources": {"GPU": 1}} if job.kind == "gpu" else {}
                    futures.add(client.submit(_in_worker, work, job, pure=False, priority=-job.number, **needs))
                report = next(futures).result()
                order.done(report.number)
                yield report
        except (CommClosedError, CancelledError) as error:
            where = address or "this machine"
            raise InputError(
                f"the Dask scheduler at {where} is gone ({type(error).__name__}).",
                hint="Start it again and run the same command: finished groups are kept.",
            ) from None


def _check_gpus(workers: Mapping[str, Mapping[str, Any]], address: str | None) -> None:
    """Raise `InputError` where no Dask worker has the resource that jobs ask for: they would wait for it forever."""
    if not any(worker.get("resources", {}).get("GPU") for worker in workers.values()):
        raise InputError(
            f"no worker of the Dask cluster at {address or 'this machine'} has a GPU.",
            hint='Start its workers with: dask worker ADDRESS --nthreads 1 --resources "GPU=1", or give --device cpu.',
        )


def _ray(jobs: Sequence[J], work: Callable[[J], Any], places: Workers) -> Iterator[Any]:
    """On Ray directly: joblib's back end returns no result before the last, and stops when a worker dies."""
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray.", hint="pip install 'dawn-bench[ray]'") from None
    ours, address = not ray.is_initialized(), places.address
    if ours:
        try:
            if address:
                ray.init(address=address, logging_level="warning")
            else:
                ray.init(num_cpus=places.number, include_dashboard=False, logging_level="warning")
        except ConnectionError as error:
            raise InputError(f"no Ray cluster responds at {address} ({error}).", hint="Check --address.") from None
    tasks = {kind: ray.remote(max_retries=0, num_gpus=gpus)(_in_worker) for kind, gpus in (("cpu", 0), ("gpu", 1))}
    order, waiting = _Order(jobs), list[Any]()
    try:
        while order.is_active():
            waiting += [tasks[job.kind].remote(work, job) for job in order.ready()]
            ready, waiting = ray.wait(waiting)
            try:
                report = ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:  # its text is a traceback of the worker
                raise error.cause from None
            order.done(report.number)
            yield report
    finally:
        if ours:
            ray.shutdown()


def _in_worker(work: Callable[[J], Any], job: J, threads: int | None = None) -> Any:
    """`work(job)` in a worker process, whose log lines reach the same terminal and are escaped as ours are."""
    show_logs()
    set_up_worker(job.owner, threads=threads)
    try:
        return work(job)
    except Exception as error:
        if (other := portable(error)) is not error:
            raise other from None
        raise


def check_owner(owner: int | None) -> None:
    """Exit a worker whose run was killed: another run may already be writing the same files."""
    if owner is not None and owner not in (os.getpid(), os.getppid()):
        os._exit(1)


def _is_worker_death(error: Exception) -> bool:
    """Whether a worker process died: errors of loky, Dask and Ray, by name, since the latter two are optional."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"BrokenProcessPool", "TerminatedWorkerError", "KilledWorker", "WorkerCrashedError"})
