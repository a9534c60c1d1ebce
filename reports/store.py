"""The results store: a folder of append-only score rows, the list of gallery videos and the facts of a run.

* `RESULTS/rows/*.jsonl`: one file per run, one score a line; `reports.current` says which of them hold
* `RESULTS/gallery.json`: the videos that the report shows, and `RESULTS/gallery.jsonl`: those added since
* `RESULTS/facts.json`: title, notes, loss curves, learning signals, data, machine, versions, timings
* `RESULTS/gallery/`, `RESULTS/curves/`: videos and logs from elsewhere that these two name

A results folder may come from anybody. What it names is shown only if it lies in the folder, links resolved.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, field_validator

from dawn_bench.config import Config
from dawn_bench.errors import ItemError
from dawn_bench.files import VIDEO_SUFFIXES, replacing, sealed, sync, unsealed, write_atomic
from dawn_bench.locks import in_turn
from dawn_bench.metrics.protocols.base import piece_words
from dawn_bench.names import check_name, inside, owned
from dawn_bench.progress import console
from dawn_bench.readers import finite, fitted, parse_json, read_json, shortened
from dawn_bench.reports.current import current
from dawn_bench.results import LearningSignal, ScoreRow
from dawn_bench.storage import raise_if_refused, writing
from dawn_bench.utf8 import escape_invalid, escape_invalid_values

_FIX = "Correct or delete it."
#: Suffix of the logs that loss curves are read from.
CURVE_SUFFIX = ".jsonl"
#: The list of the gallery, and what was added to it since.
GALLERY, GALLERY_LOG = "gallery.json", "gallery.jsonl"
#: The locks of those who merge into a file, and of those who write a report.
MERGE_LOCK, REPORT_LOCK = ".merge.lock", ".report.lock"


class GalleryItem(Config):
    """One video of the gallery: its clip, the method that generated it, and the video file in the results folder.

    Items of one clip are shown side by side, in the order in which they were added. `data` is the hash of the clip's
    dataset (`ScoreRow.data`), empty in items of earlier versions.
    """

    clip_id: str
    method: str
    video: Path
    note: str = ""
    data: str = ""
    _root: Path | None = PrivateAttr(None)  # of the results folder that lists it

    def replaces(self, old: GalleryItem) -> bool:
        """Whether it is the same clip of the same method, or its file was overwritten by this one's."""
        if (self.clip_id, self.method) != (old.clip_id, old.method):
            return False
        return old.data in ("", self.data) or self.video.absolute() == old.video.absolute()

    def file(self) -> Path:
        """The video file; raises `ItemError` unless it is a video, and in the results folder that lists it."""
        path = self.video if self._root is None else inside(self._root, self.video)
        if path is None:
            raise ItemError(
                "outside", f"{shortened(self.video.name)} is not in the results folder: evaluate again to add it"
            )
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise ItemError("no_video", f"{path.name} is not a video file")
        if not path.is_file():
            raise ItemError("missing", f"the video is missing: {shortened(self.video.name)}")
        return path

    def of(self, root: Path) -> GalleryItem:
        """This item as listed by the results folder `root`, with an absolute path."""
        item = self.model_copy(update={"video": root.absolute() / self.video})
        item._root = root
        return item


#: Largest score, time or cost that a row may state: far beyond any, and within what plots and tables can show.
LARGEST_SCORE = 1e15
Seconds = Annotated[float, Field(ge=0, le=LARGEST_SCORE, allow_inf_nan=False)]
#: Levels of lists and mappings in the facts.
DEEPEST = 8


class Facts(Config):
    """What the report shows in addition to scores.

    `notes` are sentences for the banner of the page. `curves` are loss curves by stage: a list of points
    `{"step": int, <loss>: float, ...}`, or the path of a run's `metrics.jsonl` in the results folder. `timings` are
    seconds by part.
    """

    title: str = ""
    created: str = ""
    notes: list[str] = Field(default_factory=list)
    curves: dict[str, list[dict[str, Any]] | Path] = Field(default_factory=dict, max_length=64)
    learning: list[LearningSignal] = Field(default_factory=list)
    dataset: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, Seconds] = Field(default_factory=dict)

    @field_validator("dataset", "machine", "curves")
    @classmethod
    def _flat(cls, value: dict[str, Any]) -> dict[str, Any]:
        if _depth(value) > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} times")
        return value


