"""A worker's share of an evaluation: some clips of one method are generated, and what metrics need of them is computed.

Outputs and features go to the stores of the results folder, which `evaluate` reads afterwards. A small file, the part,
marks a job as finished:

    <out>/filling/<key>.json       failures and seconds
    <out>/filling/<key>.running    the clip that a worker is at
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dawn_bench.baselines.given_pieces import GivenOutputs
from dawn_bench.baselines.outputs import OK, Failure, failure_line
from dawn_bench.baselines.silence import spoken_name
from dawn_bench.devices import DevicePool, computing_on
from dawn_bench.executor import Kind, check_owner
from dawn_bench.files import sealed, unsealed, write_atomic
from dawn_bench.readers import fitted, read_json
from dawn_bench.storage import writing
from dawn_bench.threads import one_thread
from dawn_bench.workflow.bench import AsRow, Bench, GivenFiles, Outputs, Stage, bench_of
from dawn_bench.workflow.evaluation import Evaluation

WORKER_DIED = "worker_died"
FOLDER = "filling"
#: The key of the seconds of generation among those of metrics.
GENERATING = "generate"
#: Held by the job that uses the bench of this process.
_ONE_JOB = threading.Lock()


@dataclass(frozen=True)
class Failed:
    """A clip of one method that has no output."""

    clip: str
    status: str
    detail: str

    @property
    def failure(self) -> Failure:
        """Without the clip."""
        return Failure(self.status, self.detail)


@dataclass(frozen=True)
class FillReport:
    """The result of one job.

    Args:
        number: of the job.
        frames: of its clips.
        failed: its clips without output.
        seconds: spent on generation, and on the features of each metric.
        lines: on clips that failed just now.
    """

    number: int
    frames: int
    failed: tuple[Failed, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class FillJob:
    """Some clips of one method, or of the truth, for one worker.

    Args:
        number: of the job.
        key: of everything that its results depend on; it names the part.
        items: the list of outputs that it writes.
        evaluation: the settings, with absolute paths.
        name: of the method; empty for the true clips, whose features all methods share.
        ids: of the clips.
        n_frames: of all of them.
        stages: what it does.
        given: the user's files for its clips, in place of a method's outputs.
        before: key of the step before it with the same clips, which it also reports.
        earlier: keys of the other jobs whose failed clips it leaves out.
        row: of a table, where the method has another name than in the registry.
        run, facts, method_key: of the run that it is from, and what its process must have: `Bench.facts`, `key_of`.
        after, kind, owner, killers: as in `Job`.
        pool: the devices over which workers are spread; None where all use that of the evaluation.
    """

    number: int
    key: str
    items: str
    evaluation: Evaluation
    name: str
    ids: tuple[str, ...]
    n_frames: int
    stages: tuple[Stage, ...]
    given: GivenOutputs | None = None
    before: str = ""
    earlier: tuple[str, ...] = ()
    row: AsRow | None = None
    run: str = ""
    facts: str = ""
    method_key: str = ""
    after: tuple[int, ...] = ()
    kind: Kind = "cpu"
    owner: int | None = None
    killers: frozenset[str] = frozenset()
    pool: DevicePool | None = None

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"the clips of {self.name or 'the cache'} from {self.ids[0]} on"

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.evaluation.out

    @property
    def part(self) -> Path:
        """The file that marks it as finished."""
        return part_path(self.folder, self.key)

    @property
    def marker(self) -> Path:
        """A file that exists while a worker processes it; it names the current clip."""
        return self.part.with_suffix(".running")

    def report(self) -> FillReport:
        """The report of the finished job; raises `InputError` where its part is damaged."""
        return self._report(read_part(self.part))

    def work(self) -> FillReport:
        """Generate and compute what is not there yet, and write the part. Raises `StorageError` for a full disk.

        Jobs of one process, such as a Dask worker with several threads, are done one after the other. Raises
        `InputError` on a machine whose clips, weights or libraries are not those of the run.
        """
        with _ONE_JOB:
            return self._work()

    def _work(self) -> FillReport:
        if self.part.exists():  # a cluster may send a job twice
            return self.report()
        device = self._device()
        with one_thread(), computing_on(device):
            evaluation = self.evaluation.model_copy(update={"device": device})
            bench = bench_of(evaluation, run=self.run, row=self.row)
            if self.facts:
                bench.check(self.facts)
            try:
                with writing(self.part):
                    self.part.parent.mkdir(parents=True, exist_ok=True)
                part, lines = self._fill(bench)
                _write_part(self.part, part)
            finally:
                with suppress(OSError):  # of a disk that became read-only
                    self.marker.unlink(missing_ok=True)  # only a dead process leaves it behind
        return self._report(part, lines)

    def _device(self) -> str:
        """The device of this process; jobs that need none only name its kind."""
        if self.pool is None:
            return self.evaluation.device
        if self.kind == "gpu":
            device = self.pool.take()
            if device.startswith("cuda"):
                import torch

                torch.cuda.set_device(device)  # also what names no device goes there
            return device
        return self.pool.names[0] if self.pool.names else self.evaluation.device

    def _report(self, part: _Part, lines: tuple[str, ...] = ()) -> FillReport:
        return FillReport(self.number, self.n_frames, tuple(part.failed), part.seconds, lines)

    def _fill(self, bench: Bench) -> tuple[_Part, tuple[str, ...]]:
        """What is in the part, and lines on clips that failed."""
        before = read_part(part_path(self.folder, self.before)) if self.before else _Part([], {})
        others = [read_part(part_path(self.folder, key)) for key in self.earlier]
        absent = {failed.clip for part in (before, *others) for failed in part.failed}
        outputs = self._outputs(bench) if self.name else None
        failed = list(before.failed)
        lines: list[str] = []
        generating, so_far = 0.0, bench.seconds()
        for clip in bench.clips_of(self.ids):
            check_owner(self.owner)
            if clip.id in self.killers:
                failed.append(Failed(clip.id, WORKER_DIED, "the worker process died on it, twice"))
                lines.append(f"{self.name}, {clip.id}: {WORKER_DIED}: {failed[-1].detail}")
                continue
            if clip.id in absent:
                continue
            _mark(self.marker, clip.id)
            if outputs is None:
                bench.measure_truth(clip, self.stages)
                continue
            began = time.perf_counter()
            output, takes = outputs.of(clip)
            generating += time.perf_counter() - began
            if output is not None and output.status != OK:
                failed.append(Failed(clip.id, output.status, output.detail))
                lines.append(failure_line(self.name, output))
            for load in takes:
                bench.measure(load, clip, self.stages, of_silence=spoken_name(self.name) != self.name)
        bench.flush()
        spent = {GENERATING: generating, **{name: s - so_far[name] for name, s in bench.seconds().items()}}
        return _Part(failed, {k: round(before.seconds.get(k, 0.0) + s, 3) for k, s in spent.items()}), tuple(lines)

    def _outputs(self, bench: Bench) -> Outputs:
        if self.given is not None:
            return GivenFiles(self.given)
        if "generate" in self.stages:
            return bench.generated(self.name, items=self.items, method_key=self.method_key)
        return bench.recorded(self.name, items=self.items)


@dataclass(frozen=True)
class _Part:
    """The content of a part."""

    failed: list[Failed]
    seconds: dict[str, float]


def part_path(out: Path, key: str) -> Path:
    """The part of a job in a results folder."""
    return out / FOLDER / f"{key}.json"


def read_part(path: Path) -> _Part:
    """The content of a part; raises `InputError` where it is absent or damaged."""
    return fitted(_Part, unsealed(read_json(path, dict)), path=path, hint="Remove it: its clips are looked at again.")


def _write_part(path: Path, part: _Part) -> None:
    facts = {"failed": [vars(failed) for failed in part.failed], "seconds": part.seconds}
    write_atomic(path, json.dumps(sealed(facts)).encode(), durable=False)  # a damaged part counts as absent


def _mark(marker: Path, clip: str) -> None:
    marker.write_text(clip)
