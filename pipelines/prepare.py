"""From videos to a cache: list the sources, plan, run what is not done, index.

A run on an existing cache continues it: finished groups stay, new clips become new groups, and extractors that were
not there are computed from the cached arrays.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dawn_bench.cache import INDEX_FILE, OK, SCHEMA_VERSION, SETTINGS_FILE
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.pipelines.executor import Engine, run
from dawn_bench.pipelines.group import ClipTools, GroupReport, Job, Tools, summary
from dawn_bench.pipelines.plan import PARTS, PLAN_FILE, Plan, check_same, make_groups, part_path, read_part
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.shards import TEMPORARY, write_atomic
from dawn_bench.pipelines.source import DATASETS, Source
from dawn_bench.progress import meter
from dawn_bench.provenance import versions

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class PrepareReport:
    """What a cache holds after a run. `resumed` clips were there before it; `wall` is seconds that it took.

    `incomplete` counts, by extractor added later, the usable clips that go without its fields.
    """

    cache: Path
    ok: int
    quarantined: Mapping[str, int]
    frames: int
    seconds: float
    wall: float
    resumed: int = 0
    incomplete: Mapping[str, int] = field(default_factory=dict)

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
    Raises `InputError` when there is nothing to prepare, no clip could be used, another run holds the cache, the disk
    is full, or the cache was made with other settings (`overwrite` makes it anew).
    """
    begun = time.monotonic()
    root, cache, tools = root.resolve(), cache.resolve(), tools or ClipTools()
    sources = list_sources(root, settings)
    _make_folder(cache)
    with _locked(cache):
        if overwrite:
            _empty(cache)
        _sweep(cache)
        plan = _planned(root, cache, sources, settings, tools)
        made = PrepareSettings.model_validate(plan.settings)
        by_id = {source.id: source for source in sources}

        def job(number: int, extractor: str | None = None) -> Job:
            ids = plan.groups[number]
            here = {i: by_id[i] for i in ids if i in by_id}
            return Job(cache, root, number, ids, here if extractor is None else {}, made, tools, extractor)

        def work(todo: list[Job], label: str, resumed: int = 0) -> list[GroupReport]:
            reports = run(todo, workers=jobs, engine=engine, address=address)
            return _watched(reports, label, total=sum(len(job.ids) for job in todo), resumed=resumed)

        numbers = range(len(plan.groups))
        done = {n for n in numbers if part_path(cache, n).exists()}
        reports = [summary(n, read_part(part_path(cache, n)), clips=len(plan.groups[n])) for n in sorted(done)]
        resumed = sum(report.clips for report in reports)
        incomplete = {}
        try:
            reports += work([job(n) for n in numbers if n not in done], "prepare", resumed)
            for name in (key.removeprefix("extractor ") for key in plan.added):
                work([job(n, name) for n in numbers if not part_path(cache, n, extractor=name).exists()], name)
                parts = [read_part(part_path(cache, n, extractor=name)) for n in numbers]
                incomplete[name] = sum(row["status"] != OK for part in parts for row in part)
        finally:
            _sweep(cache, ended=True)
        write_index(cache, plan)
    report = _report(cache, reports, wall=time.monotonic() - begun, resumed=resumed, incomplete=incomplete)
    if not report.ok:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.quarantined.items())
        raise InputError(
            f"none of the {report.clips} clips could be used ({reasons}).",
            path=root,
            mend=f"Each one's reason: dawn-bench cache stats {cache}",
        )
    return report


def list_sources(root: Path, settings: PrepareSettings) -> list[Source]:
    """The dataset's sources; raises `InputError` when the root is absent or holds none."""
    if not root.is_dir():
        raise InputError("is not a folder." if root.exists() else "does not exist.", path=root, mend="Check --root.")
    sources = list(DATASETS[settings.dataset](root, settings))
    if not sources:
        raise InputError(
            f"has no video that --dataset {settings.dataset} knows.", path=root, mend="Check --root and --dataset."
        )
    twice = [i for i, count in Counter(source.id for source in sources).items() if count > 1]
    assert not twice, f"dataset {settings.dataset} lists {twice[0]} twice"
    return sources


def write_index(cache: Path, plan: Plan) -> None:
    """Make `index.parquet` and `cache.json` from the parts of a finished plan."""
    import pandas as pd

    rows: dict[str, dict[str, Any]] = {}
    for number in range(len(plan.groups)):
        for row in read_part(part_path(cache, number)):
            rows[row["id"]] = row
        for key in plan.added:
            for row in read_part(part_path(cache, number, extractor=key.removeprefix("extractor "))):
                rows[row["id"]]["fields"].update(row["fields"])
    flat = [_flat(row) for _, row in sorted(rows.items())]
    table = pd.DataFrame(flat, columns=_ordered(flat))
    for name in table.columns:
        kinds = {type(v) for v in table[name] if v is not None and v == v}  # NaN is the one that differs from itself
        if len(kinds - {list}) > 1 and not kinds <= {int, float}:
            table[name] = table[name].map(lambda v: v if v is None or v != v else str(v))
    temporary = cache / f".{INDEX_FILE}{TEMPORARY}"
    table.to_parquet(temporary, index=False)
    write_atomic(cache / INDEX_FILE, temporary.read_bytes())
    temporary.unlink()
    facts = {
        "schema": SCHEMA_VERSION,
        "dataset": plan.settings["dataset"],
        "size": plan.settings["size"],
        "fps": FPS,
        "root": plan.root,
        "settings": plan.settings,
        "fingerprints": {**plan.facts, **plan.added},
        "versions": versions(),
    }
    write_atomic(cache / SETTINGS_FILE, f"{json.dumps(facts, indent=1)}\n".encode())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A part's row as a row of the index: `meta` beside the facts, `fields` as `field.property`."""
    meta = {
        key.replace(".", "_"): value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
        for key, value in row.get("meta", {}).items()
    }
    fields = {f"{name}.{key}": value for name, at in row["fields"].items() for key, value in at.items()}
    return {**{k: v for k, v in row.items() if k not in ("meta", "fields")}, **meta, **fields}


