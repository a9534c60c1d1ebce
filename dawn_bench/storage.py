"""Writes that the system refuses: a full disk, a used-up quota, a read-only file system, a rename that fails.

Such a failure is never the fault of a clip or of a method. It ends the run with one line, and nothing is recorded for
the item that was being written; the same command continues once there is room.
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
_REFUSED = FULL | {errno.EROFS}
#: Full disks as reported without an error number, by safetensors (Rust), PyTorch and numpy.
_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|os error (?:28|122|27|30)\b"
    r"|inline_container.*(?:unexpected pos|file write failed|open file failed)|basic_ios::clear: iostream error"
    r"|^\d+ requested and \d+ written"
)
_READ_ONLY = re.compile(r"Read-only file system|os error 30\b")
KEPT = "run it again: finished work is kept."


class StorageError(InputError, OSError):
    """A file cannot be written (exit code 2). It ends the run, whatever item is being processed."""

    def __init__(self, what: str, *, path: Path | str | None = None, hint: str = "", number: int | None = None) -> None:
        super().__init__(what, path=path, hint=hint)
        self.errno = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.what, self.path, self.hint, self.errno)  # OSError would lose the number


def _restored(what: str, path: Path | str | None, hint: str, number: int | None) -> StorageError:
    return StorageError(what, path=path, hint=hint, number=number)


def storage_error(error: BaseException, *, path: Path | str | None = None) -> StorageError | None:
    """`error` as a `StorageError` when it, or an error that caused it, means a full or read-only disk; else None.

    `path` is what was being written, where it is known.
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
        if number is None and _TEXT.search(str(link)):
            code = errno.EROFS if _READ_ONLY.search(str(link)) else errno.ENOSPC
            return _stated("No space left on device" if code == errno.ENOSPC else "Read-only file system", code, path)
        link = link.__cause__ or link.__context__
    return None


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
    if number in FULL:
        return StorageError(f"the disk is full ({text}).", path=path, hint=f"Free some space and {KEPT}", number=number)
    return StorageError(f"cannot be written ({text}).", path=path, hint=f"Check its folder and {KEPT}", number=number)
