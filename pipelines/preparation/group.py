"""One worker's unit of work: one group of clips, from sources to shards to the part that marks it as finished."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dawn_bench.cache import OK, QUARANTINED, shard_array
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.preparation.origin import DATASET_CROP, crop_text, origin
from dawn_bench.pipelines.preparation.plan import listed_id, part_path, read_part, write_part
from dawn_bench.pipelines.preparation.shards import ShardWriter
from dawn_bench.pipelines.preparation.sinks import ClipSink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.stopping import end_with
from dawn_bench.storage import raise_if_refused, storage_error
from dawn_bench.weights_needs import check_needs

WORKER_DIED, FAILED = "worker_died", "failed"
#: Fields whose rows are the frames of the clip; a dataset has pictures or meshes.
FRAME_FIELDS = ("frames", "vertices")


class Tools(Protocol):
    """What is done to a clip: `ClipTools` for videos, `MeshTools` for meshes, small stand-ins in tests."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """Fingerprints of what computes the fields: `face`, `face fingerprint`, and `extractor NAME` for each one."""

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        """The clips of a source: itself, or its scenes as parts of it where `settings.on_cut` asks for them.

        Raises `ItemError` when the source cannot be read.
        """

    def process(self, source: Source, settings: PrepareSettings, sink: ClipSink) -> dict[str, Any]:
        """Write the arrays of one source to `sink` and return its `meta`; raises `ItemError` if it cannot be used."""

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        """Those of `settings.extract` that need the cached frames: they run later, by `extract`."""

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Run one extractor on the cached arrays of a clip of `n_frames` frames of `size` px; returns its fields."""


class ClipTools:
    """Decoding, face tracking and extraction of a video clip, as in `Tools`."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """Fingerprints; raises `InputError` for a back end or extractor that cannot run here.

        Their files are looked at too, since a cache is bound to the files that it is started with.
        """
        from dawn_bench.pipelines.extractors.base import EXTRACTORS, check_runnable
        from dawn_bench.pipelines.faces.base import backend_name, declared_weights, pick_backend
        from dawn_bench.pipelines.media.decoders.base import PYAV, check_decoder

        check_needs(declared_weights(backend_name(settings.face)))
        backend = pick_backend(settings.face)
        check_runnable(settings.extract)
        names = {f"extractor {name}": EXTRACTORS[name]().fingerprint() for name in settings.extract}
        facts = {"face": backend.name, "face fingerprint": backend.fingerprint(), **names}
        return facts if settings.decoder == PYAV else {**facts, "decoder fingerprint": check_decoder(settings.decoder)}

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        """The scenes of a video, or the video itself."""
        from dawn_bench.pipelines.preparation.process import split_at_cuts

        return split_at_cuts(source) if settings.on_cut == "split" else [source]

    def process(self, source: Source, settings: PrepareSettings, sink: ClipSink) -> dict[str, Any]:
        """Decode, track, crop and extract (`process_clip`)."""
        from dawn_bench.pipelines.faces.base import pick_backend
        from dawn_bench.pipelines.preparation.process import process_clip

        return process_clip(source, settings, pick_backend(settings.face), sink)

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        """The extractors that need frames."""
        from dawn_bench.pipelines.extractors.base import EXTRACTORS

        return [name for name in settings.extract if "frames" in EXTRACTORS[name].needs]

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Run the extractor called `name`."""
        from dawn_bench.pipelines.extractors.base import EXTRACTORS

        return EXTRACTORS[name]().run(arrays, size=size, n_frames=n_frames)


