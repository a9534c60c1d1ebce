"""The memory that processes may take is that of the machine, or of the group of processes that they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawn_bench.free_memory import allowed_memory, free_memory

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def v2(folder: str, limit: str, used: int, idle: int) -> dict[str, str]:
    top = f"sys/fs/cgroup/{folder}"
    stat = f"anon 1\ninactive_file {idle * GIB}\n"
    return {f"{top}memory.max": limit, f"{top}memory.current": str(used * GIB), f"{top}memory.stat": stat}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        (v2("", "max\n", 9, 0), 64),
        (v2("", f"{16 * GIB}\n", 9, 0), 7),
        (v2("", f"{16 * GIB}\n", 9, 5), 12),  # a cache of files is given up
        (v2("", f"{8 * GIB}\n", 9, 0), 0),
        ({"proc/self/cgroup": "0::/a/b\n", **v2("a/", f"{16 * GIB}", 6, 0), **v2("a/b/", "max", 1, 0)}, 10),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n4:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(16 * GIB),
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(9 * GIB),
                "sys/fs/cgroup/memory/job/memory.stat": f"total_inactive_file {GIB}\n",
            },
            8,
        ),
    ],
)
def test_free_memory_is_the_least_of_machine_and_groups(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {64 * GIB // 1024} kB\n", **files})
    assert free_memory(tmp_path) == expected * GIB


def test_what_may_be_taken_in_all_is_the_limit_of_the_group_that_a_batch_job_is_in(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/a/b\n", **v2("a/", str(GIB), 0, 0), **v2("a/b/", "max", 0, 0)})
    assert allowed_memory(tmp_path) == GIB < allowed_memory(tmp_path / "none")


def test_a_system_that_tells_nothing_sets_no_limit(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == 1 << 50
