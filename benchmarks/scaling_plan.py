"""How a dataset would run on many workers: the real plans for made-up clips, and a simulation of their jobs.

    python benchmarks/scaling_plan.py                                      CREMA-D, HDTF and a million clips
    python benchmarks/scaling_plan.py --dataset crema --workers 1,16,64 --gpus 1,8
    python benchmarks/scaling_plan.py --networks 0.5                       another cost of a frame

Groups of `prepare` and jobs of `evaluate` are those that the product plans: their numbers, sizes, order and what they
wait for. Nothing is decoded or computed. Costs are seconds a frame, given on the command line; a job takes the frames
of its clips times the costs of what it does, and a worker some seconds to start. So a wall time leaves out shared
disks, networks and unequal machines, and is a lower limit.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dawn_bench.baselines.base import METHODS, sanity_rows
from dawn_bench.clip import FPS, Clip
from dawn_bench.devices import DevicePool
from dawn_bench.executor import Workers, _Order
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.pipelines.datasets.base import Source as Video
from dawn_bench.pipelines.preparation.plan import make_groups
from dawn_bench.workflow.chosen import Chosen
from dawn_bench.workflow.entries import Source
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.fill_job import FillJob
from dawn_bench.workflow.filling import FEEDERS, jobs_of_part, plan_jobs
from dawn_bench.workflow.pieces import cut_pieces

#: Fields of a cache with the default extractors, each of which is one shard of a group.
CACHE_FIELDS = ("audio", "bbox", "blink", "face_mask", "frames", "landmarks", "lip_mask", "logmel", "pose", "valid")
#: What fields other than frames take, bytes a frame of 128 px.
OTHER_BYTES = 6_300
#: Features of which an evaluation with all metrics keeps a shard.
FEATURES = 12
#: Numbers of workers, GPUs and parts of the page's tables.
WORKERS, GPUS, PARTS = (2, 16, 128), (1, 8), 16
#: Share of the metrics' networks that a sanity row runs anew; other methods run all.
REPEATED = {"ground-truth": 0.1, "still": 0.1, "shuffled-sound": 0.1}


@dataclass(frozen=True)
class Set:
    """A made-up dataset: `clips` of `hours` together, of which `scored` are the test split."""

    name: str
    clips: int
    hours: float
    scored: int

    def frames(self) -> np.ndarray:
        """The frames of each clip: drawn, spread by half of their mean, and `hours` in all."""
        drawn = np.random.default_rng(0).lognormal(0.0, 0.45, self.clips)
        return np.maximum(10, np.round(drawn * (self.hours * 3600 * FPS / drawn.sum()))).astype(int)


SETS = {
    "crema": Set("crema", 7_442, 5.26, 820),
    "hdtf": Set("hdtf", 421, 15.8, 41),
    "million": Set("folder", 1_000_000, 1_000.0, 100_000),
}


@dataclass(frozen=True)
class Costs:
    """Seconds a frame: of preparing; of generating; of what metrics compute without networks, and by networks.

    `generate_gpu` and `networks_gpu` are the same on a GPU. `start` is of a worker, `job` of a job, in seconds.
    Bytes a frame: `mp4_bytes` of an output, `feature_bytes` of the features of a clip.
    """

    prepare: float = 0.005
    generate: float = 1.3
    generate_gpu: float = 0.026
    plain: float = 0.01
    networks: float = 0.32
    networks_gpu: float = 0.0064
    start: float = 5.0
    job: float = 0.2
    mp4_bytes: float = 11_000.0
    feature_bytes: float = 20_000.0

    def of(self, job: FillJob, frames_of: Mapping[str, int], *, gpu: bool) -> float:
        """Seconds of a job of `evaluate`, with the frames of its clips."""
        frames = sum(frames_of[name] for name in job.ids)
        networks = (self.networks_gpu if gpu else self.networks) * REPEATED.get(job.name, 1.0)
        generate = (self.generate_gpu if gpu else self.generate) if job.name and job.name not in METHODS else 0.0
        each = {"generate": generate, "plain": self.plain, "networks": networks}
        return self.job + frames * sum(each[stage] for stage in job.stages)


def stated(costs: Costs) -> str:
    """The costs as a line of text."""
    return ", ".join(f"{cost.name} {getattr(costs, cost.name):g}" for cost in fields(costs))


@dataclass(frozen=True)
class Simulated:
    """Wall time and longest job in seconds, and the share of the wall time in which workers, or GPUs, computed."""

    jobs: int
    wall: float
    longest: float
    busy: float


def simulate(jobs: Sequence[Any], cost: Callable[[Any], float], workers: Mapping[str, int], start: float) -> Simulated:
    """Run jobs in the order of the executor: each kind of worker takes the first one that waits for nothing.

    `workers` are the numbers of each kind; jobs of another kind run as `cpu`. `start` is when workers begin.
    """
    order, finished = _Order(jobs), list[tuple[float, int, str, Any]]()
    waiting, free = {kind: list[tuple[int, Any]]() for kind in workers}, dict(workers)
    seconds = {job.number: cost(job) for job in jobs}
    now = start
    while order.is_active():
        for job in order.ready():
            heapq.heappush(waiting[job.kind if job.kind in workers else "cpu"], (job.number, job))
        for kind, queue in waiting.items():
            while queue and free[kind]:
                _, job = heapq.heappop(queue)
                free[kind] -= 1
                heapq.heappush(finished, (now + seconds[job.number], job.number, kind, job))
        now, number, kind, _ = heapq.heappop(finished)
        free[kind] += 1
        order.done(number)
    scarce = "gpu" if "gpu" in workers else "cpu"
    computed = sum(seconds[job.number] for job in jobs if scarce == "cpu" or job.kind == scarce)
    return Simulated(len(jobs), now, max(seconds.values()), computed / (now * workers[scarce]))


@dataclass(frozen=True)
class Group:
    """A group of `prepare` for `simulate`."""

    number: int
    frames: int
    after: tuple[int, ...] = ()
    kind: str = "cpu"


def made_groups(made: Set, size: int) -> list[Group]:
    """The groups that `prepare` plans for a dataset."""
    frames = {f"c{k:07d}": int(n) for k, n in enumerate(made.frames())}
    videos = [Video(name, "s", "train", Path("v.mp4"), stop=n / FPS) for name, n in frames.items()]
    groups = make_groups(videos, size=size)
    return [Group(number, sum(frames[name] for name in ids)) for number, ids in enumerate(groups)]


def made_clips(made: Set) -> list[Clip]:
    """The clips of a test split."""
    every = np.zeros((1, 1), np.float32)
    arrays = dict.fromkeys(("frames", "audio", "pose", "blink", "landmarks", "bbox", "valid"), every)
    lengths = made.frames()[:: max(1, made.clips // made.scored)][: made.scored]
    return [Clip(f"c{k:07d}", "s", "test", int(n), arrays) for k, n in enumerate(lengths)]


def made_jobs(made: Set, methods: int, workers: Workers, pool: DevicePool | None) -> tuple[list[Clip], list[FillJob]]:
    """The clips or pieces that are scored, and the jobs of an evaluation with the sanity rows and so many methods."""
    whole = made_clips(made)
    rules = protocol("paper-dawn", (), dataset=made.name)
    clips = cut_pieces(whole, rules)
    with tempfile.TemporaryDirectory() as folder:
        job = Evaluation(cache=Path(folder), out=Path(folder), weights="seeded", device="cpu", part="1/1")
        names = [*sanity_rows("video"), *(f"method-{k}" for k in range(methods))]
        made_up = {name: SimpleNamespace(fingerprint=name, method_class=_class(name), uses=()) for name in names}
        sources: Any = {name: Source(name, job, clips, Path(folder), method=made_up[name]) for name in names}
        return clips, plan_jobs(job, Chosen(made.name, whole, clips, rules, rules.piece_length), sources, pool, workers)


def _class(name: str) -> str:
    return "sanity" if name in METHODS else "portrait"


def prepare_rows(made: Set, size: int, costs: Costs, workers: Sequence[int]) -> Iterator[str]:
    """Lines of the table on `prepare`."""
    groups = made_groups(made, size)
    frames = sum(group.frames for group in groups)
    files = len(groups) * (len(CACHE_FIELDS) + 1) + 3
    gigabytes = frames * (3 * size * size + OTHER_BYTES) / 1e9
    for number in workers:
        done = simulate(groups, lambda group: costs.job + group.frames * costs.prepare, {"cpu": number}, costs.start)
        yield line(f"{made.clips:,} clips, {made.hours:g} h", f"{number} workers", done, files, gigabytes)


def evaluate_rows(
    made: Set, costs: Costs, *, workers: Sequence[int], gpus: Sequence[int], methods: int = 1, parts: int = PARTS
) -> Iterator[str]:
    """Lines of the table on filling by `evaluate`: processors alone, an array of parts, GPUs."""
    clips, jobs = made_jobs(made, methods, Workers(2), None)
    frames_of = {clip.id: clip.n_frames for clip in clips}
    chunks = len({job.ids for job in jobs})
    frames = sum(frames_of.values())
    rows = len({job.name for job in jobs if job.name})
    anew = 1 + rows - len(REPEATED)  # with the true clips: the others have the features of equal frames
    # outputs, a list and a part for each job, and a shard of each feature and of the matches
    files = len(clips) * rows + len(jobs) * 2 + chunks * (anew * FEATURES + rows)
    gigabytes = frames * (rows * costs.mp4_bytes + anew * costs.feature_bytes) / 1e9
    what = f"{len(clips):,} clips, {frames / FPS / 3600:.1f} h"
    for number in workers:
        done = simulate(jobs, partial(costs.of, frames_of=frames_of, gpu=False), {"cpu": number}, costs.start)
        yield line(what, f"{number} workers", done, files, gigabytes)
    shares = [share for k in range(1, parts + 1) if (share := jobs_of_part(jobs, k, parts))]
    alone = [
        simulate(share, partial(costs.of, frames_of=frames_of, gpu=False), {"cpu": 1}, costs.start) for share in shares
    ]
    wall = max(part.wall for part in alone)
    busy = sum(part.busy * part.wall for part in alone) / (wall * parts)
    array = Simulated(len(jobs), wall, max(part.longest for part in alone), busy)
    yield line(what, f"array of {parts} tasks", array, files, gigabytes)
    for number in gpus:
        places, pool = Workers(FEEDERS * number, gpus=number), DevicePool()
        _, jobs = made_jobs(made, methods, places, pool)
        kinds = {"cpu": FEEDERS * number, "gpu": number}
        done = simulate(jobs, partial(costs.of, frames_of=frames_of, gpu=True), kinds, costs.start)
        yield line(what, f"{number} GPU{'s' * (number > 1)}, {FEEDERS * number} processes", done, files, gigabytes)


def line(what: str, places: str, done: Simulated, files: int, gigabytes: float) -> str:
    """One line of a table."""
    longest, wall = duration(done.longest), duration(done.wall)
    sizes = f"{files:,} | {gigabytes:,.0f} GB"
    return f"| {what} | {places} | {done.jobs:,} | {longest} | {wall} | {done.busy:.0%} | {sizes} |"


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there is at least one."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=[*SETS, "all"], default="all")
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)))
    parser.add_argument("--gpus", default=",".join(map(str, GPUS)))
    parser.add_argument("--parts", type=int, default=PARTS)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--methods", type=int, default=1)
    for cost in fields(Costs):
        parser.add_argument(f"--{cost.name.replace('_', '-')}", type=float, default=cost.default)
    given = parser.parse_args()
    costs = Costs(**{cost.name: getattr(given, cost.name) for cost in fields(Costs)})
    workers, gpus = ([int(n) for n in text.split(",") if n] for text in (given.workers, given.gpus))
    chosen = list(SETS.values()) if given.dataset == "all" else [SETS[given.dataset]]
    print(stated(costs))
    for step in ("prepare", "evaluate"):
        print(f"\n| {step} | on | jobs | longest | wall time | busy | files | disk |\n| --- {'| --- ' * 7}|")
        for made in chosen:
            if step == "prepare":
                rows = prepare_rows(made, given.size, costs, workers)
            else:
                numbers: Any = {"methods": given.methods, "parts": given.parts}
                rows = evaluate_rows(made, costs, workers=workers, gpus=gpus, **numbers)
            for row in rows:
                print(row, flush=True)


if __name__ == "__main__":
    main()
