"""What one worker does: one group of clips, from sources to shards to the part that says that it is done."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dawn_bench.cache import OK, QUARANTINED, open_shard
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.plan import part_path, read_part, write_part
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.shards import ShardWriter
from dawn_bench.pipelines.source import Source
from dawn_bench.provenance import sha256_file

WORKER_DIED = "worker_died"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Sink(Protocol):
    """Where a processor puts the arrays of the clip at hand."""

    def append(self, field: str, rows: np.ndarray) -> None:
        """Add `rows` (n, ...) along axis 0 of `field`."""


class Tools(Protocol):
    """What is done to a clip. `ClipTools` is the real thing; tests bring tiny ones."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """What computes: `face`, `face fingerprint`, and `extractor NAME` (its fingerprint) for each one."""

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
        from dawn_bench.pipelines.faces.base import pick_backend
        from dawn_bench.pipelines.features.base import EXTRACTORS

        backend = pick_backend(settings.face)
        names = {}
        for name in settings.extract:
            extractor = EXTRACTORS[name]()
            if lacking := getattr(extractor, "missing", lambda: None)():
                raise InputError(f"the extractor {name!r} cannot run: {lacking}.", mend="See: dawn-bench weights list")
            names[f"extractor {name}"] = extractor.fingerprint()
        return {"face": backend.name, "face fingerprint": backend.fingerprint(), **names}

    def process(self, source: Source, settings: PrepareSettings, sink: Sink) -> dict[str, Any]:
        from dawn_bench.pipelines.faces.base import pick_backend
        from dawn_bench.pipelines.process import process_clip

        return process_clip(source, settings, pick_backend(settings.face), sink)

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        from dawn_bench.pipelines.features.base import EXTRACTORS

        return [name for name in settings.extract if "frames" in EXTRACTORS[name]().needs]

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        from dawn_bench.pipelines.features.base import EXTRACTORS

        return EXTRACTORS[name]().run(arrays, size=size, n_frames=n_frames)


@dataclass(frozen=True)
class Job:
    """One group for one worker: everything it needs, small enough to send anywhere.

    `extractor` None: process `sources`; else add that extractor's fields to the finished group. `owner` is the
    process whose death ends the work (None: another machine may own it). `killers` are clips that killed a worker.
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
    """What came of one group."""

    number: int
    clips: int
    frames: int
    quarantined: Mapping[str, int] = field(default_factory=dict)


def process_group(job: Job) -> GroupReport:
    """Do one group and commit it: shards first, then its part. Raises `InputError` when the disk is full."""
    if job.part.exists():  # a cluster may ask twice
        return summary(job.number, read_part(job.part), clips=len(job.ids))
    _settle_worker(job)
    job.part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ShardWriter(job.cache, number=job.number, ids=job.ids) as writer:
            rows = _extract_rows(job, writer) if job.extractor else [_clip_row(job, i, writer) for i in job.ids]
            _check_owner(job)
            writer.close()
        write_part(job.part, rows)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"the disk is full ({error.strerror}).",
                path=job.cache,
                mend="Free some space and run it again: it goes on.",
            ) from None
        raise
    finally:
        job.marker.unlink(missing_ok=True)  # only a dead process leaves it behind
    return summary(job.number, rows, clips=len(job.ids))


def summary(number: int, rows: Sequence[Mapping[str, Any]], *, clips: int) -> GroupReport:
    """Counts of the rows of a part of a group of `clips` clips."""
    reasons: dict[str, int] = {}
    for row in rows:
        if row.get("status") == QUARANTINED:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return GroupReport(number, clips, sum(row.get("n_frames", 0) for row in rows), reasons)


