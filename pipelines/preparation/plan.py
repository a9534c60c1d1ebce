"""The plan of a cache: which clips go into which group of shards, decided once, before any work.

A group is one worker's list of clips and becomes one shard per field. A small file, its part, marks it as finished;
the index is written from the parts. So a run can stop anywhere and resumes with the groups that have no part.

    plan.json                      the settings, and the clip ids of every group
    parts/00012.json               the rows of a finished group
    parts/hubert/00012.json        the rows that an extractor added later wrote for it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dawn_bench.clip import FPS
from dawn_bench.config import validated
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import write_atomic
from dawn_bench.names import check_name, name_fault, shard_fault
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.media.decoding import opened
from dawn_bench.pipelines.media.limits import LONGEST_CLIP
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import fitted, read_json

PLAN_FILE, PARTS = "plan.json", "parts"
PLAN_SCHEMA = 1
_ANEW = "Prepare with --overwrite."
_REDO = "Delete it: its clips are then processed again."

#: Bytes of frames that one shard should hold, and the minimum number of groups, so that every worker gets work.
SHARD_BYTES = 256 * 2**20
MIN_GROUPS = 16
#: Clips opened to learn how many seconds a byte of this dataset is.
_PROBES = 16


@dataclass(frozen=True)
class _Stored:
    """Where an array of a clip is: what `ShardWriter.finish` returns."""

    shard: str
    key: str
    dtype: str
    shape: list[int]
    sha256: str


@dataclass(frozen=True)
class _PartRow:
    """The entries of a part's row that are read again; rows have more, by dataset."""

    id: str
    status: str
    n_frames: Annotated[int, Field(ge=0)]
    fields: dict[str, _Stored]
    scene_of: str = ""
    speaker: str = ""
    split: str = ""
    reason: str = ""
    detail: str = ""
    meta: dict[str, Any] = dataclass_field(default_factory=dict)


@dataclass(frozen=True)
class CachePlan:
    """What a cache will contain.

    Args:
        root: folder of the dataset.
        settings: `PrepareSettings` as JSON.
        facts: fingerprints of what computes the fields: `face`, `face fingerprint`, `extractor NAME`, ...
        groups: clip ids of each group; a group's number is its index.
        added: `extractor NAME` and fingerprint of extractors added after the plan was created.
    """

    root: str
    settings: dict[str, Any]
    facts: dict[str, str]
    groups: tuple[tuple[str, ...], ...]
    added: dict[str, str]

    def save(self, cache: Path) -> None:
        """Write `plan.json`."""
        write_atomic(cache / PLAN_FILE, self.text())

    def text(self) -> bytes:
        """The content of `plan.json`."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return f"{json.dumps({'schema': PLAN_SCHEMA, **entries}, indent=1)}\n".encode()

    @staticmethod
    def load(cache: Path) -> CachePlan | None:
        """The cache's plan, None if it has none; raises `InputError` for a plan of another version."""
        path = cache / PLAN_FILE
        if not path.is_file():
            return None
        data = read_json(path, dict, hint=_ANEW)
        if data.pop("schema", None) != PLAN_SCHEMA:
            raise InputError("was planned by another version of dawn-bench.", path=cache, hint=_ANEW)
        plan = fitted(CachePlan, data, path=path, hint=_ANEW)
        validated(PrepareSettings, plan.settings, what="setting of the plan,", file=path)
        for name in (*plan.added, *plan.facts):
            check_name(name.removeprefix("extractor "), what="the extractor", path=path, hint=_ANEW)
        return plan

    def grown(self, sources: Sequence[Source]) -> CachePlan:
        """This plan, extended by groups for the sources that are not in it."""
        known = {clip_id for group in self.groups for clip_id in group}
        new = [source for source in sources if source.id not in known]
        if not new:
            return self
        return self.redone(new)

    def redone(self, sources: Sequence[Source]) -> CachePlan:
        """This plan, extended by groups for these sources; their rows in older groups no longer count."""
        return replace(self, groups=(*self.groups, *make_groups(sources, size=self.settings["size"])))

    def owners(self) -> dict[str, int]:
        """By clip id, the number of the latest group that the clip is in: the one that counts."""
        return {clip_id: number for number, ids in enumerate(self.groups) for clip_id in ids}

    def current(self) -> list[int]:
        """The numbers of the groups that have clips that count, in order."""
        return sorted(set(self.owners().values()))


