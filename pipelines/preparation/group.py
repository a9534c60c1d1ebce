"""What one worker does: one group of clips, from sources to shards to the part that says that it is done."""

from __future__ import annotations

import errno
import os
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dawn_bench.cache import OK, QUARANTINED, open_shard
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation.origin import origin
from dawn_bench.pipelines.preparation.plan import listed_id, part_path, read_part, write_part
from dawn_bench.pipelines.preparation.shards import ShardWriter
from dawn_bench.pipelines.settings import PrepareSettings

WORKER_DIED, FAILED = "worker_died", "failed"
#: Fields with a row a frame of the clip; a dataset has pictures or meshes.
FRAME_FIELDS = ("frames", "vertices")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Sink(Protocol):
    """Where a processor puts the arrays of the clip at hand."""

    def append(self, field: str, rows: np.ndarray) -> None:
        """Add `rows` (n, ...) along axis 0 of `field`."""

    def restart(self) -> None:
        """Forget the rows of the clip."""


class Tools(Protocol):
    """What is done to a clip. `ClipTools` is the real thing; tests bring tiny ones."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """What computes: `face`, `face fingerprint`, and `extractor NAME` (its fingerprint) for each one."""

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        """The clips that a source is: itself, or its scenes where `settings.on_cut` asks for them, as stretches of it.

        Raises `ItemError` when it cannot be read.
        """

    def process(self, source: Source, settings: PrepareSettings, sink: Sink) -> dict[str, Any]:
        """Write the arrays of one source to `sink`; raises `ItemError` when it cannot be used."""

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        """Those of `settings.extract` that need the cached frames: `process` leaves them to `extract`."""

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Run one extractor on cached arrays."""


