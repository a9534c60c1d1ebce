"""Workers of an evaluation that die at a clip, in a process of their own or as a test plays it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_bench.workflow.fill_job import FillJob, FillReport


class TerminatedWorkerError(Exception):
    """As loky names it."""


@dataclass(frozen=True)
class DiesOnce:
    """Does a job; the first time that one of method `name` has the clip, the process is killed at it.

    `place` is a file that says so.
    """

    place: Path
    name: str
    clip: str

    def __call__(self, job: FillJob) -> FillReport:
        if job.name == self.name and self.clip in job.ids and not self.place.exists():
            self.place.touch()
            job.marker.write_text(self.clip)
            os.kill(os.getpid(), signal.SIGKILL)
        return job.work()


def played(kills: Callable[[FillJob, str], bool], started: list[FillJob]) -> Callable[..., Iterator[Any]]:
    """In place of the executor's workers: jobs are done in this process, until a worker would die at a clip.

    `started` gets every job that is begun.
    """

    def parallel(jobs: Sequence[FillJob], work: Any, **_: Any) -> Iterator[Any]:
        for job in jobs:
            started.append(job)
            if clip := next((i for i in job.ids if i not in job.killers and kills(job, i)), ""):
                job.marker.write_text(clip)
                raise TerminatedWorkerError
            yield job.work()

    return parallel
