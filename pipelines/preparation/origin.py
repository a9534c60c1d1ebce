"""Where a clip came from: the names and hashes of its files, and whether they have changed since."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dawn_bench.files import sha256_file
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.storage import raise_if_refused
from dawn_bench.utf8 import escape_invalid

#: Column of the index with the dataset's own crop of the source picture, `x y width height`; empty without one.
DATASET_CROP = "dataset_crop"


def origin(source: Source, *, root: Path) -> dict[str, str]:
    """Columns of the index: `source`, `sound` and the sha256 of each, empty where there is no such file.

    Paths are relative to `root` for files below it. `sound` is empty for a video with its own sound.
    """
    facts = {}
    for name, path in _files(source):
        facts[name] = "" if path is None else relative(path, root)
        facts[f"{name}_sha256"] = "" if path is None else file_hash(path)
    return facts


def has_changed(row: Mapping[str, Any], source: Source, *, root: Path, since: int) -> bool:
    """Whether the files of `source`, or its stretch or crop of them, differ from what `row` of the index is of.

    A file is hashed only when its name is new or its change time (ctime, which no copying tool can set back) is after
    `since`, in nanoseconds. A missing file counts as unchanged, as does a stretch or crop that the row does not state.
    """
    if _other_part(row, source):
        return True
    for name, path in _files(source):
        recorded = row.get(f"{name}_sha256")
        if path is None or recorded is None:
            continue
        try:
            untouched = row[name] == relative(path, root) and path.stat().st_ctime_ns < since
        except OSError:
            continue
        if not untouched and file_hash(path) != recorded:
            return True
    return False


def crop_text(source: Source) -> str:
    """The dataset's own crop as the index states it; empty without one."""
    return "" if source.crop is None else " ".join(map(str, source.crop))


def _other_part(row: Mapping[str, Any], source: Source) -> bool:
    """Whether a row states another stretch or crop of its file; the stretch of a scene is not the listed clip's."""
    if DATASET_CROP in row and row[DATASET_CROP] != crop_text(source):
        return True
    if "start" not in row or "scene_of" in row:
        return False
    return (row["start"], row.get("stop")) != (source.start, source.stop)


def relative(path: Path, root: Path) -> str:
    """`path` relative to `root` where it is below it, escaped where the bytes of its name are not valid UTF-8."""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return escape_invalid(shown.as_posix())


def file_hash(path: Path) -> str:
    """The sha256 of a file, empty if it cannot be read or is not a regular file."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
            return ""
        return _hash(path, state.st_size, state.st_ctime_ns)
    except OSError as error:
        raise_if_refused(error)
        return ""


def _files(source: Source) -> tuple[tuple[str, Path | None], ...]:
    return ("source", source.video), ("sound", source.audio)


@lru_cache(maxsize=64)  # several clips may be stretches of one file
def _hash(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)
