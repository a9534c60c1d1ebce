"""Worker processes of this machine: how many, what they begin with, and what ends them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from dawn_bench.stopping import children_without_ctrl_c, end_with

Engine = Literal["loky", "dask", "ray"]
#: What a job needs: a processor, or a GPU.
Kind = Literal["cpu", "gpu"]
#: Bytes by which a worker process of this machine may grow before it is replaced: it keeps networks and clips.
MOST_GROWTH = 8 << 30
#: Environment variables that limit the threads of one process.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
#: Longest time in seconds that a pool takes to hand out its jobs.
_HANDED_OUT = 2.0


@dataclass(frozen=True)
class Workers:
    """Where jobs run.

    Args:
        number: of processes for jobs that need no GPU.
        engine: `loky` for processes of this machine, `dask` or `ray`.
        address: of a Dask or Ray cluster; None starts a local one.
        gpus: of this machine: so many processes more, for the jobs that need a GPU. Without, these run as the others
            do. On a cluster they ask for one of its resource `GPU`.
        threads: of each process of this machine.
    """

    number: int = 1
    engine: Engine = "loky"
    address: str | None = None
    gpus: int = 0
    threads: int = 1

    @property
    def in_process(self) -> bool:
        """Whether the jobs run in this process, one after the other."""
        return self.engine == "loky" and self.number == 1 and not self.gpus


def pool_of(number: int, places: Workers, first: Callable[[], Any] | None = None) -> Any:
    """Processes of this machine, which begin with `first`."""
    from joblib.externals.loky import ProcessPoolExecutor

    begin = partial(_begin, os.getpid(), places.threads, first)
    return ProcessPoolExecutor(number, env=dict.fromkeys(_THREADS, str(places.threads)), initializer=begin)


def _begin(owner: int, threads: int, first: Callable[[], Any] | None) -> None:
    """What a worker process of this machine begins with."""
    from joblib.externals.loky import process_executor

    # a worker that has grown by 0.3 GB would be replaced (joblib 1.6), and networks are larger than that
    process_executor._MAX_MEMORY_LEAK_SIZE = MOST_GROWTH
    set_up_worker(owner, threads=threads)
    if first is not None:
        first()


#: The processes that `starting` has started and no run has used yet.
_started: ContextVar[dict[Kind, Any]] = ContextVar("started", default={})  # noqa: B039 (of a run without any)


@contextmanager
def starting(places: Workers, first: Callable[[], Any]) -> Iterator[None]:
    """The workers of this machine begin with `first`, such as imports, while this process prepares their jobs.

    The first `run` inside uses them. On a cluster, and where jobs run in this process, nothing is started.
    """
    if places.engine != "loky" or places.in_process:
        yield
        return
    numbers: dict[Kind, int] = {"cpu": places.number, "gpu": places.gpus}
    pools = {kind: pool_of(number, places, first) for kind, number in numbers.items() if number}
    token = _started.set(pools)
    begun: list[Future[Any]] = []
    try:
        with children_without_ctrl_c():
            begun += [pool.submit(int) for pool in pools.values()]
        yield
    finally:
        _started.reset(token)
        all_begun(begun)
        for pool in pools.values():  # that no run has used
            pool.shutdown(wait=True, kill_workers=True)


def taken(kind: Kind) -> Any:
    """The processes that `starting` has started for a kind of jobs; None where there are none left."""
    return _started.get().pop(kind, None)


def all_begun(futures: Collection[Future[Any]]) -> None:
    """Wait until a pool has handed out its jobs: loky fails when it is stopped before (joblib 1.6)."""
    late = time.monotonic() + _HANDED_OUT
    while time.monotonic() < late and not all(future.running() or future.done() for future in futures):
        time.sleep(0.001)


def set_up_worker(owner: int | None, *, threads: int | None = None) -> None:
    """In a worker process of `owner`: leave Ctrl-C to it, end when it ends, and limit the threads; else nothing."""
    if owner in (None, os.getpid()) or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(owner)
    import cv2

    cv2.setNumThreads(threads or 1)
