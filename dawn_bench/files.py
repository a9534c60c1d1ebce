"""Atomic writes, file hashes, the files of a folder, and the suffixes of video files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from dawn_bench.errors import InputError
from dawn_bench.storage import StorageError, storage_error, writing

log = logging.getLogger(__name__)

#: Suffix of files that are still being written; their names begin with a dot.
TEMPORARY = ".tmp"
#: Lower-case suffixes of the video files that datasets, outputs and commands look for.
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".mov", ".mkv", ".avi", ".flv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".3gp", ".ogv",
})  # fmt: skip

#: Suffixes of pictures that may move: such a file is a video only if it holds several.
ANIMATION_SUFFIXES = frozenset({".gif", ".webp", ".apng"})


@contextmanager
def replacing(path: Path, *, durable: bool = True, sole: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; what the block writes there replaces `path` when it ends.

    Other processes see the old file or the complete new one. If the block raises, the temporary file is removed and
    `path` stays as it was. A full disk or a rename that fails raises `StorageError`.

    Args:
        path: the final name; its folder must exist.
        durable: sync file and folder, so that the file also survives a power cut. It costs about 10 ms; leave it out
            for files that are regenerated when damaged.
        sole: no other process writes `path` at the same time. The temporary name is then fixed, so a killed
            writer leaves at most one file behind.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}") if sole else temporary_path(path)
    try:
        if sole:
            temporary.unlink(missing_ok=True)  # what a killed writer left behind, or a link that somebody put there
        yield temporary
        commit(temporary, path, durable=durable)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, Exception) and not isinstance(error, StorageError):
            own = getattr(error, "filename", None) in (str(temporary), str(temporary.absolute()))
            if isinstance(error, OSError) and own:
                with writing(path):
                    raise
            if (refused := storage_error(error, path=path)) is not None:
                raise refused from error
        raise


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder in `folder`, which is new or empty; its content moves into `folder` when the block ends.

    The content is on disk before it has its names. If the block raises, or a file cannot be moved, nothing stays; what
    a killed process left is removed by the next one, which writes under another hidden name: a worker that outlives it
    for a moment does not write into the new content. Raises `InputError` when `folder` has content of its own or is
    no folder, and `StorageError` when the disk is full.
    """
    partial = temporary_path(folder / _PARTIAL)
    left = [folder / f".{_PARTIAL}{TEMPORARY}"]  # the name of earlier versions
    left += [path for path in folder.glob(f".{_PARTIAL}.*") if _is_dead(path)]
    for each in left:
        with suppress(OSError, ValueError):
            names = json.loads((each / _MOVING).read_text())  # the process was killed while it moved these
            _remove(folder, names if isinstance(names, list) else ())
    if folder.exists() and (not folder.is_dir() or any(path not in left for path in folder.iterdir())):
        raise InputError("already exists and is not an empty folder.", path=folder, hint="Give a new or empty --out.")
    with writing(folder):
        _clear(left)
        partial.mkdir(parents=True)
    try:
        yield partial
        names = sorted(path.name for path in partial.iterdir())
        with writing(folder):
            for top, _, files in os.walk(partial):
                for name in files:
                    sync(Path(top, name))
                sync(Path(top))
            write_atomic(partial / _MOVING, json.dumps(names).encode())
            try:
                for name in names:
                    (partial / name).rename(folder / name)
                sync(folder)
            except BaseException:
                _remove(folder, names)
                raise
    except OSError as error:
        if (refused := storage_error(error, path=folder)) is not None:
            raise refused from error
        raise
    finally:
        _clear([partial, *left])


