"""From videos to a cache: list the sources, plan, process what is not done yet, write the index.

A run on an existing cache resumes it: finished groups are kept, new clips and clips whose files changed become new
groups, and extractors that were added since are computed from the cached arrays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.files import TEMPORARY, is_temporary, replacing, write_atomic
from dawn_bench.locks import LOCK_FILE, exclusive
from dawn_bench.names import check_links, check_name, owned, shard_fault
from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.meshes.tools import mesh_tools
from dawn_bench.pipelines.preparation.executor import Engine, run
from dawn_bench.pipelines.preparation.group import ClipTools, GroupJob, GroupReport, Tools
from dawn_bench.pipelines.preparation.origin import has_changed
from dawn_bench.pipelines.preparation.plan import (
    PARTS,
    PLAN_FILE,
    CachePlan,
    check_same,
    listed_id,
    make_groups,
    part_path,
    read_part,
)
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.progress import console, meter
from dawn_bench.provenance import versions
from dawn_bench.readers import DamageError
from dawn_bench.text import counted
from dawn_bench.utf8 import escape_invalid, escape_invalid_values


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
) -> PrepareReport:
    """Prepare the dataset at `root` into the folder `cache` with `jobs` worker processes.

    The bytes of every shard depend on the sources and the settings, not on `jobs`, `engine` or interruptions.

    Args:
        root: folder of the dataset.
        cache: folder to write; it may hold a cache of the same settings, which is resumed.
        settings: what is computed and how.
        jobs: worker processes.
        engine: `loky` on this machine, or `dask` or `ray`.
        address: of the Dask or Ray cluster; None starts a local one.
        overwrite: delete an existing cache first, even one with other settings.
        tools: what is done to a clip; chosen by the dataset unless given.

    Raises `InputError` when there is nothing to prepare, no clip could be used, another run is using the cache, the
    disk is full, or the cache was prepared with other settings.
    """
    begun = time.monotonic()
    root, cache = root.resolve(), cache.resolve()
    sources = list_sources(root, settings)
    tools = tools or mesh_tools(root, settings) or ClipTools()
    _make_folder(cache)
    with exclusive(cache, doing="prepared", hint="Wait for it, or give another --cache."):
        _check_folders(cache)
        if overwrite:
            _empty(cache)
        _sweep(cache)
        plan = _planned(root, cache, sources, settings, tools)
        planned = PrepareSettings.model_validate(plan.settings)
        changed = _changed(root, cache, plan, sources)
        if changed:
            plan = plan.redone(changed)
            plan.save(cache)
        by_id, owners = {source.id: source for source in sources}, plan.owners()

        def job(number: int, extractor: str | None = None) -> GroupJob:
            ids = tuple(i for i in plan.groups[number] if owners[i] == number)
            here = {i: by_id[i] for i in ids if i in by_id}
            return GroupJob(cache, root, number, ids, here if extractor is None else {}, planned, tools, extractor)

        def work(numbers: Sequence[int], label: str, extractor: str | None = None) -> None:
            todo = [job(n, extractor) for n in numbers if not part_path(cache, n, extractor=extractor).exists()]
            if todo:
                with closing(run(todo, workers=jobs, engine=engine, address=address)) as reports:
                    _run_with_progress(reports, label, clips=sum(len(job.ids) for job in todo))

        numbers = range(len(plan.groups))
        done = {n for n in numbers if part_path(cache, n).exists()}
        _print_state(sum(n in done for n in owners.values()), of=len(owners), changed=len(changed))
        incomplete = {}
        try:
            work(numbers, "prepare")
            for name in (key.removeprefix("extractor ") for key in plan.added):
                work(numbers, name, name)
                parts = [read_part(part_path(cache, n, extractor=name)) for n in numbers]
                incomplete[name] = sum(row["status"] != OK for row in _current(parts, owners))
        finally:
            _sweep(cache, ended=True)
        rows = write_index(cache, plan, by_id)
        _drop_superseded(cache, plan)
    report = PrepareReport(
        cache,
        ok=sum(row["status"] == OK for row in rows),
        quarantined=dict(sorted(Counter(row["reason"] for row in rows if row["status"] != OK).items())),
        frames=sum(row["n_frames"] for row in rows),
        wall=time.monotonic() - begun,
        resumed=sum(owners[listed_id(row)] in done for row in rows),
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
    sources = [_escaped_names(source) for source in DATASETS[settings.dataset]().sources(root, settings)]
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


def write_index(cache: Path, plan: CachePlan, sources: Mapping[str, Source]) -> list[dict[str, Any]]:
    """Write `index.parquet` and `cache.json` from the parts of a finished plan; returns the clips' rows.

    Speaker and split are those that the dataset lists now (`sources` by id), not those at the time of processing.
    """
    import pandas as pd

    numbers, owners = range(len(plan.groups)), plan.owners()
    rows = {row["id"]: row for row in _current([read_part(part_path(cache, n)) for n in numbers], owners)}
    for name in (key.removeprefix("extractor ") for key in plan.added):
        for row in _current([read_part(part_path(cache, n, extractor=name)) for n in numbers], owners):
            if row["id"] not in rows:
                part = part_path(cache, owners[listed_id(row)], extractor=name)
                raise DamageError(f"has a clip {row['id']!r} that its group lacks.", path=part, hint="Delete it.")
            rows[row["id"]]["fields"].update(row["fields"])
            if row["status"] != OK:
                rows[row["id"]][f"without.{name}"] = f"{row['reason']}: {row['detail']}"
    relisted = 0
    for row in rows.values():
        if (source := sources.get(listed_id(row))) is not None:
            relisted += (row["speaker"], row["split"]) != (source.speaker, source.split)
            row |= {"speaker": source.speaker, "split": source.split}
    if relisted:
        have = f"{counted(relisted, 'clip')} {'has' if relisted == 1 else 'have'}"
        console().print(f"{have} another speaker or split than when prepared", markup=False)
    flat = [_flat(escape_invalid_values(row)) for _, row in sorted(rows.items())]
    table = pd.DataFrame(flat, columns=_ordered(flat))
    for name in table.columns:
        kinds = {type(v) for v in table[name] if v is not None and v == v}  # NaN is the one that differs from itself
        if len(kinds - {list}) > 1 and not kinds <= {int, float}:
            table[name] = table[name].map(lambda v: v if v is None or v != v else str(v))
    with replacing(cache / INDEX_FILE) as temporary, temporary.open("wb") as file:
        # by its name pandas opens a file only where that is UTF-8
        table.to_parquet(file, index=False, write_page_checksum=True)
    facts = {
        "schema": SCHEMA_VERSION,
        "dataset": plan.settings["dataset"],
        "size": plan.settings["size"],
        "fps": int(plan.facts.get("fps", FPS)),
        "root": escape_invalid(plan.root),
        "settings": escape_invalid_values(plan.settings),
        "fingerprints": {**plan.facts, **plan.added},
        "versions": versions(),
    }
    write_atomic(cache / SETTINGS_FILE, f"{json.dumps(facts, indent=1)}\n".encode())
    return list(rows.values())


def _current(parts: Sequence[Sequence[dict[str, Any]]], owners: Mapping[str, int]) -> list[dict[str, Any]]:
    """The rows of the parts of all groups, without clips that a later group processed again."""
    return [row for number, part in enumerate(parts) for row in part if owners.get(listed_id(row)) == number]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A part's row as a row of the index: `meta` as further columns, `fields` as columns `field.property`."""
    meta = {
        key.replace(".", "_"): value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
        for key, value in row.get("meta", {}).items()
    }
    fields = {f"{name}.{key}": value for name, at in row["fields"].items() for key, value in at.items()}
    return {**{k: v for k, v in row.items() if k not in ("meta", "fields")}, **meta, **fields}