def _ordered(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns: facts, then meta, then fields, by name."""
    fixed = ["id", "speaker", "split", "n_frames", "status", "reason", "detail", "source", "source_sha256"]
    others = {key for row in rows for key in row} - set(fixed)
    return [*fixed, *sorted(k for k in others if "." not in k), *sorted(k for k in others if "." in k)]


def _planned(root: Path, cache: Path, sources: Sequence[Source], settings: PrepareSettings, tools: Tools) -> Plan:
    """The saved plan, made now or brought up to what is there and asked for now."""
    plan = Plan.load(cache)
    if plan is not None and settings.face == "auto":  # auto means what it meant when the cache was begun
        settings = settings.model_copy(update={"face": plan.settings["face"]})
    facts = tools.facts(settings)
    if plan is None:
        added = {f"extractor {name}": facts.pop(f"extractor {name}") for name in tools.afterwards(settings)}
        first = tuple(name for name in settings.extract if f"extractor {name}" in facts)
        settings = settings.model_copy(update={"face": facts["face"], "extract": first})
        groups = make_groups(sources, size=settings.size)
        plan = Plan(str(root), settings.model_dump(mode="json"), facts, groups, added)
    else:
        check_same(plan, root=root, settings=settings, facts=facts, cache=cache)
        new = {k: v for k, v in facts.items() if k.startswith("extractor ") and k not in plan.facts}
        plan = replace(plan.grown(sources), added={**plan.added, **new})
    plan.save(cache)
    return plan


def _watched(work: Iterator[GroupReport], label: str, *, total: int, resumed: int) -> list[GroupReport]:
    """The reports of running groups, with a progress bar of clips and frames a second."""
    if not total:
        return []
    reports: list[GroupReport] = []
    begun, frames, bad = time.monotonic(), 0, 0
    with meter(label, total=total, unit="clips") as bar:
        if resumed:
            bar.say(f"going on: {resumed} clips are done already")
        for report in work:
            reports.append(report)
            frames += report.frames
            bad += sum(report.quarantined.values())
            rate = frames / max(time.monotonic() - begun, 1e-9)
            bar.advance(report.clips, note=f"{rate:.0f} frames/s" + (f", {bad} quarantined" if bad else ""))
    return reports


def _report(cache: Path, groups: Sequence[GroupReport], **more: Any) -> PrepareReport:
    reasons: Counter[str] = Counter()
    for group in groups:
        reasons.update(group.quarantined)
    frames = sum(group.frames for group in groups)
    ok = sum(group.clips for group in groups) - reasons.total()
    return PrepareReport(cache, ok, dict(sorted(reasons.items())), frames, frames / FPS, **more)


def _make_folder(cache: Path) -> None:
    if cache.is_dir():
        ours = (PLAN_FILE, SETTINGS_FILE, LOCK_FILE)
        if any(cache.iterdir()) and not any((cache / name).exists() for name in ours):
            raise InputError("is a folder with other things in it.", path=cache, mend="Give an empty or new --cache.")
    elif cache.exists():
        raise InputError("is a file.", path=cache, mend="Give a folder as --cache.")
    cache.mkdir(parents=True, exist_ok=True)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Hold the cache; the lock falls with the process, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(cache / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            "is being prepared by another run.", path=cache, mend="Wait for it, or give another --cache."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _sweep(cache: Path, *, ended: bool = False) -> None:
    """Remove what interrupted workers left; until the run has `ended`, the marks of unfinished groups are evidence."""
    for pattern in (f".*{TEMPORARY}", f"*/.*{TEMPORARY}", f"{PARTS}/*/.*{TEMPORARY}"):
        for path in cache.glob(pattern):
            path.unlink(missing_ok=True)
    for mark in (cache / PARTS).rglob("*.running"):
        if ended or mark.with_suffix(".json").exists():
            mark.unlink(missing_ok=True)


def _empty(cache: Path) -> None:
    """Remove a cache's own files: the index first and the plan last, so that what is half removed is never taken
    for a cache, nor for a part of the next one.
    """
    for name in (SETTINGS_FILE, INDEX_FILE):
        (cache / name).unlink(missing_ok=True)
    if (cache / PARTS).exists():
        shutil.rmtree(cache / PARTS)
    for shard in cache.glob("*/*.safetensors"):
        shard.unlink()
    (cache / PLAN_FILE).unlink(missing_ok=True)