def _clear(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


#: Names the hidden folder of `filling`.
_PARTIAL = "partial"
#: In the hidden folder of `filling`: the names of what is being moved, as JSON.
_MOVING = ".moving"


def _remove(folder: Path, names: Collection[str]) -> None:
    """Remove the entries of a folder that have one of these names; a link is removed, not what it leads to."""
    for path in list(folder.iterdir()):
        if path.name not in names:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a small file atomically: readers see the old file or the complete new one; `durable` as in `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def temporary_path(path: Path) -> Path:
    """A new name in the same folder: two writers of one file never share a temporary file.

    It names its writer, so that `sweep` can tell what was left behind.
    """
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid4().hex[:6]}{TEMPORARY}")


def sweep(folder: Path, *names: str, only: Path | None = None, written: Collection[str] = ()) -> None:
    """Remove the temporary files that dead writers left directly in `folder`, and in `names` of it and below.

    Only names that `temporary_path` gives are removed, and the fixed ones of earlier versions: those of the files
    `written` directly in `folder`. A file of a living writer stays. The writers on another machine cannot be checked:
    their files count as left behind after a day.

    Args:
        folder: where to look.
        names: folders in `folder` that hold files of dawn-bench alone.
        only: sweep only what was left of this file of the folder.
        written: file names that are written directly in `folder`, including checkpoints.
    """
    if only is not None:
        prefix = f".{only.name}."
        _unlink(path for path in folder.glob(".*") if path.name.startswith(prefix) and _is_dead(path))
        return
    fixed = {f".{name}{TEMPORARY}" for name in written}
    checkpoints = any(name.endswith(".safetensors") for name in written)
    _unlink(
        path
        for path in folder.glob(".*")
        if path.name in fixed or _is_dead(path) or (checkpoints and _FOREIGN.match(path.name))
    )
    for name in names:
        for top, _, files in os.walk(folder / name):
            _unlink(Path(top, file) for file in files if file.startswith(".") and _is_dead(Path(top, file)))


#: The names that `temporary_path` gives, those that it gave in earlier versions, and those of safetensors' own writer.
_WRITER = re.compile(r"^\..+\.(?P<machine>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{6}\.tmp$")
_EARLIER = re.compile(r"^\..+\.[0-9a-f]{12}\.tmp$")
_FOREIGN = re.compile(r"^\.tmp\w{6}$")
_DAY = 86_400


def is_temporary(name: str) -> bool:
    """Whether `temporary_path`, or an earlier version of it, gave a file this name."""
    return _WRITER.match(name) is not None or _EARLIER.match(name) is not None


def _is_dead(path: Path) -> bool:
    """Whether `path` is a temporary file of ours whose writer is dead."""
    writer = _WRITER.match(path.name)
    if writer is None:
        return _EARLIER.match(path.name) is not None
    if writer["machine"] == _machine():
        return not _alive(int(writer["pid"]))
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > _DAY
    return False


def _unlink(paths: Iterable[Path]) -> None:
    for path in list(paths):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@cache
def _machine() -> str:
    """Six hex digits for this machine and, in a container, its space of process numbers."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:6]


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`, which are JSON, with a hash of them under `seal`: what damage changed does not pass `unsealed`."""
    return {**facts, "seal": _seal(facts)}


def unsealed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without their seal; raises ValueError where they do not match it. Older files have no seal."""
    facts = {key: value for key, value in stored.items() if key != "seal"}
    if "seal" in stored and stored["seal"] != _seal(facts):
        raise ValueError("the content does not match its hash")
    return facts


def _seal(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def commit(temporary: Path, path: Path, *, durable: bool = True) -> None:
    """Give a closed, finished file its final name in the same folder; `durable` as in `replacing`.

    Raises `StorageError` where the system refuses to sync or rename it.
    """
    with writing(path):
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)


def walk(root: Path) -> Iterator[Path]:
    """All files below `root` in a fixed order. Links to folders are followed once; hidden files are skipped.

    A folder that cannot be listed is reported and left out. Broken links, pipes and unreadable files are yielded too:
    who lists them says what is wrong with each. Raises `InputError` when `root` itself cannot be listed.
    """

    def report(error: OSError) -> None:
        if Path(error.filename) != root:
            log.warning("%s cannot be listed (%s): its files are left out", error.filename, error.strerror)
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"cannot be listed ({error.strerror}).", path=root, hint="Check its permissions.")

    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=report):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder would recurse forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


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


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to disk. Raises OSError where the system refuses."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