def _ordered(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns in order: fixed ones, then `meta` by name, then fields by name."""
    fixed = ["id", "speaker", "split", "n_frames", "status", "reason", "detail", "source", "source_sha256"]
    others = {key for row in rows for key in row} - set(fixed)
    return [*fixed, *sorted(k for k in others if "." not in k), *sorted(k for k in others if "." in k)]


def _planned(root: Path, cache: Path, sources: Sequence[Source], settings: PrepareSettings, tools: Tools) -> CachePlan:
    """The cache's plan: a new one, or the saved one extended by new sources and extractors."""
    plan = CachePlan.load(cache)
    if plan is not None and settings.face == "auto":  # auto keeps the choice made when the cache was started
        settings = settings.model_copy(update={"face": plan.settings["face"]})
    facts = tools.facts(settings)
    if plan is None:
        added = {f"extractor {name}": facts.pop(f"extractor {name}") for name in tools.afterwards(settings)}
        first = tuple(name for name in settings.extract if f"extractor {name}" in facts)
        settings = settings.model_copy(update={"face": facts["face"], "extract": first})
        groups = make_groups(sources, size=settings.size)
        plan = CachePlan(str(root), settings.model_dump(mode="json"), facts, groups, added)
    else:
        check_same(plan, root=root, settings=settings, facts=facts, cache=cache)
        new = {k: v for k, v in facts.items() if k.startswith("extractor ") and k not in plan.facts}
        plan = replace(plan.grown(sources), added={**plan.added, **new})
    plan.save(cache)
    return plan


def _changed(root: Path, cache: Path, plan: CachePlan, sources: Sequence[Source]) -> list[Source]:
    """The sources whose files have changed since their clips were processed."""
    owners, rows, since = plan.owners(), dict[str, dict[str, Any]](), dict[int, int]()
    for number in set(owners.values()):
        part = part_path(cache, number)
        if part.exists():
            since[number] = part.stat().st_mtime_ns
            rows |= {i: row for row in read_part(part) if owners.get(i := listed_id(row)) == number}
    return [
        source
        for source in sources
        if source.id in rows and has_changed(rows[source.id], source, root=root, since=since[owners[source.id]])
    ]


def _print_state(done: int, *, of: int, changed: int) -> None:
    screen = console()
    if changed:
        screen.print(f"processing again: {counted(changed, 'clip')} changed since the last run", markup=False)
    if 0 < done < of:
        screen.print(f"resuming: {done} of {counted(of, 'clip')} already done", markup=False)


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
            bar.advance(report.clips, note=f"{rate:.0f} frames/s" + (f", {bad} quarantined" if bad else ""))


def _drop_superseded(cache: Path, plan: CachePlan) -> None:
    """Remove the shards of groups whose clips were all processed again by later groups."""
    current = set(plan.owners().values())
    for number in range(len(plan.groups)):
        if number not in current:
            for shard in _own(cache, f"*/*-{number:05d}.safetensors"):
                shard.unlink()


def _make_folder(cache: Path) -> None:
    if cache.is_dir():
        ours = (PLAN_FILE, SETTINGS_FILE, LOCK_FILE)
        if any(cache.iterdir()) and not any((cache / name).exists() for name in ours):
            raise InputError("is a folder with other files in it.", path=cache, hint="Give an empty or new --cache.")
    elif cache.exists():
        raise InputError("is a file.", path=cache, hint="Give a folder as --cache.")
    cache.mkdir(parents=True, exist_ok=True)


def _check_folders(cache: Path) -> None:
    """Raise `InputError` for a folder of the cache that is a link out of it: shards and parts would be written there.

    Shards that are links to files elsewhere are left alone: a new shard replaces the link.
    """
    for path in sorted(cache.iterdir()):
        if path.is_symlink() and not path.is_file():
            owned(cache, path.name)
    check_links(cache, PARTS)


def _sweep(cache: Path, *, ended: bool = False) -> None:
    """Remove what interrupted workers left behind: temporary files and markers of the cache's own names.

    The markers of unfinished groups stay until the run has `ended`: they tell which clip a worker died on.
    """
    for pattern in (f".*{TEMPORARY}", f"*/.*{TEMPORARY}", f"{PARTS}/*/.*{TEMPORARY}"):
        for path in _own(cache, pattern):
            # the cache is locked, so that no writer is alive; in earlier versions the names had no writer
            if is_temporary(path.name) or _is_ours(path.with_name(path.name[1 : -len(TEMPORARY)]), cache):
                with suppress(OSError):  # a disk that became read-only has its own message
                    path.unlink(missing_ok=True)
    for mark in _own(cache, f"{PARTS}/**/*.running"):
        if ended or mark.with_suffix(".json").exists():
            with suppress(OSError):
                mark.unlink(missing_ok=True)


def _is_ours(path: Path, cache: Path) -> bool:
    """Whether dawn-bench writes a file of this name at this place of a cache."""
    name = path.relative_to(cache).as_posix()
    if shard_fault(name, field=path.parent.name) is None or name in (SETTINGS_FILE, INDEX_FILE, PLAN_FILE):
        return True
    return name.startswith(f"{PARTS}/") and re.fullmatch(r"[0-9]{5,9}\.json", path.name) is not None


def _own(cache: Path, pattern: str) -> list[Path]:
    """The files of a cache that match; nothing is removed through a link to a folder, which may be anybody's."""
    return [path for path in cache.glob(pattern) if not any(p.is_symlink() for p in _parents(path, cache))]


def _parents(path: Path, cache: Path) -> list[Path]:
    """The folders between a file of the cache and the cache."""
    return list(path.parents)[: len(path.relative_to(cache).parts) - 1]


def _empty(cache: Path) -> None:
    """Remove a cache's own files: the index first and the plan last, so that a half-removed cache is never mistaken
    for a whole one, nor for a part of the next one.
    """
    for name in (SETTINGS_FILE, INDEX_FILE):
        (cache / name).unlink(missing_ok=True)
    if (cache / PARTS).exists():
        shutil.rmtree((cache / PARTS).resolve())  # a link to another folder of the cache is followed
    for shard in _own(cache, "*/*.safetensors"):
        if shard_fault(shard.relative_to(cache).as_posix(), field=shard.parent.name) is None:
            shard.unlink()
    (cache / PLAN_FILE).unlink(missing_ok=True)
