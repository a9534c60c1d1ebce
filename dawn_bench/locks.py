"""Locks of folders: one writing command at a time. The system releases a lock with the process, however it ends."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.storage import writing

#: The lock of a folder, and a line on who holds it.
LOCK_FILE, HOLDER_FILE = ".lock", ".lock-holder"


@contextmanager
def exclusive(folder: Path, *, doing: str, hint: str) -> Iterator[None]:
    """Hold the lock of `folder`, which is created where it does not exist.

    Raises `InputError` with the command and process that hold it: `RESULTS: is being evaluated by another run (...)`.
    """
    from filelock import FileLock, Timeout

    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, not a folder.", path=folder, hint="Give another folder.")
    new = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(folder / LOCK_FILE), folder / HOLDER_FILE
    with writing(folder / LOCK_FILE):
        try:
            lock.acquire(timeout=0)
        except Timeout:  # an OSError itself
            busy = f"is being {doing} by another run{_holder(note)}."
        else:
            busy = ""
    if busy:
        raise InputError(busy, path=folder, hint=hint)
    try:
        with suppress(OSError):  # the line serves a message only
            note.write_text(f"{_this_process()}\n")
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        if new and {p.name for p in folder.iterdir()} <= {LOCK_FILE}:  # nothing was written: leave no trace
            with suppress(OSError):
                (folder / LOCK_FILE).unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


@contextmanager
def in_turn(path: Path, *, seconds: float = 60) -> Iterator[None]:
    """Hold the lock file `path` for a short time; others wait for it.

    Raises `InputError` after `seconds`. Where the folder cannot be written the block runs without the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with suppress(PermissionError, FileNotFoundError):
        try:
            if os.access(path.parent, os.W_OK):
                lock.acquire(timeout=seconds)
        except Timeout:
            hint = "Run it again when the other process is finished."
            raise InputError(f"is locked by another process for {seconds:g} s.", path=path, hint=hint) from None
    try:
        yield
    finally:
        lock.release()


def _this_process() -> str:
    words = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"{words}, process {os.getpid()} on {platform.node()}, since {since}"


def _holder(note: Path) -> str:
    """` (evaluate, process 12 on host, since ...)`, or nothing where it is not known."""
    try:
        text = " ".join(note.read_text(errors="replace").split())
    except OSError:
        return ""
    return f" ({''.join(c for c in text if c.isprintable())[:200]})" if text else ""
