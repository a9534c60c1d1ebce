"""Fills the stores of a results folder, by any number of workers: outputs, and the features that metrics need.

The work is cut into jobs of some clips of one method (`FillJob`). The features of true clips, which all methods share,
come first, so that no two workers compute them. What is in the stores depends on no number of workers. Scoring then
finds everything there (`dawn_bench.workflow.evaluate`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from dawn_bench.baselines.base import METHODS
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.given_pieces import GivenOutputs
from dawn_bench.baselines.outputs import ITEMS_FILE, Failure, clip_inputs, items_file, merge_items, shared_inputs
from dawn_bench.baselines.reframe import aligned_name
from dawn_bench.clip import Clip
from dawn_bench.devices import DevicePool, device_list
from dawn_bench.errors import InputError
from dawn_bench.executor import Kind, Workers, run
from dawn_bench.free_memory import free_memory
from dawn_bench.job import check_address
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.names import owned
from dawn_bench.processes import starting
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint
from dawn_bench.text import counted
from dawn_bench.workflow.bench import AsRow, Stage, bench_of, import_features, key_of
from dawn_bench.workflow.chosen import Chosen
from dawn_bench.workflow.entries import UNRANKED, Source
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.fill_job import FOLDER, GENERATING, WORKER_DIED, FillJob, FillReport, read_part
from dawn_bench.workflow.reproduction import Reproduction

#: Most clips of one job, and the least number of jobs of a method, so that every worker gets work.
JOB_CLIPS, MIN_JOBS = 32, 16
#: Processes for each GPU that prepare what its networks compute on.
FEEDERS = 4
#: Frames from which on, without `--jobs`, more than one process is worth its start of some seconds.
WORTH_WORKERS = 2_000
#: Memory in bytes that a worker takes with the networks of all metrics.
WORKER_BYTES = 3 << 30
#: A job with `devices` and `engine`.
J = TypeVar("J", Evaluation, Reproduction)
#: What a job needs, and what it does.
Step = tuple[Kind, tuple[Stage, ...]]
#: The steps after generation where networks have workers of their own.
_APART: Sequence[Step] = (("cpu", ("plain",)), ("gpu", ("networks",)))


@dataclass
class Filled:
    """What the jobs of an evaluation left beside the stores.

    `failed` are the clips without output, by method and clip. `seconds` are those spent by all workers, by method:
    under `generate`, and on the features of each metric by its name; they count also where an earlier run spent them.
    """

    failed: dict[str, dict[str, Failure]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    def generating(self, name: str) -> float:
        """The seconds in which a method's outputs were generated."""
        return self.seconds.get(name, {}).get(GENERATING, 0.0)

    def measuring(self, name: str) -> dict[str, float]:
        """The seconds spent on the features of a method's outputs, by metric."""
        return {metric: seconds for metric, seconds in self.seconds.get(name, {}).items() if metric != GENERATING}

    def add(self, name: str, report: FillReport) -> None:
        """Count the report of a job of one method."""
        self.failed.setdefault(name, {}).update({f.clip: f.failure for f in report.failed})
        by_name = self.seconds.setdefault(name, {})
        for key, seconds in report.seconds.items():
            by_name[key] = by_name.get(key, 0.0) + seconds


def early_workers(job: Evaluation, workers: Workers) -> AbstractContextManager[None]:
    """The workers of an evaluation import what they need while its jobs are planned; not where an earlier run filled
    the stores, which may leave them nothing to do."""
    if job.fold or (job.out / FOLDER).exists():
        return nullcontext()
    return starting(workers, import_features)


def on_first_device(job: J) -> J:
    """The job with the first of its `devices` as that of this process, where it has some.

    Raises `InputError` where they are given for a cluster.
    """
    if not job.devices:
        return job
    if job.engine != "loky":
        what = "--devices are those of this machine; a cluster assigns its own."
        raise InputError(what, hint="Leave out one of --devices and --engine.")
    return job.model_copy(update={"device": device_list(",".join(job.devices))[0]})


