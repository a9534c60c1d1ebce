"""Jobs for the tests of the executor, where worker processes can import them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dawn_bench.executor import Kind


@dataclass(frozen=True)
class Logged:
    """A job that writes its number and its process to a file."""

    folder: Path
    number: int
    after: tuple[int, ...] = ()
    kind: Kind = "cpu"
    owner: int | None = None
    killers: frozenset[str] = frozenset()
    title: str = "a job"

    @property
    def part(self) -> Path:
        return self.folder / f"{self.number}.json"

    @property
    def marker(self) -> Path:
        return self.folder / f"{self.number}.running"

    def report(self) -> Logged:
        return self

    def work(self) -> Logged:
        with (self.folder / "log").open("a") as log:
            log.write(f"{self.number} {self.kind} {os.getpid()}\n")
        return self


class TwoArguments(Exception):
    """Cannot be unpickled: its arguments are not those of its constructor."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")


@dataclass(frozen=True)
class Raising(Logged):
    """Raises what does not survive pickling."""

    def work(self) -> Logged:
        raise TwoArguments("the network", "has no weights")


@dataclass(frozen=True)
class Noted:
    """Writes the process that begins, and how much it may grow."""

    folder: Path

    def __call__(self) -> None:
        from joblib.externals.loky import process_executor

        (self.folder / f"{os.getpid()}.begun").write_text(str(process_executor._MAX_MEMORY_LEAK_SIZE))
