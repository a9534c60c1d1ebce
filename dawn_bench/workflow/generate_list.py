"""Generate the clips of a list: a CSV file with a clip a row, over worker processes, GPUs and machines.

Each clip is written beside a small record, `talk.mp4.json`, of what it was generated from. A row whose clip is there,
of the same inputs, settings and checkpoint, is not generated again, so that a run that was stopped goes on. The bytes
of a clip depend on its row and the checkpoint, not on the other rows or on who generates it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dawn_bench.devices import (
    AUTO,
    CPU,
    DevicePool,
    checked_device,
    chosen_device,
    computing_on,
    cuda_devices,
    workers_on,
)
from dawn_bench.errors import InputError, ItemError
from dawn_bench.executor import Kind, Workers, check_owner, run
from dawn_bench.files import sha256_file, write_atomic
from dawn_bench.progress import meter, without_meters
from dawn_bench.readers import read_json
from dawn_bench.storage import StorageError, ends_the_run, storage_error, writing
from dawn_bench.text import counted
from dawn_bench.threads import one_thread
from dawn_bench.weights import folder as weights_folder
from dawn_bench.workflow.generate import Generation, check_clip, model_of, written
from dawn_bench.workflow.generation_rows import Row, checkpoint_identity, clear_place, read_rows, row_key

if TYPE_CHECKING:
    from dawn_bench.models.generator import Generator

#: Ends the name of a clip's record.
RECORD = ".json"
#: Worker processes on the CPU where their number is not given: each loads the model.
MOST_JOBS = 8


@dataclass(frozen=True)
class ListedClips:
    """The result of a list: frames of the clips that were generated, by file; those that were there; and what failed.

    `failed` has the reason by number of the line in the list.
    """

    written: Mapping[Path, int]
    kept: tuple[Path, ...]
    failed: Mapping[int, str]

    @property
    def summary(self) -> str:
        """One line for people."""
        parts = [f"{len(self.written)} generated"]
        parts += [f"{len(self.kept)} already there"] if self.kept else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return f"{counted(len(self.written) + len(self.kept) + len(self.failed), 'clip')}: {', '.join(parts)}"


@dataclass(frozen=True)
class ClipReport:
    """The result of one row: frames of its clip, notes on it, or why it failed."""

    number: int
    frames: int = 0
    notes: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class ClipJob:
    """One row for one worker, as in `dawn_bench.executor.Job`.

    Args:
        number: of its line in the list.
        clip: its settings.
        key: identifies what the clip is generated from.
        device: that the networks run on, or those over which the workers are spread.
        owner: process whose death ends the work.
        killers: itself, where a worker process died on it.
    """

    number: int
    clip: Generation
    key: str
    device: str | DevicePool = AUTO
    owner: int | None = None
    killers: frozenset[str] = frozenset()
    after: ClassVar[tuple[int, ...]] = ()
    kind: ClassVar[Kind] = "cpu"

    @property
    def out(self) -> Path:
        """The clip."""
        assert self.clip.out is not None
        return self.clip.out

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"line {self.number}"

    @property
    def folder(self) -> Path:
        """Where the clip is written."""
        return self.out.parent

    @property
    def part(self) -> Path:
        """The record of the clip, which is written last."""
        return self.out.with_name(f"{self.out.name}{RECORD}")

    @property
    def marker(self) -> Path:
        """A file that exists while the clip is generated."""
        return self.out.with_name(f".{self.out.name}.running")

    def work(self) -> ClipReport:
        """Generate the clip, write it and its record. Raises `InputError` for the checkpoint, and for a full disk."""
        if self.out.name in self.killers:
            return ClipReport(self.number, failure="the worker process died on it, twice.")
        try:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                self.marker.write_text(self.out.name)
        except StorageError as error:
            return self._unwritten(error)
        try:
            with one_thread(), computing_on(self.device), without_meters():
                generator = _loaded(self.clip.checkpoint, self.clip.model, chosen_device(), weights_folder())
                check_owner(self.owner)
                return self._written(generator)
        finally:
            with suppress(OSError):
                self.marker.unlink(missing_ok=True)

    def _written(self, generator: Generator) -> ClipReport:
        try:
            clip = written(self.clip, generator)
            frames = clip.n_frames
            record = {"key": self.key, "sha256": sha256_file(self.out), "frames": frames, "fps": clip.fps}
            with writing(self.part):
                write_atomic(self.part, f"{json.dumps(record, indent=1)}\n".encode())
            return ClipReport(self.number, frames, clip.notes)
        except StorageError as error:
            return self._unwritten(error)
        except (InputError, ItemError) as error:
            return ClipReport(self.number, failure=str(error))
        except Exception as error:
            if (refused := storage_error(error)) is not None:
                raise refused from error
            return ClipReport(self.number, failure=" ".join(f"{type(error).__name__}: {error}".split()))

    def _unwritten(self, error: StorageError) -> ClipReport:
        if ends_the_run(error):
            raise error
        return ClipReport(self.number, failure=str(error))

    def report(self) -> ClipReport:
        """The report of a clip that was generated, from its record."""
        return ClipReport(self.number, read_json(self.part, dict)["frames"])

    def is_done(self) -> bool:
        """Whether the clip is there as this row generates it, undamaged."""
        with suppress(InputError, OSError):
            record = read_json(self.part, dict)
            return record.get("key") == self.key and record.get("sha256") == sha256_file(self.out)
        return False


@lru_cache(maxsize=1)
def _loaded(checkpoint: Path, model: str | None, device: str, weights: Path) -> Generator:
    """The model of this process, loaded once."""
    from dawn_bench.models.loading import load_model

    return load_model(checkpoint, device=device, model=model)


def generate_list(job: Generation) -> ListedClips:
    """Generate every clip of `job.items` that is not there yet; a row that fails does not stop the others.

    Started by torchrun, each process takes its share of the rows, and all return the result of all. Raises `InputError`
    where the list or the checkpoint cannot be used, or none of its rows can.
    """
    assert job.items is not None
    if job.out is not None:
        raise InputError("--out is a column of --list.", hint="Leave --out out, or generate one clip without --list.")
    spec = model_of(job)
    rows = read_rows(job, spec)
    share = _share(rows)
    where, workers = _where(job)
    identity, failed = checkpoint_identity(job.checkpoint, spec), {}
    jobs: list[ClipJob] = []
    for row in share:
        try:
            if row.clip is None:
                raise InputError(row.fault)
            check_clip(row.clip, spec)
        except InputError as error:
            failed[row.line] = str(error)
        else:
            clip = row.clip.model_copy(update={"model": spec.name})
            jobs.append(ClipJob(row.line, clip, row_key(clip, identity), where))
    done = {each.number for each in jobs if each.is_done()}
    kept = tuple(each.out for each in jobs if each.number in done)
    todo = [each for each in jobs if each.number not in done]
    for each in todo:
        try:
            with writing(each.folder):
                clear_place(each.out, each.part)
        except StorageError:
            raise
        except InputError as error:
            failed[each.number] = str(error)
    todo = [each for each in todo if each.number not in failed]
    by_number, frames = {each.number: each for each in todo}, dict[Path, int]()
    places = Workers(min(workers, max(1, len(todo))))
    try:
        with meter("generate", total=len(share), unit="clips", done=len(failed) + len(kept)) as bar:
            for line, reason in sorted(failed.items()):
                bar.say(f"{job.items}: line {line}: {reason}")
            for report in run(todo, workers=places):
                out = by_number[report.number].out
                if report.failure:
                    failed[report.number] = report.failure
                    bar.say(f"{job.items}: line {report.number} ({out.name}): {report.failure}")
                else:
                    frames[out] = report.frames
                for note in report.notes:
                    bar.say(f"line {report.number} ({out.name}): {note}")
                bar.advance()
    finally:
        if isinstance(where, DevicePool):
            where.clear()
    listed = _of_all_processes(ListedClips(frames, kept, dict(sorted(failed.items()))))
    if len(listed.failed) == len(rows):
        line, reason = next(iter(listed.failed.items()))
        what = f"none of {counted(len(rows), 'clip')} could be generated; line {line}: {reason}"
        raise InputError(what, path=job.items)
    return listed


def _where(job: Generation) -> tuple[str | DevicePool, int]:
    """Where the workers of this process compute, and their number."""
    from joblib import cpu_count

    from dawn_bench.training.processes import world_size

    if world_size() == 1:
        on_cpu = not job.devices and checked_device(job.device) == CPU
        jobs = job.jobs or (min(MOST_JOBS, cpu_count()) if on_cpu else 1)
        return workers_on(job.device, job.devices, jobs=jobs, engine="loky")
    if job.jobs is not None or job.devices:
        raise InputError("--jobs and --devices do not go with torchrun, whose processes are the workers.")
    if (job.device == AUTO or job.device.startswith("cuda")) and (cards := cuda_devices()):
        return cards[int(os.environ.get("LOCAL_RANK", 0)) % len(cards)], 1
    return job.device, 1


def _share(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of this process."""
    from dawn_bench.training.processes import rank, world_size

    return rows[rank() :: world_size()]


def _of_all_processes(listed: ListedClips) -> ListedClips:
    """The results of all processes of torchrun, in each; none ends before the last, which its failure would stop."""
    from datetime import timedelta

    from dawn_bench.training.processes import world_size

    if world_size() == 1:
        return listed
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        each: list[Any] = [None] * world_size()
        torch.distributed.all_gather_object(each, listed)
    finally:
        torch.distributed.destroy_process_group()
    return replace(
        listed,
        written={path: n for part in each for path, n in part.written.items()},
        kept=tuple(path for part in each for path in part.kept),
        failed=dict(sorted((line, why) for part in each for line, why in part.failed.items())),
    )