class ResultsStore:
    """The store in the folder `root`. Nothing is written and no folder created before the first append."""

    def __init__(self, root: Path) -> None:
        self.root = root
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._file = root / "rows" / f"{stamp}-{os.getpid()}-{secrets.token_hex(2)}.jsonl"

    def append(self, rows: Iterable[ScoreRow]) -> None:
        """Append rows in one durable write; rows without a `created` time get the current one."""
        now = ScoreRow.now()
        stamped = (row if row.created else row.model_copy(update={"created": now}) for row in rows)
        stored = (row.model_copy(update=escape_invalid_values(dict(row))).model_dump_json() for row in stamped)
        lines = [json.dumps(sealed(json.loads(row)), ensure_ascii=False) for row in stored]
        owned(self.root, "rows")
        with writing(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        append_lines(self._file, lines)

    def rows(self) -> list[ScoreRow]:
        """The rows that hold (`reports.current`), in order of creation.

        A damaged line is skipped with a warning; rows of outputs that were replaced are left out with a warning.
        """
        read: list[tuple[str, str, int, ScoreRow]] = []
        for path in sorted((self.root / "rows").glob("*.jsonl")):
            for number, line in enumerate(_lines(path), start=1):
                if not line.strip():
                    continue
                try:
                    row = _plausible(ScoreRow.model_validate(unsealed(parse_json(line))))
                except (ValueError, TypeError, AttributeError):  # ValidationError is a ValueError
                    _warn(f"{path}: line {number} is damaged (interrupted run?) and was skipped.")
                    continue
                read.append((row.created, path.name, number, row))
        read.sort(key=lambda entry: entry[:3])
        holding, stale = current([row for *_, row in read])
        names: dict[str, list[str]] = {}
        for row in stale:
            pieces = f", {piece_words(row.piece_length)}" if row.piece_length else ""
            where = f"{row.method} on {row.dataset}, {row.split}{pieces}"
            names.setdefault(where, []).append(row.label or row.metric)
        for where, metrics in names.items():
            _warn(
                f"{where}: the outputs have changed since {', '.join(metrics)} were scored: left out. Evaluate again."
            )
        return holding

    def add_gallery(self, items: Sequence[GalleryItem]) -> None:
        """Add videos; an item replaces an older one of the same clip and method.

        A video that lies elsewhere gets a second name in the results folder, or is copied to it. Items are appended to
        a log, which becomes part of the list when it is as long: each item is written about twice, however many
        methods are added one after the other.
        """
        if not items:
            return
        log, listed = self.root / GALLERY_LOG, self.root / GALLERY
        with self._merging():
            kept = [item.model_copy(update={"video": self._relative(self._kept(item))}) for item in items]
            lines = [_as_json(sealed(item.model_dump(mode="json"))) for item in kept]
            append_lines(log, lines)
            if not listed.exists() or log.stat().st_size >= listed.stat().st_size:
                stored = (i.model_copy(update={"video": self._relative(i.video)}) for i in self.gallery())
                self._write(GALLERY, [i.model_dump(mode="json") for i in stored])
                log.unlink()  # a log that stays after a kill is applied again, which changes nothing

    def gallery(self) -> list[GalleryItem]:
        """The gallery's items with absolute paths. Raises `InputError` when gallery.json cannot be read.

        A damaged line of the log is skipped with a warning.
        """
        stored = self._read(GALLERY, list)
        items = fitted(list[GalleryItem], stored, path=self.root / GALLERY, hint=_FIX)
        merged = [item.of(self.root) for item in items]
        places: dict[tuple[str, str], list[int]] = {}
        for number, item in enumerate(merged):
            places.setdefault((item.clip_id, item.method), []).append(number)
        for item in self._added():
            own = places.setdefault((item.clip_id, item.method), [])
            place = next((k for k in own if item.replaces(merged[k])), len(merged))
            merged[place : place + 1] = [item]
            if place not in own:
                own.append(place)
        return merged

    def _added(self) -> Iterator[GalleryItem]:
        """The items of the log, in the order in which they were added."""
        path = self.root / GALLERY_LOG
        for number, line in enumerate(_lines(path) if path.exists() else (), start=1):
            try:
                yield GalleryItem.model_validate(unsealed(parse_json(line))).of(self.root)
            except (ValueError, TypeError, AttributeError):
                _warn(f"{path}: line {number} is damaged (interrupted run?) and was skipped.")

    def set_facts(self, facts: Facts) -> None:
        """Merge the set fields of `facts` into the stored ones: mappings by key, other fields replaced as a whole.

        The logs of curves that lie elsewhere are copied to the results folder.
        """
        with self._merging():
            merged = self.facts().model_dump()
            for name in facts.model_fields_set:
                value = facts.model_dump()[name]
                if name == "curves":
                    value = {k: self._kept_curve(k, v) if isinstance(v, Path) else v for k, v in value.items()}
                merged[name] = merged[name] | value if isinstance(value, dict) else value
            self._write("facts.json", Facts.model_validate(merged).model_dump(mode="json"))

    def facts(self) -> Facts:
        """The facts, empty where none were set. Raises `InputError` naming the first invalid field."""
        data = self._read("facts.json", dict)
        return fitted(Facts, data, path=self.root / "facts.json", hint=_FIX)

    def curve(self, curve: list[dict[str, Any]] | Path) -> list[dict[str, Any]]:
        """The points of one loss curve, read from the run's file where the facts name one."""
        if not isinstance(curve, Path):
            return curve
        path = inside(self.root, curve)
        if path is None or path.suffix != CURVE_SUFFIX:
            _warn(f"{self.root / curve}: is not a log in the results folder; the report omits this loss curve.")
            return []
        if not path.is_file():
            _warn(f"{path}: this loss curve no longer exists; the report omits it.")
            return []
        return list(_points(path))

    def _kept(self, item: GalleryItem) -> Path:
        """The item's video in the results folder."""
        source = item.video
        if inside(self.root, source.absolute()) is not None or not source.is_file():
            return source
        method = check_name(item.method, what="the method's name")
        target = self.root / "gallery" / method / f"{check_name(item.clip_id, what='the clip id')}{source.suffix}"
        self._make(target.parent)
        if target.exists() and target.samefile(source):
            return target
        with replacing(target) as temporary:
            try:
                os.link(source.resolve(), temporary)
            except OSError:  # another file system
                shutil.copyfile(source, temporary)
        return target

    def _kept_curve(self, name: str, log: Path) -> Path:
        """The path of a log relative to the results folder."""
        if inside(self.root, log.absolute()) is not None or not log.is_file():
            return self._relative(log)
        target = self.root / "curves" / f"{check_name(name, what='the curve')}{CURVE_SUFFIX}"
        self._make(target.parent)
        write_atomic(target, "".join(f"{json.dumps(point)}\n" for point in _points(log)).encode())
        return self._relative(target)

    def _make(self, folder: Path) -> None:
        """Create a folder of the store; raises `InputError` where a link leads out of the store."""
        owned(self.root, folder.relative_to(self.root))
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _merging(self) -> Iterator[None]:
        """Other processes that merge into a file of this folder wait: none of them loses another's entries."""
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        with in_turn(self.root / MERGE_LOCK):
            yield

    def _relative(self, path: Path) -> Path:
        """A path inside the store relative to it, so that the folder can be moved; other paths absolute."""
        full, root = path.absolute(), self.root.absolute()
        return full.relative_to(root) if full.is_relative_to(root) else full

    def _read(self, name: str, kind: type[list] | type[dict]) -> Any:
        path = self.root / name
        return read_json(path, kind, hint=_FIX) if path.exists() else kind()

    def _write(self, name: str, data: object) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomic(self.root / name, f"{_as_json(data, indent=1)}\n".encode())


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a log in one durable write. One that a killed process cut short does not swallow the first."""
    data = "".join(f"{line}\n" for line in lines).encode()
    with writing(path):
        with path.open("a+b", buffering=0) as file:  # a buffer would be written again when it is closed
            before = file.seek(0, os.SEEK_END)
            file.seek(max(0, before - 1))
            cut = file.read(1) not in (b"", b"\n")
            rest = memoryview(b"\n" * cut + data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                os.truncate(path, before)  # half a line of a full disk would be reported for ever
                raise
            os.fsync(file.fileno())
        sync(path.parent)  # the file may be new


def _as_json(data: object, *, indent: int | None = None) -> str:
    """`data` as JSON; names of files that are no UTF-8 are stored so that the files can be opened."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return text if escape_invalid(text) == text else json.dumps(data, indent=indent)


def _depth(value: object) -> int:
    """Levels of lists and mappings in a value, counted up to one more than `DEEPEST`."""
    level, depth = [value], 0
    while depth <= DEEPEST:
        level = [i for v in level if isinstance(v, dict | list) for i in (v.values() if isinstance(v, dict) else v)]
        if not level:
            break
        depth += 1
    return depth


def _plausible(row: ScoreRow) -> ScoreRow:
    """`row` itself; raises `ValueError` where a number of it cannot be one of a score, so that no plot can draw it."""
    numbers = [row.value, row.low, row.high, row.wall_seconds, *row.per_clip.values(), *row.over_time,
               *row.cost.values()]  # fmt: skip
    if any(n is not None and not (finite(n) and abs(n) <= LARGEST_SCORE) for n in numbers):
        raise ValueError("a number is out of range")
    if not 0 <= row.coverage <= 1 or min(row.n_clips, row.n_frames) < 0:
        raise ValueError("a count is out of range")
    return row


def _lines(path: Path) -> list[bytes]:
    """The lines of a file; none, with a warning, where it cannot be read."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise OSError(errno.EINVAL, "it is not a regular file")
        return path.read_bytes().splitlines()
    except OSError as error:
        raise_if_refused(error)
        _warn(f"{path}: cannot be read ({error.strerror}) and was skipped.")
        return []


def _points(path: Path) -> Iterator[dict[str, Any]]:
    """The points of a training log: one JSON object a line. A damaged line is skipped with a warning."""
    for number, line in enumerate(_lines(path), start=1):
        try:
            point = json.loads(line)
        except (ValueError, RecursionError):
            point = None
        if isinstance(point, dict):
            yield point
        else:
            _warn(f"{path}: line {number} is damaged and was skipped.")


def _warn(line: str) -> None:
    console().print(f"warning: {line}")