def _clip_row(job: Job, clip_id: str, writer: ShardWriter) -> dict[str, Any]:
    """Process one clip into `writer`; its row of the index, with the arrays under `fields`."""
    _check_owner(job)
    source = job.sources.get(clip_id)
    if source is None:
        empty = {"speaker": "", "split": "", "source": "", "source_sha256": ""}
        return _quarantined(clip_id, empty, "missing_file", "the file was there when the cache was planned")
    facts = {
        "speaker": source.speaker,
        "split": source.split,
        "source": _relative(source.video, job.root),
        "source_sha256": _file_hash(source.video),
    }
    try:
        if clip_id in job.killers:
            raise ItemError(WORKER_DIED, "the worker process died on it, twice")
        if source.problem is not None:
            raise ItemError(*source.problem)
        job.marker.write_text(clip_id)
        sink = _Sink(writer, job)
        writer.begin(clip_id)
        try:
            meta = {**source.meta, **job.tools.process(source, job.settings, sink)}
        except InputError:
            raise  # about the run, not about this clip
        except Exception as error:
            if sink.failure is None:
                raise error if isinstance(error, ItemError) else _unexpected(error) from error
        if sink.failure is not None:  # whatever the processor made of it, a full disk is no fault of the clip
            raise sink.failure
        if not sink.frames:
            raise ItemError("unreadable", "no frame was read")
    except ItemError as error:
        writer.rollback()
        return _quarantined(clip_id, facts, error.reason, error.detail)
    row = {"id": clip_id, **facts, "n_frames": sink.frames, "status": OK, "reason": "", "detail": ""}
    return {**row, "meta": {k: v for k, v in meta.items() if k not in row}, "fields": writer.finish()}


def _unexpected(error: Exception) -> ItemError:
    return ItemError("failed", f"{type(error).__name__}: {error}")


def _quarantined(clip_id: str, facts: Mapping[str, str], reason: str, detail: str) -> dict[str, Any]:
    detail = " ".join(detail.split())
    return {
        "id": clip_id,
        **facts,
        "n_frames": 0,
        "status": QUARANTINED,
        "reason": reason,
        "detail": detail,
        "fields": {},
    }


def _extract_rows(job: Job, writer: ShardWriter) -> list[dict[str, Any]]:
    """Run one extractor over the usable clips of a finished group; a clip that it cannot use goes without."""
    assert job.extractor is not None
    rows = []
    for row in read_part(part_path(job.cache, job.number)):
        if row["status"] != OK:
            continue
        arrays = {f: open_shard(job.cache / at["shard"])[at["key"]] for f, at in row["fields"].items()}
        job.marker.write_text(row["id"])
        try:
            if row["id"] in job.killers:
                raise ItemError(WORKER_DIED, "the worker process died on it, twice")
            made = job.tools.extract(job.extractor, arrays, size=job.settings.size, n_frames=row["n_frames"])
        except ItemError as error:
            rows.append(
                {"id": row["id"], "status": QUARANTINED, "reason": error.reason, "detail": error.detail, "fields": {}}
            )
            continue
        writer.begin(row["id"])
        for name, array in made.items():
            _check_owner(job)
            writer.append(name, array)
        rows.append({"id": row["id"], "status": OK, "n_frames": row["n_frames"], "fields": writer.finish()})
    return rows


class _Sink:
    """The current clip's sink: counts frames and remembers a disk that refused them."""

    def __init__(self, writer: ShardWriter, job: Job) -> None:
        self._writer, self._job = writer, job
        self.frames = 0
        self.failure: OSError | None = None

    def append(self, field: str, rows: np.ndarray) -> None:
        _check_owner(self._job)
        try:
            self._writer.append(field, rows)
        except OSError as error:
            self.failure = error
            raise
        if field == "frames":
            self.frames += len(rows)


def _relative(path: Path, root: Path) -> str:
    """`path` below `root` as text that every file format can hold, whatever bytes the name is made of."""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(shown.as_posix()).decode("utf-8", "replace")


def _file_hash(path: Path) -> str:
    try:
        state = path.stat()
        return _hash(path, state.st_size, state.st_mtime_ns)
    except OSError:
        return ""


@lru_cache(maxsize=64)  # several clips may be stretches of one file
def _hash(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


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