def make_chunks(clips: Sequence[Clip]) -> list[list[Clip]]:
    """The clips in consecutive chunks of at most `JOB_CLIPS`, and at least `MIN_JOBS` of them where there are as many
    clips. They depend on the number of clips alone."""
    count = min(len(clips), max(MIN_JOBS, -(-len(clips) // JOB_CLIPS)))
    edges = [len(clips) * k // count for k in range(count + 1)]
    return [list(clips[a:b]) for a, b in pairwise(edges)]


def workers_of(job: Evaluation, *, frames: int) -> tuple[Workers, DevicePool | None]:
    """Where the jobs of an evaluation of so many frames run, and the devices over which workers are spread.

    Raises `InputError` where workers are asked for that lack what the user's own script has registered.
    """
    from joblib import cpu_count

    check_address(job.engine, job.address)
    if own := _of_this_process(job):
        if (job.jobs or 1) == 1 and not job.devices and job.engine == "loky":
            return Workers(1), None
        what = f"worker processes do not know the {own[0]}, which your own script has registered."
        raise InputError(what, hint="Give --jobs 1, or register it in an installed package.")
    cores = cpu_count()
    if job.engine != "loky":
        pool = DevicePool() if job.device.startswith("cuda") else None
        return Workers(job.jobs or cores, job.engine, job.address), pool
    devices = tuple(device_list(",".join(job.devices))) if job.devices else ()
    if not devices and job.device.startswith("cuda") and (job.jobs or 1) > 1:
        devices = (job.device,)
    if devices:
        number = job.jobs or max(1, min(cores - 1, FEEDERS * len(devices)))
        return Workers(number, gpus=len(devices)), DevicePool(devices)
    if job.jobs is not None or job.device != "cpu" or frames < WORTH_WORKERS:
        return Workers(job.jobs or 1), None
    return Workers(max(1, min(cores, free_memory() // WORKER_BYTES))), None


def _of_this_process(job: Evaluation) -> list[str]:
    """Chosen methods, metrics and features that the user's own script has registered: workers do not run it."""
    metrics = job.metrics or usual_metrics(protocol(job.protocol, job.protocol_set))
    features = sorted({feature for metric in metrics for feature in METRICS[metric].needs})
    own = [f"method {n}" for n in job.methods if n in METHODS and not METHODS.in_every_process(n)]
    own += [f"metric {n}" for n in metrics if not METRICS.in_every_process(n)]
    return own + [f"feature {n}" for n in features if n in FEATURES and not FEATURES.in_every_process(n)]


def plan_jobs(
    job: Evaluation,
    chosen: Chosen,
    sources: Mapping[str, Source],
    pool: DevicePool | None,
    workers: Workers,
    *,
    row: AsRow | None = None,
) -> list[FillJob]:
    """The jobs of an evaluation: true clips first, then one method after the other.

    Where networks have workers of their own, a chunk is generated, prepared and run through the networks by one job
    each. One process writes one list of outputs, several write a list for each chunk. `row` is that of a table whose
    method is the one source.
    """
    apart = workers.gpus > 0
    evaluation = everywhere(job)
    run_key = uuid4().hex
    bench = bench_of(evaluation, chosen, run=run_key, row=row)
    bench.methods = {name: source.method for name, source in sources.items() if source.method is not None}
    plan = _Plan(evaluation, bench.facts, run_key, pool, row, shares=job.fills_only or not workers.in_process)
    chunks = make_chunks(chosen.clips)
    kind: Kind = "gpu" if pool is not None else "cpu"
    truth: list[list[FillJob]] = [[] for _ in chunks]
    if bench.compares:
        steps: Sequence[Step] = _APART if apart else [(kind, ("plain", "networks"))]
        truth = [plan.add(k, chunk, "", "", steps) for k, chunk in enumerate(chunks)]
    # sanity rows share what is the same in their outputs: those of one chunk are done one after the other
    last: list[list[FillJob]] = [[] for _ in chunks]
    for name, source in sources.items():
        steps = _steps(source) if apart else [(kind, ("generate", "plain", "networks"))]
        # the repository of an external method has the one GPU, or all cores, for itself
        external = isinstance(getattr(source.method, "spoken", source.method), External)
        alone = external and job.engine == "loky" and len(job.devices) < 2
        before: list[FillJob] = []
        shares = source.method is not None and source.method.method_class in UNRANKED
        shared = shared_inputs(source.method, chosen.clips) if source.method is not None else {}
        method_key = key_of(source.method) if source.method is not None else ""
        for k, chunk in enumerate(chunks):
            given, what = _identity(source, chunk, shared)
            waits = [*(last[k] if shares else []), *(before if alone else [])]
            chain = plan.add(
                k, chunk, name, what, steps, given=given, method_key=method_key, first=truth[k], waits=waits
            )
            before, last[k] = chain[:1], chain[-1:] if shares else last[k]
    return plan.jobs


def _steps(source: Source) -> Sequence[Step]:
    """The steps of a chunk where networks have workers of their own."""
    if source.method is None:
        return _APART
    if source.method.method_class in UNRANKED:  # no network generates these
        return [("cpu", ("generate", "plain")), ("gpu", ("networks",))]
    return [("gpu", ("generate",)), *_APART]


class _Plan:
    """The jobs of an evaluation as they are planned.

    `about` stands for what all of them depend on, `run` for this run, `shares` is whether several processes write lists
    of outputs.
    """

    def __init__(
        self, evaluation: Evaluation, about: str, run: str, pool: DevicePool | None, row: AsRow | None, *, shares: bool
    ) -> None:
        self.evaluation, self.about, self.run, self.pool, self.row = evaluation, about, run, pool, row
        self.shares = shares
        self.jobs: list[FillJob] = []

    def add(
        self,
        number: int,
        chunk: Sequence[Clip],
        name: str,
        what: Any,
        steps: Sequence[Step],
        *,
        given: GivenOutputs | None = None,
        method_key: str = "",
        first: Sequence[FillJob] = (),
        waits: Sequence[FillJob] = (),
    ) -> list[FillJob]:
        """One job for each step of chunk `number`, after the step before it, those of `first`, and `waits`.

        `what` identifies the outputs. The clips that failed in the steps before and in `first` are left out.
        """
        chain: list[FillJob] = []
        ids, frames = tuple(clip.id for clip in chunk), sum(clip.n_frames for clip in chunk)
        share = f"{number:05d}-{fingerprint([self.about, what, ids], length=8)}"
        for place, (kind, stages) in enumerate(steps):
            last = place == len(steps) - 1
            after = (*first, *chain[-1:], *(waits if place == 0 else ()))
            chain.append(
                FillJob(
                    number=len(self.jobs) + place,
                    # the last step has the same key whatever the steps are: a run on other devices may score it
                    key=fingerprint([self.about, name, what, ids, *([] if last else [stages])]),
                    items=items_file(share) if self.shares else ITEMS_FILE,
                    evaluation=self.evaluation,
                    name=name,
                    ids=ids,
                    n_frames=frames if last else 0,
                    stages=stages,
                    given=given,
                    before=chain[-1].key if chain else "",
                    earlier=tuple(job.key for job in first[-1:]),
                    row=self.row,
                    run=self.run,
                    facts=self.about,
                    method_key=method_key,
                    after=tuple(job.number for job in after),
                    kind=kind,
                    pool=self.pool,
                )
            )
        self.jobs += chain
        return chain


def everywhere(job: Evaluation) -> Evaluation:
    """The settings with absolute paths, for workers in another folder; without what concerns only this process."""
    paths = ("cache", "out", "checkpoint", "outputs", "mapping", "installs")
    places = {name: path.absolute() for name in paths if (path := getattr(job, name)) is not None}
    if job.checkpoint is not None and not job.checkpoint.exists():
        places["checkpoint"] = job.checkpoint  # the name of released weights
    plain = {name: Evaluation.model_fields[name].default for name in ("jobs", "engine", "address", "devices", "part")}
    return job.model_copy(update=places | plain | {"only_fill": False, "fold": False, "notes": ()})


def _identity(source: Source, chunk: Sequence[Clip], shared: Mapping[str, str]) -> tuple[GivenOutputs | None, Any]:
    """A user's files for some clips, or None, and what identifies the outputs of a source for them.

    `shared` are the inputs that all outputs of its method have in common.
    """
    if source.given is None:
        method = source.method
        assert method is not None
        return None, [method.fingerprint, shared, [clip_inputs(method, clip) for clip in chunk]]
    ids = [clip.id for clip in chunk]
    given = GivenOutputs(
        {i: source.given.files[i].absolute() for i in ids if i in source.given.files},
        {i: source.given.starts[i] for i in ids if i in source.given.starts},
    )
    stats = {i: path.stat() for i, path in given.files.items() if path.is_file()}
    return given, [(i, str(given.files[i]), s.st_size, s.st_mtime_ns, given.starts.get(i)) for i, s in stats.items()]


def fill(
    jobs: Sequence[FillJob],
    workers: Workers,
    pool: DevicePool | None,
    *,
    part: tuple[int, int] = (1, 1),
    lost: Collection[tuple[str, tuple[str, ...]]] = (),
) -> None:
    """Do the jobs that are not done yet; of several parts (number, of how many) only those of one.

    `lost` are finished jobs whose outputs are gone, by method and clips: they are done again. A clip that failed is
    tried again, except one on which a worker died. Raises `InputError` as `executor.run`.
    """
    own = jobs_of_part(jobs, *part)
    again = {(job.name, job.ids) for job in own if _to_be_tried_again(job)} | set(lost)
    for job in own:
        if (job.name, job.ids) in again:
            job.part.unlink(missing_ok=True)
    done = {(job.name, job.ids) for job in last_steps(own) if job.part.exists()}
    todo = [job for job in own if (job.name, job.ids) not in done and not job.part.exists()]
    if not todo:
        return
    owned(todo[0].folder, FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with (
            meter("generate and extract", total=sum(job.n_frames for job in todo), unit="frames") as bar,
            closing(run(todo, workers=workers)) as reports,
        ):
            for report in reports:
                for line in report.lines:
                    bar.say(line)
                bar.advance(report.frames)
    finally:
        if pool is not None:
            pool.clear()


def jobs_of_part(jobs: Sequence[FillJob], number: int, of: int) -> list[FillJob]:
    """The jobs of one of several parts, from 1: chunks of clips are dealt out in turn, with all methods."""
    numbers = {chunk: k for k, chunk in enumerate(dict.fromkeys(job.ids for job in jobs))}
    return [job for job in jobs if numbers[job.ids] % of == number - 1]


def _to_be_tried_again(job: FillJob) -> bool:
    """Whether a finished job has clips that may succeed now, or a part that cannot be read."""
    if not job.part.exists():
        return False
    try:
        return any(failed.status != WORKER_DIED for failed in read_part(job.part).failed)
    except InputError:
        return True


def last_steps(jobs: Sequence[FillJob]) -> list[FillJob]:
    """Of each chunk of a method its last job, which reports for the steps before it."""
    return list({(job.name, job.ids): job for job in jobs}.values())


def filled(jobs: Sequence[FillJob]) -> Filled:
    """What finished jobs left. Raises `InputError` where some are not finished."""
    jobs = last_steps(jobs)
    left = [job for job in jobs if not job.part.exists()]
    if left:
        raise InputError(
            f"{counted(len(left), 'job')} of {len(jobs)} are not done, the first of them {left[0].title}.",
            path=left[0].folder,
            hint="Run the same command with --only-fill, or with the --part that is missing.",
        )
    result = Filled()
    died = {failed.clip: failed.failure for job in jobs if not job.name for failed in job.report().failed}
    for job in jobs:
        if job.name:
            result.add(job.name, job.report())
    for name in {job.name for job in jobs if job.name}:
        result.failed[name] = {**died, **result.failed[name]}
    return result


def merge_lists(jobs: Sequence[FillJob], out: Path) -> None:
    """Join the lists of outputs that workers wrote to one for each method."""
    for name in dict.fromkeys(job.name for job in jobs if job.name and job.given is None):
        for folder in (name, aligned_name(name)):
            if (out / folder).is_dir():
                merge_items(owned(out, folder, ITEMS_FILE).parent)
