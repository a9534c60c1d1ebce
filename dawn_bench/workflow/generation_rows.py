"""The rows of `generate --list`: each the settings of one clip, and what identifies the clip."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dawn_bench import weights
from dawn_bench.config import Origin, Values, typed_value
from dawn_bench.errors import InputError, nearest
from dawn_bench.files import sha256_file, temporary_path, user_path, walk
from dawn_bench.hashes import known_hashes
from dawn_bench.lists import ListRow, read_list
from dawn_bench.models.loading import run_folder
from dawn_bench.models.spec import ModelSpec
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.faces.base import backend_name
from dawn_bench.pipelines.faces.choice import is_choice
from dawn_bench.provenance import fingerprint
from dawn_bench.storage import DESCRIPTORS, FULL
from dawn_bench.training.resume import CONFIG_FILE, MODEL_FILE
from dawn_bench.weights_needs import first_present
from dawn_bench.workflow.generate import Generation, check_given

#: Settings of the whole list, which no row changes: the model is loaded once.
OF_THE_LIST = ("items", "checkpoint", "model", "device", "jobs", "devices", "strict", "options")
#: Files, whose relative paths are below the list's folder.
FILES = ("image", "audio", "out", "drive", "pose")
#: Suffixes of published files.
_WEIGHTS = (".pth", ".tar", ".safetensors")


@dataclass(frozen=True)
class Row:
    """One line of a list: its settings, or in `fault` what is wrong with it."""

    line: int
    clip: Generation | None
    fault: str = ""


def read_rows(job: Generation, spec: ModelSpec) -> list[Row]:
    """The rows of `job.items`; an empty cell stands for the setting of the command.

    Columns are flags of the command for one clip, or options of the model. Raises `InputError` for a list that cannot
    be read or has an unknown column, and where two rows write one file or a row writes a file that another one reads.
    """
    assert job.items is not None
    folder = job.items.parent
    needed = ["out"] if job.audio is not None else ["audio", "out"]
    lines = read_list(job.items, needed, hint="First line: image,audio,out")
    if not lines:
        raise InputError("has no row.", path=job.items, hint="First line: image,audio,out; then a clip a line.")
    options = tuple(spec.options.resolve().model_fields)
    fields = {column: _field(column, options, job.items) for column in lines[0].cells}
    if twice := [name for name in fields.values() if list(fields.values()).count(name) > 1]:
        raise InputError(f"its first line names the column {twice[0]!r} twice.", path=job.items, hint="Remove one.")
    rows = [_row(line, fields, job, folder) for line in lines]
    _check_outputs(rows, job.items)
    return rows


def _field(column: str, options: Sequence[str], path: Path) -> str:
    """The setting that a column is; raises `InputError` for one that is unknown."""
    name = column.strip().lstrip("-").replace("-", "_").lower()
    known = [field for field in Generation.model_fields if field not in OF_THE_LIST]
    if name in ("checkpoint", "model", "device"):
        raise InputError(f"--{name} is for the whole list, not a column.", path=path, hint="Give it as a flag.")
    if name not in known and name not in options:
        raise InputError(f"there is no column {column!r}.", path=path, hint=nearest(name, [*known, *options]))
    return name


def _row(line: ListRow, fields: Mapping[str, str], job: Generation, folder: Path) -> Row:
    """One row as the settings of a clip."""
    cells = {field: line[column] for column, field in fields.items() if line[column]}
    values = Values({name: getattr(job, name) for name in job.model_fields_set - {*OF_THE_LIST[3:], "items"}})
    values.data["options"] = dict(job.options)
    if "person" in cells or is_choice(cells.get("face")):
        values.data.pop("person", None)
    try:
        for name, text in cells.items():
            if "\0" in text:
                raise InputError(f"column {name!r}: holds a character NUL.", hint="Write it again.")
            place = (name,) if name in Generation.model_fields else ("options", name)
            values.put(place, _typed(name, text, folder), Origin("column", name))
        clip = values.validated(Generation)
        check_given(clip)
        return Row(line.line, clip)
    except InputError as error:
        return Row(line.line, None, str(error).removeprefix("--"))


def _typed(name: str, text: str, folder: Path) -> Any:
    if name in FILES:
        return folder / user_path(text)
    if name in Generation.model_fields:
        return text
    return typed_value(text, where=f"column {name!r}", hint="Put text into quotes.")


def _check_outputs(rows: Sequence[Row], path: Path) -> None:
    """Raise `InputError` where two rows write one file, or a row writes what another one reads."""
    outputs: dict[str, int] = {}
    clips = [(row.line, row.clip) for row in rows if row.clip is not None]
    for line, clip in clips:
        assert clip.out is not None
        other = outputs.setdefault(_place(clip.out), line)
        if other != line:
            raise InputError(f"lines {other} and {line} write one file: {clip.out}.", path=path, hint="Give two names.")
    for line, clip in clips:
        for name, read in _inputs(clip):
            if (writes := outputs.get(_place(read))) is not None:
                what = f"line {writes} would replace the {name} of line {line}: {read}."
                raise InputError(what, path=path, hint="Give another out.")


def clear_place(out: Path, record: Path) -> None:
    """Make the folder of a clip, and remove the record of another one.

    Raises `InputError` where the clip and its record cannot be written: below a file or a loop of links, in place of a
    folder, under a name that is too long; and `StorageError` for a full disk.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path in (out, record):
            if path.is_dir():
                raise InputError("is a folder.", path=path, hint="Give another out.")
        trial = temporary_path(record)  # the longest name that is written
        trial.touch()
        trial.unlink()
        record.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in FULL | DESCRIPTORS:
            raise
        raise InputError(f"cannot be written ({error.strerror}).", path=out, hint="Give another out.") from error