class ClipTools:
    """Decoder, face back end and extractors of this package."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        from dawn_bench.pipelines.extractors.base import EXTRACTORS
        from dawn_bench.pipelines.faces.base import pick_backend

        backend = pick_backend(settings.face)
        names = {}
        for name in settings.extract:
            if lacking := EXTRACTORS[name].missing():
                raise InputError(f"the extractor {name!r} cannot run: {lacking}.", hint="See: dawn-bench weights list")
            names[f"extractor {name}"] = EXTRACTORS[name]().fingerprint()
        return {"face": backend.name, "face fingerprint": backend.fingerprint(), **names}

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        from dawn_bench.pipelines.preparation.process import split_at_cuts

        return split_at_cuts(source) if settings.on_cut == "split" else [source]

    def process(self, source: Source, settings: PrepareSettings, sink: Sink) -> dict[str, Any]:
        from dawn_bench.pipelines.faces.base import pick_backend
        from dawn_bench.pipelines.preparation.process import process_clip

        return process_clip(source, settings, pick_backend(settings.face), sink)

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        from dawn_bench.pipelines.extractors.base import EXTRACTORS

        return [name for name in settings.extract if "frames" in EXTRACTORS[name].needs]

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        from dawn_bench.pipelines.extractors.base import EXTRACTORS

        return EXTRACTORS[name]().run(arrays, size=size, n_frames=n_frames)


@dataclass(frozen=True)
class Job:
    """One group for one worker: everything it needs, small enough to send anywhere.

    `extractor` None: process `sources`; else add that extractor's fields to these clips of the finished group.
    `owner` is the process whose death ends the work (None: another machine may own it). `killers` are clips that
    killed a worker.
    """

    cache: Path
    root: Path
    number: int
    ids: tuple[str, ...]
    sources: Mapping[str, Source]
    settings: PrepareSettings
    tools: Tools
    extractor: str | None = None
    owner: int | None = None
    killers: frozenset[str] = frozenset()

    @property
    def part(self) -> Path:
        """The file that says that the group is done."""
        return part_path(self.cache, self.number, extractor=self.extractor)

    @property
    def marker(self) -> Path:
        """A file that is there while a worker has the group; it names the clip at hand."""
        return self.part.with_suffix(".running")


@dataclass(frozen=True)
class GroupReport:
    """What came of one group of `clips` listed clips, which may be more once they are split into scenes.

    `faults` are the errors that nobody foresaw, one for each clip left out for it: a line, then the traceback.
    """

    number: int
    clips: int
    frames: int
    quarantined: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def process_group(job: Job) -> GroupReport:
    """Do one group and commit it: shards first, then its part. Raises `InputError` when the disk is full."""
    if job.part.exists():  # a cluster may ask twice
        return summary(job.number, read_part(job.part), clips=len(job.ids))
    _settle_worker(job)
    job.part.parent.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    try:
        rows = _process_clips(job, faults) if job.extractor is None else _extract_clips(job, faults)
        write_part(job.part, rows)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"the disk is full ({error.strerror}).",
                path=job.cache,
                hint="Free some space and run it again: it goes on.",
            ) from None
        raise
    finally:
        job.marker.unlink(missing_ok=True)  # only a dead process leaves it behind
    return replace(summary(job.number, rows, clips=len(job.ids)), faults=tuple(faults))


def summary(number: int, rows: Sequence[Mapping[str, Any]], *, clips: int) -> GroupReport:
    """Counts of the rows of a part of a group of `clips` listed clips."""
    reasons: dict[str, int] = {}
    for row in rows:
        if row.get("status") == QUARANTINED:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return GroupReport(number, clips, sum(row.get("n_frames", 0) for row in rows), reasons)


def _process_clips(job: Job, faults: list[str]) -> list[dict[str, Any]]:
    """Process every clip of the group; their rows of the index, with the arrays under `fields`."""
    clips = [scene for clip_id in job.ids for scene in _scenes(job, clip_id, faults)]
    packed = ("frames",) if job.settings.frames == "lossless" else ()
    with ShardWriter(job.cache, number=job.number, ids=[clip.id for clip in clips], packed=packed) as writer:
        rows = [_clip_row(job, clip, writer, faults) for clip in clips]
        _check_owner(job)
        writer.close()
    return rows


def _scenes(job: Job, clip_id: str, faults: list[str]) -> list[Source]:
    """A listed clip, or its scenes: `talk@000`, `talk@001`, ... (no dataset has an @ in its ids).

    A clip that cannot be looked at has its problem, and is still one clip.
    """
    source = job.sources.get(clip_id)
    if source is None:
        problem = "missing_file", "the file was there when the cache was planned"
        return [Source(clip_id, speaker="", split="", video=Path(os.devnull), problem=problem)]
    if source.problem is not None or clip_id in job.killers:
        return [source]
    _check_owner(job)
    job.marker.write_text(clip_id)
    try:
        scenes = job.tools.scenes(source, job.settings)
    except InputError:
        raise
    except Exception as error:
        item = _as_item(error, clip_id, faults)
        return [replace(source, problem=(item.reason, item.detail))]
    if len(scenes) == 1:
        return [source]
    return [
        replace(scene, id=f"{clip_id}@{k:03d}", meta={**source.meta, "scene_of": clip_id, "scene": k})
        for k, scene in enumerate(scenes)
    ]


def _clip_row(job: Job, source: Source, writer: ShardWriter, faults: list[str]) -> dict[str, Any]:
    """Process one clip into `writer`."""
    _check_owner(job)
    facts: dict[str, Any] = {"speaker": source.speaker, "split": source.split, **origin(source, root=job.root)}
    if source.stop is not None:  # a stretch of a file, seconds
        facts |= {"start": source.start, "stop": source.stop}
    facts |= {key: source.meta[key] for key in ("scene_of", "scene") if key in source.meta}
    try:
        if source.id in job.killers:
            raise ItemError(WORKER_DIED, "the worker process died on it, twice")
        if source.problem is not None:
            raise ItemError(*source.problem)
        job.marker.write_text(source.id)
        sink = _Sink(writer, job, source.id)
        try:
            meta = {**source.meta, **job.tools.process(source, job.settings, sink)}
        except InputError:
            raise  # about the run, not about this clip
        except Exception as error:
            if sink.failure is None:
                raise _as_item(error, source.id, faults) from error
        if sink.failure is not None:  # whatever the processor made of it, a full disk is no fault of the clip
            raise sink.failure
        if not sink.frames:
            raise ItemError("unreadable", "no frame was read")
    except ItemError as error:
        writer.rollback()
        return _quarantined(source.id, error, facts)
    row = {"id": source.id, **facts, "n_frames": sink.frames, "status": OK, "reason": "", "detail": ""}
    return {**row, "meta": {k: v for k, v in meta.items() if k not in row}, "fields": writer.finish()}


def _extract_clips(job: Job, faults: list[str]) -> list[dict[str, Any]]:
    """Run one extractor over the usable clips of a finished group; a clip that it cannot use goes without."""
    parts = read_part(part_path(job.cache, job.number))
    usable = [row for row in parts if row["status"] == OK and listed_id(row) in job.ids]
    with ShardWriter(job.cache, number=job.number, ids=[row["id"] for row in usable]) as writer:
        rows = [_extract_row(job, row, writer, faults) for row in usable]
        _check_owner(job)
        writer.close()
    return rows


def _extract_row(job: Job, row: Mapping[str, Any], writer: ShardWriter, faults: list[str]) -> dict[str, Any]:
    assert job.extractor is not None
    clip_id, known = row["id"], {key: row[key] for key in ("scene_of",) if key in row}
    arrays = {f: open_shard(job.cache / at["shard"])[at["key"]] for f, at in row["fields"].items()}
    job.marker.write_text(clip_id)
    sink = _Sink(writer, job, clip_id)
    try:
        if clip_id in job.killers:
            raise ItemError(WORKER_DIED, "the worker process died on it, twice")
        try:
            made = job.tools.extract(job.extractor, arrays, size=job.settings.size, n_frames=row["n_frames"])
            for name, array in made.items():
                sink.append(name, array)
        except InputError:
            raise
        except Exception as error:
            if sink.failure is not None:
                raise sink.failure from None
            raise _as_item(error, clip_id, faults) from error
    except ItemError as error:
        writer.rollback()
        return _quarantined(clip_id, error, known)
    return {"id": clip_id, **known, "status": OK, "n_frames": row["n_frames"], "fields": writer.finish()}


def _as_item(error: Exception, clip_id: str, faults: list[str]) -> ItemError:
    """The error of one clip; one that nobody foresaw is also put down in `faults`."""
    if isinstance(error, ItemError):
        return error
    item = ItemError(FAILED, f"{type(error).__name__}: {error}")
    line = " ".join(f"{clip_id} {item}".split())
    faults.append("\n".join([line, *traceback.format_exception(error)]))
    return item


def _quarantined(clip_id: str, error: ItemError, facts: Mapping[str, Any]) -> dict[str, Any]:
    detail = " ".join(error.detail.split())
    return {
        "id": clip_id,
        **facts,
        "n_frames": 0,
        "status": QUARANTINED,
        "reason": error.reason,
        "detail": detail,
        "fields": {},
    }


class _Sink:
    """The current clip's sink: counts frames and remembers a disk that refused them."""

    def __init__(self, writer: ShardWriter, job: Job, clip_id: str) -> None:
        self._writer, self._job = writer, job
        self.frames = 0
        self.failure: OSError | None = None
        writer.begin(clip_id)

    def append(self, field: str, rows: np.ndarray) -> None:
        _check_owner(self._job)
        try:
            self._writer.append(field, rows)
        except OSError as error:
            self.failure = error
            raise
        if field in FRAME_FIELDS:
            self.frames += len(rows)

    def restart(self) -> None:
        self._writer.restart()
        self.frames = 0


def _settle_worker(job: Job) -> None:
    """In a process of its own: leave Ctrl-C to the parent, and the cores to the other workers."""
    if job.owner in (None, os.getpid()) or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)


def _check_owner(job: Job) -> None:
    """End a worker whose run was killed: another run may be writing the same group by now."""
    if job.owner is not None and job.owner not in (os.getpid(), os.getppid()):
        os._exit(1)
