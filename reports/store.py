"""The results store: a folder of append-only score rows, the list of gallery videos and the facts of a run.

* `RESULTS/rows/*.jsonl`: one file per run, one score a line; of rows with the same key (`KEY`) the last one counts
* `RESULTS/gallery.json`: the videos that the report shows
* `RESULTS/facts.json`: title, notes, loss curves, learning signals, data, machine, versions, timings
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.legible import legible
from dawn_bench.progress import console
from dawn_bench.results import LearningSignal, ScoreRow

#: Fields that identify a score.
KEY = ("method", "dataset", "split", "protocol", "metric")


class GalleryItem(Config):
    """One video of the gallery: its clip, the method that generated it, and the mp4 file.

    Items of one clip are shown side by side, in the order in which they were added.
    """

    clip_id: str
    method: str
    video: Path
    note: str = ""


class Facts(Config):
    """What the report shows in addition to scores.

    `notes` are sentences for the banner of the page. `curves` are loss curves by stage: a list of points
    `{"step": int, <loss>: float, ...}`, or the path of a run's `metrics.jsonl`. `timings` are seconds by part.
    """

    title: str = ""
    created: str = ""
    notes: list[str] = Field(default_factory=list)
    curves: dict[str, list[dict[str, Any]] | Path] = Field(default_factory=dict)
    learning: list[LearningSignal] = Field(default_factory=list)
    dataset: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)


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
        data = "".join(row.model_dump_json() + "\n" for row in stamped).encode()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())

    def rows(self) -> list[ScoreRow]:
        """The valid rows in order of creation. A damaged line is skipped with a warning."""
        read: list[tuple[str, str, int, ScoreRow]] = []
        for path in sorted((self.root / "rows").glob("*.jsonl")):
            for number, line in enumerate(path.read_bytes().splitlines(), start=1):
                if not line.strip():
                    continue
                try:
                    row = ScoreRow.model_validate_json(line)
                except ValidationError:
                    _warn(f"{path}: line {number} is damaged (interrupted run?) and was skipped.")
                    continue
                read.append((row.created, path.name, number, row))
        read.sort(key=lambda entry: entry[:3])
        last: dict[tuple[str, ...], ScoreRow] = {}
        for *_, row in read:
            key = tuple(getattr(row, name) for name in KEY)
            last.pop(key, None)  # so that the order remains that of creation
            last[key] = row
        return list(last.values())

    def add_gallery(self, items: Sequence[GalleryItem]) -> None:
        """Add videos; an item replaces an older one of the same clip and method."""
        merged = {(i.clip_id, i.method): i for i in self.gallery()}
        merged |= {(i.clip_id, i.method): i for i in items}
        listed = [i.model_copy(update={"video": self._relative(i.video)}) for i in merged.values()]
        self._write("gallery.json", [i.model_dump(mode="json") for i in listed])

    def gallery(self) -> list[GalleryItem]:
        """The gallery's items with absolute paths. Raises `InputError` when gallery.json cannot be read."""
        stored = self._read("gallery.json", list)
        try:
            items = [GalleryItem.model_validate(item) for item in stored]
        except ValidationError as error:
            raise _unfit(self.root / "gallery.json", error) from error
        return [i.model_copy(update={"video": self.root.absolute() / i.video}) for i in items]

    def set_facts(self, facts: Facts) -> None:
        """Merge the set fields of `facts` into the stored ones: mappings by key, other fields replaced as a whole."""
        merged = self.facts().model_dump()
        for name in facts.model_fields_set:
            value = facts.model_dump()[name]
            if name == "curves":
                value = {k: self._relative(v) if isinstance(v, Path) else v for k, v in value.items()}
            merged[name] = merged[name] | value if isinstance(value, dict) else value
        self._write("facts.json", Facts.model_validate(merged).model_dump(mode="json"))

    def facts(self) -> Facts:
        """The facts, empty where none were set. Raises `InputError` naming the first invalid field."""
        data = self._read("facts.json", dict)
        try:
            return Facts.model_validate(data)
        except ValidationError as error:
            raise _unfit(self.root / "facts.json", error) from error

    def curve(self, curve: list[dict[str, Any]] | Path) -> list[dict[str, Any]]:
        """The points of one loss curve, read from the run's file where the facts name one."""
        if not isinstance(curve, Path):
            return curve
        path = self.root / curve
        if not path.is_file():
            _warn(f"{path}: this loss curve no longer exists; the report omits it.")
            return []
        points = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                points.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                _warn(f"{path}: line {number} is damaged and was skipped.")
        return points

    def _relative(self, path: Path) -> Path:
        """A path inside the store relative to it, so that the folder can be moved; other paths absolute."""
        full, root = path.absolute(), self.root.absolute()
        return full.relative_to(root) if full.is_relative_to(root) else full

    def _read(self, name: str, kind: type[list] | type[dict]) -> Any:
        path = self.root / name
        if not path.exists():
            return kind()
        try:
            data = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"is not valid JSON ({error}).", path=path, hint="Fix or delete it.") from error
        if not isinstance(data, kind):
            raise InputError(f"should contain a {kind.__name__}.", path=path, hint="Fix or delete it.")
        return data

    def _write(self, name: str, data: object) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=1, ensure_ascii=False)
        if legible(text) != text:  # the path of a file is stored so that the file can be opened
            text = json.dumps(data, indent=1)
        write_atomic(self.root / name, f"{text}\n".encode())


def _unfit(path: Path, error: ValidationError) -> InputError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InputError(f"entry {where!r}: {first['msg']}.", path=path, hint="Fix it or delete the file.")


def _warn(line: str) -> None:
    console().print(f"warning: {line}", markup=False)
