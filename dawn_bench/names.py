"""Names that come from data: clip ids, fields, shards, the files of a list. None of them may lead out of its folder.

Caches, results and lists are exchanged between people. What they call a clip becomes the name of a file here, so a
name is checked where it is read: it is one plain name, and never a path.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PureWindowsPath

from dawn_bench.errors import InputError

#: Longest plain name in bytes of UTF-8: file systems allow 255, which leaves room for suffixes and temporary names.
LONGEST = 200
#: Control characters, line and paragraph separators.
_REFUSED = frozenset({"Cc", "Zl", "Zp"})
#: Characters that reverse the direction of the text around them: `gpj.exe` would be shown as `exe.jpg`.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def name_fault(name: object) -> str | None:
    """What keeps `name` from being one plain name, which is a file or folder inside any folder; None if it is one.

    Letters of every script, spaces and dots are allowed. Not allowed: separators of any system, a drive letter, a
    leading or trailing dot, control characters, and more than `LONGEST` bytes.
    """
    if not isinstance(name, str) or not name.strip():
        return "is empty" if name in (None, "") else "is blank" if isinstance(name, str) else "is not text"
    if "/" in name or "\\" in name or PureWindowsPath(name).drive:
        return "is a path, not a plain name"
    if name.startswith(".") or name.endswith("."):
        return "begins or ends with a dot"
    if any("\ud800" <= c <= "\udfff" for c in name):
        return "is not valid UTF-8"
    if any(unicodedata.category(c) in _REFUSED or c in _DIRECTIONS for c in name):
        return "has control characters"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def check_name(name: object, *, what: str, path: Path | None = None, hint: str = "") -> str:
    """`name` itself if it is a plain name; else raises `InputError`: `what` is the thing named, `path` who names it."""
    fault = name_fault(name)
    if fault is not None:
        raise InputError(f"{what} {_shown(name)} {fault}.", path=path, hint=hint)
    return str(name)


def shard_fault(name: object, *, field: str) -> str | None:
    """What keeps `name` from being a shard of `field`, `<field>/<field>-NNNNN.safetensors`; None if it is one."""
    folder = re.escape(field)
    if isinstance(name, str) and re.fullmatch(rf"{folder}/{folder}-[0-9]{{5,9}}\.safetensors", name):
        return None
    return f"has the shard {_shown(name)}, not {field}/{field}-NNNNN.safetensors"


def inside(folder: Path, name: Path | str) -> Path | None:
    """The path of `name` in `folder`, with all links resolved; None where it leads out of it.

    A relative name starts at the folder. Links of the folder itself are followed, so it may be a link as a whole.
    """
    try:
        root, path = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, names that the system cannot have
        return None
    return path if path != root and path.is_relative_to(root) else None


def owned(folder: Path, *names: str | Path) -> Path:
    """The path of `names` in `folder`, to write to or to remove; `folder` is one that may come from anybody.

    Raises `InputError` naming the link where a link on the way leads out of the folder. The folder as a whole may be a
    link, and links to other places in it are followed.
    """
    path = folder
    for part in Path(*names).parts:
        path = path / part
        if path.is_symlink() and inside(folder, path.absolute()) is None:
            raise InputError(f"is a link that leads out of {folder}.", path=path, hint="Remove the link.")
    return path


def check_links(folder: Path, *names: str) -> None:
    """Raise `InputError`, as `owned` does, for `names` in `folder` and for every link to a folder below them.

    Links to files are left alone: a file is replaced by its name, which leaves alone what a link of that name leads to.
    """
    waiting = [owned(folder, name) for name in names]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.scandir(here))
        except OSError:  # there is none, or it cannot be listed: what is written there has its own message
            continue
        for entry in entries:
            if entry.is_symlink():
                if not entry.is_file():
                    owned(folder, Path(entry.path).relative_to(folder))
            elif entry.is_dir():
                waiting.append(Path(entry.path))


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
