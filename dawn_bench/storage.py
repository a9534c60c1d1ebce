"""What the system refuses: a write to a full or read-only disk, and any file while too many are open.

Such a failure is never the fault of a clip or of a method. It ends the run with one line, and nothing is recorded for
the item that was being processed; the same command continues once there is room. Other errors of reading belong to
the file: its bytes, its permissions or its place on the disk (`EIO`), or its size (`ENOMEM`).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError

#: The disk or a quota is full. EFBIG is a limit on the size of files.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: The process, or the whole system, has as many files open as it may.
DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_REFUSED = FULL | DESCRIPTORS | {errno.EROFS}
#: Full disks as reported without an error number, by safetensors (Rust), PyTorch and numpy.
_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|os error (?:28|122|27|30)\b"
    r"|inline_container.*(?:unexpected pos|file write failed|open file failed)|basic_ios::clear: iostream error"
    r"|^\d+ requested and \d+ written"
)
_READ_ONLY = re.compile(r"Read-only file system|os error 30\b")
_MANY_FILES = re.compile(r"Too many open files|os error (?:23|24)\b")
KEPT = "run it again: finished work is kept."


class StorageError(InputError, OSError):
    """A file cannot be written, or none can be opened (exit code 2). It ends the run, whatever item is processed."""

    def __init__(self, what: str, *, path: Path | str | None = None, hint: str = "", number: int | None = None) -> None:
        super().__init__(what, path=path, hint=hint)
        self.errno = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.what, self.path, self.hint, self.errno)  # OSError would lose the number


def _restored(what: str, path: Path | str | None, hint: str, number: int | None) -> StorageError:
    return StorageError(what, path=path, hint=hint, number=number)


def storage_error(error: BaseException, *, path: Path | str | None = None) -> StorageError | None:
    """`error` as a `StorageError` when it, or an error that caused it, is the system's; else None.

    The system's are a full or read-only disk and too many open files. `path` is what was being written, where it is
    known.
    """
    link: BaseException | None = error
    for _ in range(8):
        if link is None:
            return None
        if isinstance(link, StorageError):
            return link
        number = getattr(link, "errno", None)
        if number in _REFUSED:
            return _stated(
                str(getattr(link, "strerror", None) or link), number, path or getattr(link, "filename", None)
            )
        if number is None and _MANY_FILES.search(str(link)):
            return _stated("Too many open files", errno.EMFILE, path)
        if number is None and _TEXT.search(str(link)):
            code = errno.EROFS if _READ_ONLY.search(str(link)) else errno.ENOSPC
            return _stated("No space left on device" if code == errno.ENOSPC else "Read-only file system", code, path)
        link = link.__cause__ or link.__context__
    return None


def raise_if_refused(error: BaseException) -> None:
    """Raise the `StorageError` that `error` stands for; return where it is about the file or clip in hand.

    For handlers that turn an error of reading into a clip's failure, or into the absence of a file.
    """
    if (refused := storage_error(error)) is not None:
        raise refused from error


def ends_the_run(error: OSError) -> bool:
    """Whether a file could not be written for a reason that holds for every other file too, such as a full disk."""
    return error.errno is None or error.errno in _REFUSED


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For a block that only writes `path`: every OSError of it becomes a `StorageError` that names `path`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = storage_error(error, path=path)
        raise reason or _stated(error.strerror or str(error), error.errno, path) from error


def _stated(reason: str, number: int | None, path: Path | str | None) -> StorageError:
    text = " ".join(reason.split())
    if number in DESCRIPTORS:
        hint = f"Allow more (ulimit -n 4096) and {KEPT}"
        return StorageError(f"no more files can be opened ({text}).", path=path, hint=hint, number=number)
    if number in FULL:
        return StorageError(f"the disk is full ({text}).", path=path, hint=f"Free some space and {KEPT}", number=number)
    return StorageError(f"cannot be written ({text}).", path=path, hint=f"Check its folder and {KEPT}", number=number)