def _place(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _inputs(clip: Generation) -> Iterator[tuple[str, Path]]:
    for name in FILES:
        if name != "out" and (value := getattr(clip, name)) is not None:
            yield name, value


def row_key(clip: Generation, checkpoint: str) -> str:
    """Identifies what a clip is generated from: contents of the files, settings, and the checkpoint's identity.

    Not where it is generated. Files that cannot be read count by their paths.
    """
    settings = {
        name: getattr(clip, name)
        for name in Generation.model_fields
        if name not in (*FILES, *OF_THE_LIST) and getattr(clip, name) is not None
    }
    settings["face"] = backend_name(clip.face)
    contents = {name: _content(path) for name, path in _inputs(clip)}
    return fingerprint(["generate/1", clip.model, checkpoint, settings, dict(clip.options), contents], length=32)


def _content(path: Path) -> str:
    try:
        state = path.stat()
        return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError:
        return str(path)


@cache
def _sha256(path: Path, *state: int) -> str:
    """Of a file in this state: a portrait may be that of many rows."""
    return sha256_file(path)


def checkpoint_identity(checkpoint: Path, spec: ModelSpec) -> str:
    """Identifies the weights that generate, without loading them, and the extractors of what drives them.

    Of a trained run these are all its stages, also where `checkpoint` is the file of one; of a released file also its
    neighbours, which are loaded with it; of a released name the files of the weights folder.
    """
    conditions = [weights.resolve(first_present(names)).identity for names in spec.weights(None)]
    conditions += [EXTRACTORS[name]().fingerprint() for name in sorted(EXTRACTORS) if EXTRACTORS[name].weights]
    if (needs := spec.released_weights.get(str(checkpoint))) is not None:
        return fingerprint([[weights.resolve(first_present(names)).identity for names in needs], conditions])
    folder = run_folder(checkpoint)
    if folder.is_file():
        files = [path for path in walk(folder.parent) if path.suffix in _WEIGHTS or path == folder]
        folder = folder.parent
    else:
        files = [path for name in (MODEL_FILE, CONFIG_FILE) for path in folder.glob(f"*/{name}")]
        files = files or ([path for path in walk(folder) if path.is_file()] if folder.is_dir() else [])
    hashes = {path.relative_to(folder).as_posix(): known_hashes(path)["sha256"] for path in sorted(files)}
    return fingerprint([hashes, conditions])
