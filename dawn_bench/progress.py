"""Progress of long work: a bar with throughput and time left on a terminal, plain lines elsewhere.

Other modules call `advance` or iterate over `track`; only this one prints.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from dawn_bench.terminal import console, visible

T = TypeVar("T")

#: Plain lines appear at most this often, in seconds, so that a log of a long run stays readable.
PLAIN_INTERVAL = 10.0


class Meter(Protocol):
    """Reports the progress of one task."""

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Advance by `amount` units; `note` is a short status such as a loss."""

    def say(self, line: str) -> None:
        """Print one line above the bar."""


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def without_meters() -> Iterator[None]:
    """Meters inside show nothing: one around them does, or another process."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextmanager
def meter(label: str, *, total: float | None, unit: str = "it") -> Iterator[Meter]:
    """Show the progress of a task called `label`, of `total` units (None: unknown)."""
    screen = console()
    if _silent.get():
        yield _Nothing()
    elif screen.is_terminal and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}" if total is not None else "{task.completed:.0f}"),
            _Rate(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=screen) as progress:
            yield _Bar(progress, progress.add_task(visible(label), total=total, note=""))
    else:
        lines = _Lines(label, total, unit)
        yield lines
        lines.close()


def track(items: Iterable[T], label: str, *, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield `items` while showing progress; `total` defaults to `len(items)` where defined."""
    size = len(items) if total is None and isinstance(items, Sized) else total
    with meter(label, total=size, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else f"- {self.unit}/s")


class _Nothing:
    def advance(self, amount: float = 1, *, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        console().print(line, markup=False)


class _Bar:
    def __init__(self, progress: Progress, task: int) -> None:
        self.progress, self.task = progress, task

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.progress.update(self.task, advance=amount, **({"note": visible(note)} if note else {}))  # type: ignore[arg-type]

    def say(self, line: str) -> None:
        self.progress.console.print(line, markup=False)


class _Lines:
    def __init__(self, label: str, total: float | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.note = 0.0, ""
        self.start = self.last = time.monotonic()
        self.printed = -1.0

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= PLAIN_INTERVAL:
            self.last = now
            self._print()

    def say(self, line: str) -> None:
        sys.stderr.write(f"{visible(line)}\n")

    def close(self) -> None:
        if self.printed != self.done:
            self._print()

    def _print(self) -> None:
        spent = time.monotonic() - self.start
        rate = self.done / spent if spent > 0 else 0.0
        of = f"/{self.total:.0f}" if self.total is not None else ""
        going = self.total and rate and self.done < self.total
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and going else ""
        note = f"  {self.note}" if self.note else ""
        speed = f"{rate:.1f} {self.unit}/s, {spent:.0f} s{left}"
        sys.stderr.write(f"{visible(self.label)}: {self.done:.0f}{of} {self.unit}, {speed}{visible(note)}\n")
        sys.stderr.flush()
        self.printed = self.done
