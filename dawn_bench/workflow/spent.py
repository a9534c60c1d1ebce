"""Where time goes: seconds and processor time of each part of a job, kept over runs that were stopped and continued."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawn_bench.files import write_atomic
from dawn_bench.progress import console
from dawn_bench.readers import finite, read_json
from dawn_bench.text import duration

#: Wall and processor seconds of a part.
Seconds = tuple[float, float]


class Spent:
    """The seconds of each part, in the file `path`; a part that is begun again adds to what is there.

    Processor time is that of this process and of the workers that have ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = read_json(path, dict, hint="Remove it: it only holds timings.") if path.is_file() else {}
        self.parts: dict[str, Seconds] = {
            str(part): (seconds[0], seconds[1])
            for part, seconds in stored.items()
            if isinstance(seconds, list) and len(seconds) == 2 and all(map(finite, seconds))
        }

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as the part `name`, also where it is stopped."""
        began, worked = time.perf_counter(), _processor()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - began, _processor() - worked
            before = self.parts.get(name, (0.0, 0.0))
            self.parts[name] = (round(before[0] + wall, 1), round(before[1] + cpu, 1))
            write_atomic(self.path, json.dumps(self.parts).encode())
        console().print(f"{name}: {duration(round(wall))}")

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by part, then processor seconds by part, for a report's facts."""
        walls = {name: wall for name, (wall, _) in self.parts.items()}
        return walls | {f"{name}, processor": cpu for name, (_, cpu) in self.parts.items()}

    def table(self) -> list[str]:
        """Lines of a table: part, wall and processor seconds, and their sums."""
        total = tuple(sum(seconds[i] for seconds in self.parts.values()) for i in (0, 1))
        rows = [("part", "time", "processor")]
        rows += [(name, duration(round(wall)), duration(round(cpu))) for name, (wall, cpu) in self.parts.items()]
        rows.append(("total", duration(round(total[0])), duration(round(total[1]))))
        first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
        return [f"{name:<{first}}  {wall:>{second}}  {cpu:>{third}}" for name, wall, cpu in rows]


def _processor() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])
