"""From videos to a cache: list the sources, plan, process what is not done yet, write the index.

A run on an existing cache resumes it: finished groups are kept, new clips and clips whose files changed become new
groups, and extractors that were added since are computed from the cached arrays.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from dawn_bench.cache import OK
from dawn_bench.clip import FPS
from dawn_bench.devices import CPU, DevicePool, computing_on, workers_on
from dawn_bench.errors import InputError
from dawn_bench.executor import Engine, run
from dawn_bench.job import check_address
from dawn_bench.locks import exclusive
from dawn_bench.names import check_name
from dawn_bench.pipelines.datasets.base import Source, dataset_of
from dawn_bench.pipelines.faces.base import stand_in
from dawn_bench.pipelines.meshes.tools import mesh_tools
from dawn_bench.pipelines.preparation.compact import settle
from dawn_bench.pipelines.preparation.folder import check_folders, drop_superseded, empty, make_folder, sweep
from dawn_bench.pipelines.preparation.group import ClipTools, GroupJob, GroupReport, Tools
from dawn_bench.pipelines.preparation.index import current_rows, write_index
from dawn_bench.pipelines.preparation.origin import has_changed
from dawn_bench.pipelines.preparation.plan import (
    CachePlan,
    check_same,
    listed_id,
    make_groups,
    part_path,
    read_part,
)
from dawn_bench.pipelines.settings import AUTO, PrepareSettings
from dawn_bench.progress import console, meter
from dawn_bench.text import counted
from dawn_bench.utf8 import escape_invalid


@dataclass(frozen=True)
class PrepareReport:
    """What is in a cache after a run.

    Args:
        cache: the cache's folder.
        ok: usable clips.
        quarantined: how many clips could not be used, by reason.
        frames: frames of all usable clips.
        wall: how long the run took, seconds.
        resumed: clips that were finished before this run.
        incomplete: usable clips without its fields, by extractor added later.
        fps: frame rate of the cache.
    """

    cache: Path
    ok: int
    quarantined: Mapping[str, int]
    frames: int
    wall: float
    resumed: int = 0
    incomplete: Mapping[str, int] = field(default_factory=dict)
    fps: int = FPS

    @property
    def seconds(self) -> float:
        """Length of all usable clips in seconds."""
        return self.frames / self.fps

    @property
    def clips(self) -> int:
        """All clips, usable or not."""
        return self.ok + sum(self.quarantined.values())


def prepare(
    root: Path,
    cache: Path,
    settings: PrepareSettings,
    *,
    jobs: int = 1,
    engine: Engine = "loky",
    address: str | None = None,
    overwrite: bool = False,
    tools: Tools | None = None,
    device: str = AUTO,
    devices: Sequence[str] = (),
    name: str | None = None,
) -> PrepareReport:
    """Prepare the dataset at `root` into the folder `cache` with `jobs` worker processes.

    The bytes of every shard depend on the sources and the settings, not on `jobs`, `engine`, interruptions or which of
    several equal cards computes.

    Args:
        root: folder of the dataset.
        cache: folder to write; it may hold a cache of the same settings, which is resumed.
        settings: what is computed and how.
        jobs: worker processes.
        engine: `loky` on this machine, or `dask` or `ray`.
        address: of the Dask or Ray cluster; None starts a local one.
        overwrite: delete an existing cache first, even one with other settings.
        tools: what is done to a clip; chosen by the dataset unless given.
        device: that the networks of every worker run on; `auto`: every GPU of the worker's machine, else its CPU.
        devices: those over which the workers are spread, at least one on each; `all`: every GPU.
        name: what reports call the dataset; without it, what it was called before.

    Raises `InputError` when there is nothing to prepare, no clip could be used, another run is using the cache, the
    disk is full, or the cache was prepared with other settings.
    """
    begun = time.monotonic()
    check_address(engine, address)
    if name is not None:
        check_name(name, what="the dataset's name")
    where, jobs = workers_on(device, devices, jobs=jobs, engine=engine)
    elsewhere = jobs > 1 or engine != "loky"  # in other processes
    root, cache = root.resolve(), cache.resolve()
    sources = list_sources(root, settings)
    tools = tools or mesh_tools(root, settings) or ClipTools()
    make_folder(cache)
    with exclusive(cache, doing="prepared", hint="Wait for it, or give another --cache."):
        check_folders(cache)
        if overwrite:
            empty(cache)
        sweep(cache)
        settle(cache)
        with computing_on(CPU if elsewhere else where):  # fingerprints alone, which need no GPU
            plan = _planned(root, cache, sources, settings, tools)
        planned = PrepareSettings.model_validate(plan.settings)
        changed = _changed(root, cache, plan, sources)
        if changed:
            plan = plan.redone(changed)
            plan.save(cache)
        by_id, owners = {source.id: source for source in sources}, plan.owners()

        def job(number: int, extractor: str | None = None) -> GroupJob:
            ids = tuple(i for i in plan.groups[number] if owners[i] == number)
            here = {i: by_id[i] for i in ids if i in by_id} if extractor is None else {}
            return GroupJob(cache, root, number, ids, here, planned, tools, extractor, device=where)

        def work(numbers: Sequence[int], label: str, extractor: str | None = None) -> None:
            todo = [job(n, extractor) for n in numbers if not part_path(cache, n, extractor=extractor).exists()]
            if todo:
                with closing(run(todo, workers=jobs, engine=engine, address=address)) as reports:
                    _run_with_progress(reports, label, clips=sum(len(job.ids) for job in todo))

        numbers = plan.current()
        done = {n for n in numbers if part_path(cache, n).exists()}
        _print_state(sum(n in done for n in owners.values()), of=len(owners), changed=len(changed))
        incomplete = {}
        try:
            work(numbers, "prepare")
            for name in (key.removeprefix("extractor ") for key in plan.added):
                work(numbers, name, name)
                parts = ((n, read_part(part_path(cache, n, extractor=name))) for n in numbers)
                incomplete[name] = sum(
                    row["status"] != OK for n, part in parts for row in current_rows(part, n, owners)
                )
        finally:
            sweep(cache, ended=True)
            if isinstance(where, DevicePool):
                where.clear()
        contents = write_index(cache, plan, by_id, name=name)
        drop_superseded(cache, plan)
    report = PrepareReport(
        cache,
        ok=contents.ok,
        quarantined=dict(sorted(contents.quarantined.items())),
        frames=contents.frames,
        wall=time.monotonic() - begun,
        resumed=sum(contents.of_group[n] for n in done),
        incomplete=incomplete,
        fps=int(plan.facts.get("fps", FPS)),
    )
    if not report.ok:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.quarantined.items())
        raise InputError(
            f"none of {counted(report.clips, 'clip')} could be used ({reasons}).",
            path=root,
            hint=f"Each one's reason: dawn-bench cache stats {cache}",
        )
    return report


def list_sources(root: Path, settings: PrepareSettings) -> list[Source]:
    """The dataset's sources; raises `InputError` when the root is absent or holds none."""
    if not root.is_dir():
        raise InputError("is not a folder." if root.exists() else "does not exist.", path=root, hint="Check --root.")
    sources = [_escaped_names(source) for source in dataset_of(settings).sources(root, settings)]
    if not sources:
        raise InputError(
            f"has no clip in the layout of --dataset {settings.dataset}.", path=root, hint="Check --root and --dataset."
        )
    twice = [i for i, count in Counter(source.id for source in sources).items() if count > 1]
    assert not twice, f"dataset {settings.dataset} lists {twice[0]} twice"
    for source in sources:
        check_name(source.id, what="the clip id", path=root, hint=f"Rename {source.video}.")
    return sources


