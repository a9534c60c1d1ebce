"""Atomic writes, file hashes, and the suffixes of video files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

#: Suffix of files that are still being written; their names begin with a dot.
TEMPORARY = ".tmp"
#: Lower-case suffixes of the video files that datasets, outputs and commands look for.
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".mov", ".mkv", ".avi", ".flv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".3gp", ".ogv",
})  # fmt: skip


@contextmanager
def replacing(path: Path, *, durable: bool = True, sole: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; what the block writes there replaces `path` when it ends.

    Other processes see the old file or the complete new one. If the block raises, the temporary file is removed and
    `path` stays as it was.

    Args:
        path: the final name; its folder must exist.
        durable: sync file and folder, so that the file also survives a power cut. It costs about 10 ms; leave it out
            for files that are regenerated when damaged.
        sole: no other process writes `path` at the same time. The temporary name is then fixed, so a killed
            writer leaves at most one file behind.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}") if sole else temporary_path(path)
    try:
        yield temporary
        commit(temporary, path, durable=durable)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a small file atomically: readers see the old file or the complete new one; `durable` as in `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def temporary_path(path: Path) -> Path:
    """A new name in the same folder: a worker that outlived its run never shares a file with the next run's."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{TEMPORARY}")


def commit(temporary: Path, path: Path, *, durable: bool = True) -> None:
    """Give a closed, finished file its final name in the same folder; `durable` as in `replacing`."""
    if durable:
        _sync(temporary)
    temporary.replace(path)
    if durable:
        _sync(path.parent)


def user_path(given: str | Path) -> Path:
    """A path that a user typed, with `~` and `~name` for home folders; a `~name` of nobody stays as it is."""
    try:
        return Path(given).expanduser()
    except RuntimeError:  # there is no such user
        return Path(given)


def sha256_file(path: Path) -> str:
    """The sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_file(path: Path) -> str:
    """The git blob hash (sha1) of a file; some publishers state only this hash."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's renames, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
