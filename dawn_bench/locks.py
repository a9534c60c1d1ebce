"""Locks of folders: one writing command at a time, or several that share the work.

The system releases a lock with the process, however it ends.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.storage import writing

if TYPE_CHECKING:
    from filelock import FileLock

#: The lock of a folder, and a line on who holds it.
LOCK_FILE, HOLDER_FILE = ".lock", ".lock-holder"


@contextmanager
def exclusive(folder: Path, *, doing: str, hint: str) -> Iterator[None]:
    """Hold the lock of `folder`, which is created where it does not exist.

    Raises `InputError` with the command and process that hold it: `RESULTS: is being evaluated by another run (...)`.
    """
    from filelock import Timeout

    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, not a folder.", path=folder, hint="Give another folder.")
    new = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock, note = lock_file(folder / LOCK_FILE), folder / HOLDER_FILE
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
            write_atomic(note, f"{_this_process()}\n".encode(), durable=False)  # in place of a link, not through it
        yield
    finally:
        try:
            with suppress(OSError):
                note.unlink(missing_ok=True)
            if new and {p.name for p in folder.iterdir()} <= {LOCK_FILE}:  # nothing was written: leave no trace
                with suppress(OSError):
                    (folder / LOCK_FILE).unlink(missing_ok=True)
                    folder.rmdir()
        finally:  # also where a second Ctrl-C comes in between
            lock.release()


@contextmanager
def shared(folder: Path, *, doing: str, hint: str) -> Iterator[None]:
    """Hold the lock of `folder` beside others that share it; one that asks for it alone is refused, and refuses them.

    Where the system has no shared locks it is exclusive. Raises `InputError` as `exclusive`.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        with exclusive(folder, doing=doing, hint=hint):
            yield
        return
    path = folder / LOCK_FILE
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, not a folder.", path=folder, hint="Give another folder.")
    lock_file(path)  # no link
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"is being {doing} by another run{_holder(folder / HOLDER_FILE)}."
            raise InputError(busy, path=folder, hint=hint) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_turn(path: Path, *, seconds: float = 60) -> Iterator[None]:
    """Hold the lock file `path` for a short time; others wait for it.

    Raises `InputError` after `seconds`. Where the folder cannot be written the block runs without the lock.
    """
    from filelock import Timeout

    lock, late = lock_file(path), False
    with writing(path), suppress(PermissionError, FileNotFoundError):
        try:
            if os.access(path.parent, os.W_OK):
                lock.acquire(timeout=seconds)
        except Timeout:  # an OSError itself
            late = True
    if late:
        hint = "Run it again when the other process is finished."
        raise InputError(f"is locked by another process for {seconds:g} s.", path=path, hint=hint)
    try:
        yield
    finally:
        lock.release()


def lock_file(path: Path) -> FileLock:
    """The lock `path`, not held yet. Raises `InputError` where it is a link, whose target a lock could change."""
    from filelock import FileLock

    if path.is_symlink():
        raise InputError("is a link, not a lock.", path=path, hint="Remove the link.")
    return FileLock(path)


def _this_process() -> str:
    words = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"{words}, process {os.getpid()} on {platform.node()}, since {since}"


def _holder(note: Path) -> str:
    """` (evaluate, process 12 on host, since ...)`, or nothing where it is not known."""
    try:
        if note.is_symlink() or not note.is_file():
            return ""
        text = " ".join(note.read_text(errors="replace").split())
    except OSError:
        return ""
    return f" ({''.join(c for c in text if c.isprintable())[:200]})" if text else ""
