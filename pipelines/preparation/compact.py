"""Merges the small groups that a cache has grown by into groups of full size. Nothing is decoded or computed again.

The new groups are written beside the old ones, under numbers that no group has had. What is being done stands below
`parts/.compacting`, a name that no extractor can have:

    intent.json                    the plan it begins from, the groups that are merged, and the clips of the new ones
    00032.json, hubert/00032.json  the parts of a new group: its shards are complete
    plan.json                      the new plan: all new groups are complete

Until `plan.json` is there the cache is the old one, and the next run goes on. From then on `settle` takes the same
steps, however often it is stopped: parts, plan, index, and last the old shards go.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dawn_bench.cache import INDEX_FILE, Cache
from dawn_bench.errors import InputError
from dawn_bench.files import replacing, sync, user_path, write_atomic
from dawn_bench.locks import exclusive
from dawn_bench.names import check_links, owned
from dawn_bench.pipelines.preparation.folder import check_folders, drop_shards, shard_number, sweep
from dawn_bench.pipelines.preparation.plan import (
    PARTS,
    PLAN_FILE,
    SHARD_BYTES,
    CachePlan,
    listed_id,
    part_path,
    part_text,
    read_part,
)
from dawn_bench.pipelines.preparation.shards import merge_shards, shard_name
from dawn_bench.progress import track
from dawn_bench.readers import fitted, read_json

#: The folder of a compaction that is not finished, below `parts`.
WORK = ".compacting"
_INTENT = "intent.json"


@dataclass(frozen=True)
class CompactReport:
    """Groups of the cache before and after; the same number where there is nothing to merge."""

    before: int
    after: int


@dataclass(frozen=True)
class _Intent:
    """The sha256 of the plan that it begins from, the groups that are merged, and the clips of the new ones."""

    plan: str
    merged: tuple[int, ...]
    groups: tuple[tuple[str, ...], ...]


def compact(root: Path, *, shard_bytes: int = SHARD_BYTES) -> CompactReport:
    """Merge groups of less than half of `shard_bytes` of frames; a run that was stopped goes on.

    Readers that have the cache open find the arrays in their new places. The shards of the merged groups are on disk
    twice until the end. Raises `InputError` where the cache is being prepared, is not prepared to its end, or was not
    written by `prepare`, and `StorageError` when the disk is full.
    """
    root = user_path(root).resolve()
    Cache(root)  # its index is whole, and its names are plain
    with exclusive(root, doing="prepared", hint="Wait for it."):
        check_folders(root)
        before = _planned(root)
        sweep(root)
        settle(root, keep=True)
        plan = _planned(root)
        intent = _begun(root) or _begin(root, plan, shard_bytes)
        if intent is not None:
            first = len(plan.groups)
            part, owners = lru_cache(maxsize=64)(read_part), plan.owners()
            for place, ids in enumerate(track(intent.groups, "compact", unit="groups")):
                if not part_path(root, first + place, extractor=WORK).exists():
                    _merge(root, plan, first + place, ids, owners, part)
            groups = [() if n in set(intent.merged) else ids for n, ids in enumerate(plan.groups)]
            new = replace(plan, groups=(*groups, *intent.groups))
            write_atomic(root / PARTS / WORK / PLAN_FILE, new.text())
            settle(root)
        return CompactReport(len(before.current()), len(_planned(root).current()))


def settle(cache: Path, *, keep: bool = False) -> None:
    """End a compaction that was stopped, under the lock of the cache: finish one whose new groups are all written.

    Another one is dropped with what it has written, or left as it is with `keep`.
    """
    check_links(cache, PARTS)
    work = cache / PARTS / WORK
    if not work.is_dir():
        return
    plan = CachePlan.load(cache)
    if (work / PLAN_FILE).is_file():
        intent, new = _intent(cache), _loaded(work)
        for path in sorted(work.glob("**/*.json")):
            name = path.relative_to(work)
            if name.as_posix() not in (_INTENT, PLAN_FILE):
                owned(cache, PARTS, name.parent).mkdir(exist_ok=True)
                path.replace(cache / PARTS / name)
                sync((cache / PARTS / name).parent)
        new.save(cache)
        _rewrite_index(cache, new, intent)
        drop_shards(cache, set(intent.merged))
        _drop_parts(cache, set(intent.merged))
    elif keep:
        return
    elif plan is not None:
        first = len(plan.groups)
        drop_shards(cache, range(first, first + _planned_groups(work)))
    shutil.rmtree(work)


def _planned(root: Path) -> CachePlan:
    plan = CachePlan.load(root)
    if plan is None:
        raise InputError("has no plan: it was not written by prepare.", path=root)
    return plan


def _loaded(work: Path) -> CachePlan:
    plan = CachePlan.load(work)
    assert plan is not None
    return plan


def _planned_groups(work: Path) -> int:
    return len(_intent(work.parent.parent).groups) if (work / _INTENT).is_file() else 0


def _intent(cache: Path) -> _Intent:
    path, hint = cache / PARTS / WORK / _INTENT, "Prepare with --overwrite."
    return fitted(_Intent, read_json(path, dict, hint=hint), path=path, hint=hint)


def _begun(root: Path) -> _Intent | None:
    """The intent of a run that was stopped; one for another plan is dropped."""
    if not (root / PARTS / WORK / _INTENT).is_file():
        return None
    intent = _intent(root)
    if intent.plan == _digest(root):
        return intent
    settle(root)
    return None


def _begin(root: Path, plan: CachePlan, shard_bytes: int) -> _Intent | None:
    """What to merge; None where there is nothing. Raises `InputError` for a cache that is not prepared to its end."""
    names = [None, *(key.removeprefix("extractor ") for key in plan.added)]
    owners, frame_bytes = plan.owners(), 3 * int(plan.settings["size"]) ** 2
    size_of: dict[str, int] = {}
    merged: list[int] = []
    for number in plan.current():
        if any(not part_path(root, number, extractor=name).is_file() for name in names):
            raise InputError("is not prepared to its end.", path=root, hint="Run the same prepare command first.")
        sizes: dict[str, int] = {i: 0 for i in plan.groups[number] if owners[i] == number}
        for row in read_part(part_path(root, number)):
            if listed_id(row) in sizes:
                sizes[listed_id(row)] += row["n_frames"] * frame_bytes
        if sum(sizes.values()) < shard_bytes / 2:
            merged.append(number)
            size_of |= sizes
    groups = _cut(size_of, shard_bytes)
    if len(groups) >= len(merged):
        return None
    stale = {*range(len(plan.groups))} - {*plan.current()}  # their clips were all processed again
    intent = _Intent(_digest(root), (*merged, *sorted(stale)), groups)
    work = owned(root, PARTS, WORK)
    work.mkdir(exist_ok=True)
    write_atomic(work / _INTENT, f"{json.dumps(asdict(intent))}\n".encode())
    return intent


def _cut(size_of: Mapping[str, int], shard_bytes: int) -> tuple[tuple[str, ...], ...]:
    """The clips in order, cut into groups of about equal bytes, near `shard_bytes`."""
    total = sum(size_of.values())
    count = max(1, round(total / shard_bytes))
    groups: list[list[str]] = [[] for _ in range(count)]
    before = 0
    for clip_id in sorted(size_of):
        groups[min(count - 1, before * count // max(1, total))].append(clip_id)
        before += size_of[clip_id]
    return tuple(tuple(group) for group in groups if group)


def _merge(root: Path, plan: CachePlan, number: int, ids: Sequence[str], owners: Mapping[str, int], part: Any) -> None:
    """Write the shards and the parts of one new group from those of the groups that have its clips."""
    names = [*(key.removeprefix("extractor ") for key in plan.added), None]  # the group's own part last
    for name in names:
        paths = {n: part_path(root, n, extractor=name) for n in sorted({owners[i] for i in ids})}
        of_clip: dict[str, list[dict[str, Any]]] = {i: [] for i in ids}
        for old, path in paths.items():
            for row in part(path):
                if owners.get(listed_id(row)) == old and listed_id(row) in of_clip:
                    of_clip[listed_id(row)].append(row)
        rows = [row for i in ids for row in of_clip[i]]
        fields = sorted({field for row in rows for field in row["fields"]})
        for field in fields:
            places = [row["fields"][field] for row in rows if field in row["fields"]]
            merge_shards(root, field, number, [(at["shard"], at["key"]) for at in places])
        moved = [
            row | {"fields": {f: at | {"shard": shard_name(f, number)} for f, at in row["fields"].items()}}
            for row in rows
        ]
        new = root / PARTS / WORK / ("" if name is None else name) / f"{number:05d}.json"
        new.parent.mkdir(exist_ok=True)
        with replacing(new) as temporary:
            temporary.write_bytes(part_text(moved))
            # a source that changed after its clip was processed is known by the time of the part
            oldest = min(path.stat().st_mtime_ns for path in paths.values())
            os.utime(temporary, ns=(oldest, oldest))


def _rewrite_index(cache: Path, plan: CachePlan, intent: _Intent) -> None:
    """Replace the names of merged shards in the index; everything else in it stays as it is."""
    from pyarrow.parquet import ParquetFile, ParquetWriter

    merged = set(intent.merged)
    first = len(plan.groups) - len(intent.groups)
    group_of = {i: first + place for place, ids in enumerate(intent.groups) for i in ids}
    path = cache / INDEX_FILE
    if not path.is_file():  # preparing writes it again
        return
    with path.open("rb") as read, replacing(path) as temporary, temporary.open("wb") as written:
        file = ParquetFile(read, page_checksum_verification=True)
        with ParquetWriter(written, file.schema_arrow, write_page_checksum=True) as writer:
            for number in range(file.num_row_groups):
                writer.write_table(_renamed(file.read_row_group(number), merged, group_of))


def _renamed(table: Any, merged: set[int], group_of: Mapping[str, int]) -> Any:
    import pyarrow as pa

    ids = table.column("id").to_pylist()
    whole = table.column("scene_of").to_pylist() if "scene_of" in table.column_names else [None] * len(ids)
    groups = [group_of.get(of or clip_id) for clip_id, of in zip(ids, whole, strict=True)]
    for place, name in enumerate(table.column_names):
        if name.endswith(".shard"):
            field = name.removesuffix(".shard")
            column = table.column(name)
            renamed = [
                shard_name(field, group) if group is not None and shard_number(shard) in merged else shard
                for shard, group in zip(column.to_pylist(), groups, strict=True)
            ]
            table = table.set_column(place, table.schema.field(place), pa.array(renamed, column.type))
    return table


def _drop_parts(cache: Path, numbers: Collection[int]) -> None:
    for path in (cache / PARTS).glob("**/*.json"):
        if path.stem.isdecimal() and int(path.stem) in numbers and WORK not in path.parts:
            path.unlink()


def _digest(root: Path) -> str:
    return hashlib.sha256((root / PLAN_FILE).read_bytes()).hexdigest()
