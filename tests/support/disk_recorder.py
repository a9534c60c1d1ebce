"""Records what happens to the files below a folder, and lets the disk fail or the process die at any operation.

A file whose name says that it is finished was written under another name in the same folder, synced after its last
write, renamed, and the folder was synced after that. Contents are compared on the disk itself, so a writer in C or
Rust is seen as well as one in Python. Reads `/proc`.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dawn_bench import files

ROOT = Path(files.__file__).resolve().parents[1]
#: Parts of the product's names for files that are not finished, and locks.
UNFINISHED = (".tmp", ".part", ".part.json", ".lock", ".running")


class Killed(BaseException):
    """The process died: nothing that it does afterwards reaches the disk."""


@dataclass(frozen=True)
class Event:
    """One operation: `open` (for writing), `sync`, `name` (replace or rename), `link` or `remove`, and the path."""

    kind: str
    path: Path


@dataclass
class Disk:
    """The operations on files below `root`, in order.

    `fail` is called before each operation with its number; what it raises is what the operation raises.
    """

    root: Path
    fail: Callable[[int, Event], None] = lambda number, event: None
    events: list[Event] = field(default_factory=list)
    sites: set[str] = field(default_factory=set)
    """The product's functions that gave files their names, as `path:function`."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with the order, in words."""
    dead: bool = False
    begun: int = 0
    _synced: dict[int, str] = field(default_factory=dict)
    _named: dict[Path, str] = field(default_factory=dict)

    def note(self, kind: str, path: Path) -> bool:
        """Record an operation; returns whether it is below the root. Raises what `fail` wants."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay
        if self.root not in path.parents and path != self.root:
            return False
        if self.dead:
            raise OSError(5, "the process is dead", str(path))
        event = Event(kind, path)
        number, self.begun = self.begun, self.begun + 1
        self.fail(number, event)
        self.events.append(event)
        return True

    def synced(self, path: Path) -> None:
        """The content of a file is on the disk now."""
        if path.is_file():
            self._synced[path.stat().st_ino] = content(path)

    def naming(self, source: Path, target: Path) -> None:
        """Check a file, or every file of a folder, that is about to get its name."""
        if unfinished(target, self.root):
            return
        near = (source.parent, source.parent.parent) if source.parent.name.startswith(".") else (source.parent,)
        if target.parent.resolve() not in [folder.resolve() for folder in near]:
            self.faults.append(f"{target.name} was written in another folder")
        for path in [p for p in source.rglob("*") if p.is_file()] if source.is_dir() else [source]:
            final = target / path.relative_to(source)
            if self._synced.get(path.stat().st_ino) != content(path):
                self.faults.append(f"{final.relative_to(self.root)} was named before its content was on the disk")
            self._named[final] = content(path)
        if source.is_dir():
            for folder in [source, *(p for p in source.rglob("*") if p.is_dir())]:
                if Event("sync", folder) not in self.events:
                    self.faults.append(f"the names in {target.name} were not on the disk before it was named")

    def named(self, path: Path) -> str | None:
        """The content with which a file got its name last; None if it got none."""
        return self._named.get(path)

    def is_synced(self, path: Path) -> bool:
        """Whether the content of a file that is written in place is on the disk."""
        return self._synced.get(path.stat().st_ino) == content(path)

    def check(self, before: dict[Path, str], *, in_place: Callable[[Path], bool]) -> list[str]:
        """All that is wrong after the writer has ended; `before` is an earlier `snapshot`.

        `in_place`: whether a path may be written under its own name.
        """
        faults = list(self.faults)
        for path, now in snapshot(self.root).items():
            if before.get(path) == now or in_place(path):
                continue
            name = path.relative_to(self.root)
            if path not in self._named:
                faults.append(f"{name} was written in place")
            elif self._named[path] != now:
                faults.append(f"{name} was changed after it was named")
        for number, event in enumerate(self.events):
            if event.kind != "name" or unfinished(event.path, self.root) or in_place(event.path):
                continue
            if Event("sync", event.path.parent) not in self.events[number:]:
                faults.append(f"the folder of {event.path.name} was not synced after it was named")
        return faults


def content(path: Path) -> str:
    """A hash of a file's content; links count by their target."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot(root: Path) -> dict[Path, str]:
    """The finished files below `root` with hashes of their contents."""
    return {p: content(p) for p in sorted(root.rglob("*")) if p.is_file() and not unfinished(p, root)}


def unfinished(path: Path, root: Path) -> bool:
    """Whether a name says that the file is not finished, or is a lock."""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") for part in parts) or path.name.endswith(UNFINISHED)


@contextmanager
def recording(root: Path, fail: Callable[[int, Event], None] | None = None) -> Iterator[Disk]:
    """Record the operations below `root`. Nothing is really synced, which takes milliseconds each time."""
    disk = Disk(root.resolve())
    if fail is not None:
        disk.fail = fail
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "link", "unlink", "remove")}
    opened = io.open

    def fsync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        path = Path(f"/proc/self/fd/{number}").readlink()
        if disk.note("sync", path):
            disk.synced(path)
        else:
            real["fsync"](handle)

    def renaming(name: str) -> Callable[..., None]:
        def rename(source: Any, target: Any, **other: Any) -> None:
            first, last = Path(os.fsdecode(source)).absolute(), Path(os.fsdecode(target)).absolute()
            if disk.note("name", last):
                disk.naming(first, last)
                disk.sites |= _callers()
            real[name](source, target, **other)

        return rename

    def link(source: Any, target: Any, **other: Any) -> None:
        disk.note("link", Path(os.fsdecode(target)))
        real["link"](source, target, **other)

    def removing(name: str) -> Callable[..., None]:
        def remove(path: Any, **other: Any) -> None:
            if other.get("dir_fd") is None:
                disk.note("remove", Path(os.fsdecode(path)))
            elif disk.dead:
                raise OSError(5, "the process is dead")
            real[name](path, **other)

        return remove

    def open_file(file: Any, mode: str = "r", *given: Any, **other: Any) -> Any:
        if isinstance(file, str | bytes | os.PathLike) and set(mode) & set("wax+"):
            disk.note("open", Path(os.fsdecode(file)))
        return opened(file, mode, *given, **other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        for name in ("replace", "rename"):
            patch.setattr(os, name, renaming(name))
        patch.setattr(os, "link", link)
        for name in ("unlink", "remove"):
            patch.setattr(os, name, removing(name))
        patch.setattr(io, "open", open_file)
        patch.setattr(builtins, "open", open_file)
        yield disk


def _callers() -> set[str]:
    """The product's functions on the stack above `dawn_bench.files`, as `path:function`."""
    names: set[str] = set()
    frame = sys._getframe(1)
    while frame is not None:
        if inside := _inside(frame.f_code.co_filename):
            names.add(f"{inside}:{frame.f_code.co_qualname.replace('.<locals>', '')}")
        frame = frame.f_back  # type: ignore[assignment]
    return names


@cache
def _inside(file: str) -> str:
    """The path of a file of the product in the checkout; empty for other files."""
    path = Path(file).resolve()
    return path.relative_to(ROOT).as_posix() if ROOT in path.parents and ROOT / "tests" not in path.parents else ""
