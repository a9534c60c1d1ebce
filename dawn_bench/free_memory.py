"""How much memory processes may take: of the machine, and of the container or batch job that they run in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that may be taken, the least of what machine and control groups leave; a lot where none tells.

    `root` is the root of the file system.
    """
    return min([1 << 50, *_of_machine(root), *(max(0, limit - taken) for limit, taken in _of_groups(root))])


def allowed_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that may be taken in all: those of the machine, or fewer in a container or batch job."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit, _ in _of_groups(root))])


def _of_machine(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        yield 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])


def _of_groups(root: Path) -> Iterator[tuple[int, int]]:
    """What may be and what is taken, of the control group of this process and those that it is in.

    Both versions of the kernel's interface are read.
    """
    own = []
    with suppress(OSError):
        own = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    v2, v1 = root / "sys/fs/cgroup", root / "sys/fs/cgroup/memory"
    groups = {v2: "/", v1: "/"}  # in a container the files of its own group are there
    for _, controllers, path in (fields for fields in own if len(fields) == 3):
        if controllers == "":
            groups[v2] = path
        elif "memory" in controllers.split(","):
            groups[v1] = path
    for top, path in groups.items():
        limit, used, idle = (
            ("memory.max", "memory.current", "inactive_file")
            if top == v2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        folder = top / path.strip("/")
        for group in (folder, *(parent for parent in folder.parents if parent == top or top in parent.parents)):
            with suppress(OSError, ValueError):  # "max" is no limit
                cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                taken = int((group / used).read_text()) - int(cached.get(idle, 0))  # what is only cached is given up
                yield int((group / limit).read_text()), taken