@dataclass(frozen=True)
class GroupJob:
    """One group for one worker, with everything that it needs; small enough to send to another machine.

    Args:
        cache: the cache's folder.
        root: the dataset's folder.
        number: of the group.
        ids: of the listed clips of the group.
        sources: by id, those that still exist.
        settings: as planned.
        tools: what is done to a clip.
        extractor: None to process `sources`; else the extractor whose fields are added to the finished group.
        owner: process whose death ends the work; None where it may run on another machine.
        killers: clips on which a worker process died.
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
        """The file that marks the group as finished."""
        return part_path(self.cache, self.number, extractor=self.extractor)

    @property
    def marker(self) -> Path:
        """A file that exists while a worker processes the group; it names the current clip."""
        return self.part.with_suffix(".running")


@dataclass(frozen=True)
class GroupReport:
    """The result of one group.

    Args:
        number: of the group.
        clips: listed clips; split into scenes, they may be more.
        frames: of its usable clips.
        quarantined: how many clips could not be used, by reason.
        faults: unexpected errors, one for each clip that was left out for it: a line, then the traceback.
    """

    number: int
    clips: int
    frames: int
    quarantined: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def process_group(job: GroupJob) -> GroupReport:
    """Process one group and commit it: shards first, then its part. Raises `InputError` when the disk is full."""
    if job.part.exists():  # a cluster may send a job twice
        return summary(job.number, read_part(job.part), clips=len(job.ids))
    _set_up_worker(job)
    faults: list[str] = []
    try:
        job.part.parent.mkdir(parents=True, exist_ok=True)
        rows = _process_clips(job, faults) if job.extractor is None else _extract_clips(job, faults)
        write_part(job.part, rows)
    except OSError as error:
        raise storage_error(error, path=job.cache) or error from None
    finally:
        with suppress(OSError):  # of a disk that became read-only
            job.marker.unlink(missing_ok=True)  # only a dead process leaves it behind
    return replace(summary(job.number, rows, clips=len(job.ids)), faults=tuple(faults))


def summary(number: int, rows: Sequence[Mapping[str, Any]], *, clips: int) -> GroupReport:
    """The report of group `number`, of `clips` listed clips, counted from the rows of its part."""
    reasons: dict[str, int] = {}
    for row in rows:
        if row.get("status") == QUARANTINED:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return GroupReport(number, clips, sum(row.get("n_frames", 0) for row in rows), reasons)


def _process_clips(job: GroupJob, faults: list[str]) -> list[dict[str, Any]]:
    """Process every clip of the group; returns their rows of the index, with what was written under `fields`."""
    clips = [scene for clip_id in job.ids for scene in _scenes(job, clip_id, faults)]
    packed = ("frames",) if job.settings.frames == "lossless" else ()
    with ShardWriter(job.cache, number=job.number, ids=[clip.id for clip in clips], packed=packed) as writer:
        rows = [_clip_row(job, clip, writer, faults) for clip in clips]
        _check_owner(job)
        writer.close()
    return rows


def _scenes(job: GroupJob, clip_id: str, faults: list[str]) -> list[Source]:
    """A listed clip, or its scenes: `talk@000`, `talk@001`, ... (no dataset has an @ in its ids).

    A clip that cannot be read stays one clip, with its `problem` set.
    """
    source = job.sources.get(clip_id)
    if source is None:
        problem = "missing_file", "the file was there when the cache was planned"
        return [Source(clip_id, speaker="", split="", video=Path(os.devnull), problem=problem)]
    if source.problem is not None or clip_id in job.killers:
        return [source]
    _check_owner(job)
    _mark(job, clip_id)
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


def _clip_row(job: GroupJob, source: Source, writer: ShardWriter, faults: list[str]) -> dict[str, Any]:
    """Process one clip into `writer`."""
    _check_owner(job)
    facts: dict[str, Any] = {"speaker": source.speaker, "split": source.split, **origin(source, root=job.root)}
    if source.stop is not None or source.start:  # part of a file, seconds
        facts |= {"start": source.start, "stop": source.stop}
    if source.crop is not None:
        facts[DATASET_CROP] = crop_text(source)
    facts |= {key: source.meta[key] for key in ("scene_of", "scene") if key in source.meta}
    try:
        if source.id in job.killers:
            raise ItemError(WORKER_DIED, "the worker process died on it, twice")
        if source.problem is not None:
            raise ItemError(*source.problem)
        _mark(job, source.id)
        sink = _GroupSink(writer, job, source.id)
        try:
            meta = {**source.meta, **job.tools.process(source, job.settings, sink)}
        except InputError:
            raise  # it concerns the run, not this clip
        except Exception as error:
            if sink.failure is None:
                raise _as_item(error, source.id, faults) from error
        if sink.failure is not None:  # a full disk is not the clip's fault, regardless of the error it caused
            raise sink.failure
        if not sink.frames:
            raise ItemError("unreadable", "no frame was read")
    except ItemError as error:
        writer.rollback()
        return _quarantined(source.id, error, facts)
    row = {"id": source.id, **facts, "n_frames": sink.frames, "status": OK, "reason": "", "detail": ""}
    return {**row, "meta": {k: v for k, v in meta.items() if k not in row}, "fields": writer.finish()}


def _extract_clips(job: GroupJob, faults: list[str]) -> list[dict[str, Any]]:
    """Run one extractor over the usable clips of a finished group; a clip that it cannot use goes without."""
    parts = read_part(part_path(job.cache, job.number))
    usable = [row for row in parts if row["status"] == OK and listed_id(row) in job.ids]
    with ShardWriter(job.cache, number=job.number, ids=[row["id"] for row in usable]) as writer:
        rows = [_extract_row(job, row, writer, faults) for row in usable]
        _check_owner(job)
        writer.close()
    return rows


def _extract_row(job: GroupJob, row: Mapping[str, Any], writer: ShardWriter, faults: list[str]) -> dict[str, Any]:
    assert job.extractor is not None
    clip_id, known = row["id"], {key: row[key] for key in ("scene_of",) if key in row}
    arrays = {f: shard_array(job.cache, at["shard"], at["key"]) for f, at in row["fields"].items()}
    _mark(job, clip_id)
    sink = _GroupSink(writer, job, clip_id)
    try:
        if clip_id in job.killers:
            raise ItemError(WORKER_DIED, "the worker process died on it, twice")
        try:
            extracted = job.tools.extract(job.extractor, arrays, size=job.settings.size, n_frames=row["n_frames"])
            for name, array in extracted.items():
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


def _mark(job: GroupJob, clip_id: str) -> None:
    """Name the clip that is being processed in the group's marker.

    In a new file: a file that is cut to nothing and written again is flushed to the disk by ext4, which takes 5 ms.
    """
    job.marker.unlink(missing_ok=True)
    job.marker.write_text(clip_id)


def _as_item(error: Exception, clip_id: str, faults: list[str]) -> ItemError:
    """The error of one clip; an unexpected one is also added to `faults`.

    Raises `StorageError` for what the system refuses (`dawn_bench.storage`), which is not the clip's fault.
    """
    raise_if_refused(error)
    if isinstance(error, ItemError):
        return error
    if isinstance(error, MemoryError):
        return ItemError("oom", "it needs more memory than there is")
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


class _GroupSink:
    """The current clip's sink: counts frames, and keeps the error of a disk that refused them."""

    def __init__(self, writer: ShardWriter, job: GroupJob, clip_id: str) -> None:
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


def _set_up_worker(job: GroupJob) -> None:
    """In a worker process: leave Ctrl-C to the parent, and use one core."""
    if job.owner in (None, os.getpid()) or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(job.owner)
    import cv2

    cv2.setNumThreads(1)


def _check_owner(job: GroupJob) -> None:
    """Exit a worker whose run was killed: another run may already be writing the same group."""
    if job.owner is not None and job.owner not in (os.getpid(), os.getppid()):
        os._exit(1)