def _escaped_names(source: Source) -> Source:
    """The source with texts that every file can hold, though a folder's name may give its speaker."""
    clip_id, speaker, split = (escape_invalid(text) for text in (source.id, source.speaker, source.split))
    return replace(source, id=clip_id, speaker=speaker, split=split)


def _planned(root: Path, cache: Path, sources: Sequence[Source], settings: PrepareSettings, tools: Tools) -> CachePlan:
    """The cache's plan: a new one, or the saved one extended by new sources and extractors."""
    plan = CachePlan.load(cache)
    if plan is not None:  # auto keeps the choice made when the cache was started
        chosen = {name: plan.settings[name] for name in ("face", "crop") if getattr(settings, name) == AUTO}
        settings = settings.model_copy(update=chosen)
    elif settings.crop == AUTO and not any(source.cropped for source in sources):
        settings = settings.model_copy(update={"crop": "face"})
    facts = tools.facts(settings)
    if plan is None:
        if settings.face == AUTO and (note := stand_in(facts["face"])):
            console().print(note)
        added = {f"extractor {name}": facts.pop(f"extractor {name}") for name in tools.afterwards(settings)}
        first = tuple(name for name in settings.extract if f"extractor {name}" in facts)
        settings = settings.model_copy(update={"face": facts["face"], "extract": first})
        groups = make_groups(sources, size=settings.size)
        plan = CachePlan(str(root), settings.model_dump(mode="json"), facts, groups, added)
    else:
        # a root that is not there was moved: its files are compared with those that the clips were made from
        same = root if Path(plan.root).exists() else Path(plan.root)
        check_same(plan, root=same, settings=settings, facts=facts, cache=cache)
        new = {k: v for k, v in facts.items() if k.startswith("extractor ") and k not in plan.facts}
        plan = replace(plan.grown(sources), added={**plan.added, **new})
    plan.save(cache)
    return plan


def _changed(root: Path, cache: Path, plan: CachePlan, sources: Sequence[Source]) -> list[Source]:
    """The sources whose files have changed since their clips were processed."""
    owners, by_id, changed = plan.owners(), {source.id: source for source in sources}, set[str]()
    for number in plan.current():
        part = part_path(cache, number)
        if part.exists():
            since = part.stat().st_mtime_ns
            rows = {i: row for row in read_part(part) if owners.get(i := listed_id(row)) == number and i in by_id}
            changed |= {i for i, row in rows.items() if has_changed(row, by_id[i], root=root, since=since)}
    return [source for source in sources if source.id in changed]


def _print_state(done: int, *, of: int, changed: int) -> None:
    screen = console()
    if changed:
        screen.print(f"processing again: {counted(changed, 'clip')} changed since the last run")
    if 0 < done < of:
        screen.print(f"resuming: {done} of {counted(of, 'clip')} already done")


def _run_with_progress(reports: Iterator[GroupReport], label: str, *, clips: int) -> None:
    """Run the groups, showing clips done and frames per second; unexpected errors are printed."""
    begun, frames, bad = time.monotonic(), 0, 0
    with meter(label, total=clips, unit="clips") as bar:
        for report in reports:
            frames += report.frames
            bad += sum(report.quarantined.values())
            rate = frames / max(time.monotonic() - begun, 1e-9)
            for fault in report.faults:
                bar.say(fault if os.environ.get("DAWN_BENCH_DEBUG") else fault.partition("\n")[0])
            bar.advance(report.clips, note=f"{rate:.0f} frames/s" + (f", {bad} left out" if bad else ""))