def make_groups(
    sources: Sequence[Source], *, size: int, shard_bytes: int = SHARD_BYTES, min_groups: int = MIN_GROUPS
) -> tuple[tuple[str, ...], ...]:
    """Ids of `sources`, sorted and cut into consecutive groups of about `shard_bytes` of frames of `size` px.

    There are at least `min_groups` groups where there are as many clips. Depends on the sources alone.
    """
    ordered = sorted(sources, key=lambda source: source.id)
    seconds = estimate_seconds(ordered)
    frame_bytes = FPS * size * size * 3
    total = sum(seconds.values())
    count = min(len(ordered), max(min_groups, round(total * frame_bytes / shard_bytes)))
    target = total / count
    groups: list[list[str]] = [[]]
    before = 0.0  # seconds of the clips already placed
    for place, source in enumerate(ordered):
        left = count - len(groups)
        full = before >= target * len(groups) or len(ordered) - place <= left
        if groups[-1] and left and full:
            groups.append([])
        groups[-1].append(source.id)
        before += seconds[source.id]
    return tuple(tuple(group) for group in groups)


def estimate_seconds(sources: Sequence[Source]) -> dict[str, float]:
    """By clip id, roughly how long each source is, in seconds.

    Parts of files state it. Whole files are estimated from their size, at the rate of a few files that are opened.
    """
    whole = [s for s in sources if s.stop is None and s.problem is None]
    bytes_of = {s.id: _size(s.video) for s in whole}
    rates = []
    for source in whole[:: max(1, len(whole) // _PROBES)][:_PROBES]:
        duration = _container_seconds(source.video)
        if duration and bytes_of[source.id]:
            rates.append(duration / bytes_of[source.id])
    rate = sorted(rates)[len(rates) // 2] if rates else 1e-5
    return {
        s.id: (
            1e-3 if s.problem is not None
            else max(s.stop - s.start, 1e-3) if s.stop is not None
            else max(bytes_of[s.id] * rate - s.start, 1e-3)
        )
        for s in sources
    }  # fmt: skip


def _size(video: Path) -> int:
    try:
        return video.stat().st_size
    except OSError:  # gone or unreadable: processing it says so
        return 0


def _container_seconds(video: Path) -> float | None:
    import av

    try:
        with opened(video) as container:
            seconds = (container.duration or 0) / av.time_base
            return seconds if 0 < seconds < LONGEST_CLIP else None
    except ItemError:
        return None


def check_same(
    plan: CachePlan, *, root: Path, settings: PrepareSettings, facts: Mapping[str, str], cache: Path
) -> None:
    """Raise an `InputError` that names the differences when `plan` was created for another root, settings or facts."""
    asked = {**comparable(settings), "root": str(root), **facts}
    there = {**comparable(PrepareSettings.model_validate(plan.settings)), "root": plan.root, **plan.facts, **plan.added}
    different = [
        f"{name} {there[name]!r} (now {value!r})"
        for name, value in asked.items()
        if name in there and there[name] != value
    ]
    if different:
        like = plan.settings.get("like")
        first = f"Add --like {like}, give" if like is not None and like != settings.like else "Give"
        raise InputError(
            f"was prepared with {', '.join(different)}.",
            path=cache,
            hint=f"{first} another --cache, or --overwrite to replace it.",
        )


def comparable(settings: PrepareSettings) -> dict[str, Any]:
    """The settings that must not change between two runs on one cache.

    The face back end is compared as a fact, and a recipe by the settings that it stands for.
    """
    return settings.model_dump(mode="json", exclude={"extract", "face", "like"})


def part_path(cache: Path, number: int, *, extractor: str | None = None) -> Path:
    """The part file of a group, or of an extractor added later for it."""
    folder = cache / PARTS if extractor is None else cache / PARTS / extractor
    return folder / f"{number:05d}.json"


def listed_id(row: Mapping[str, Any]) -> str:
    """The id under which the dataset lists the clip of a row: several scenes may belong to one listed clip."""
    return row.get("scene_of", row["id"])


def write_part(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the part of a group, which marks it as finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, part_text(rows))


def part_text(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The content of a part."""
    return f"{json.dumps(list(rows), indent=0, sort_keys=True)}\n".encode()


def read_part(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished group; raises `InputError` where they are damaged or name another shard."""
    rows = read_json(path, list, hint=_REDO)
    fitted(list[_PartRow], rows, path=path, hint=_REDO)
    for row in rows:
        for field, at in row["fields"].items():
            if (fault := name_fault(field) or shard_fault(at["shard"], field=field)) is not None:
                raise InputError(f"{field} of clip {row['id']!r} {fault}.", path=path, hint="Prepare with --overwrite.")
    return rows
