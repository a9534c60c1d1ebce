"""Progress of long work: a bar with throughput and time left on a terminal, plain lines elsewhere.

Other modules call `advance` or iterate over `track`; only this one prints.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from dawn_bench.terminal import console, visible
from dawn_bench.text import duration

T = TypeVar("T")

#: Plain lines appear at most this often, in seconds, so that a log of a long run stays readable.
PLAIN_INTERVAL = 10.0
#: Columns of a line of progress; a longer label or note is cut short, so that a terminal keeps it on one line.
COLUMNS = 79
#: Fewest columns of a label that is cut short.
LABEL = 16
#: Columns of the bar itself.
BAR = 12


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
def meter(label: str, *, total: float | None, unit: str = "it", done: float = 0.0) -> Iterator[Meter]:
    """Show the progress of a task called `label`, of `total` units (None: unknown).

    `done` units were finished by an earlier run: they count as progress, and not in the throughput and the time left.
    """
    screen = console()
    if _silent.get():
        yield _Nothing()
    elif screen.is_terminal and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        width = max(20, min(screen.width - 1, 120))
        with Progress(BarColumn(bar_width=BAR), _Facts(unit, width - BAR - 1), console=screen) as progress:
            task = progress.add_task(visible(label), total=total, note="", completed=done)  # type: ignore[arg-type]
            yield _Bar(progress, task)
    else:
        outer, lines = _Ticker.meter, _Lines(label, total, unit, done)
        _Ticker.meter = lines
        try:
            yield lines
        finally:
            _Ticker.meter = outer  # also where the work failed: a later step must not tick in this one's name
        lines.close()


def track(items: Iterable[T], label: str, *, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield `items` while showing progress; `total` defaults to `len(items)` where defined."""
    size = len(items) if total is None and isinstance(items, Sized) else total
    with meter(label, total=size, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


class _Facts(ProgressColumn):
    """Everything beside the bar, in one column that is never wider than the line."""

    def __init__(self, unit: str, width: int) -> None:
        super().__init__()
        self.unit, self.width = unit, width

    def render(self, task: Task) -> Text:
        line = _line(
            task.description,
            done=task.completed,
            total=task.total,
            unit=self.unit,
            rate=task.finished_speed or task.speed or 0.0,
            spent=task.elapsed or 0.0,
            note=task.fields["note"],
            width=self.width,
        )
        return Text(line, no_wrap=True, overflow="crop")


def _line(
    label: str, *, done: float, total: float | None, unit: str, rate: float, spent: float, note: str, width: int
) -> str:
    """`train lfg: 40/100 steps, 3.3 steps/s, 12 s, 18 s left  loss 0.5`, with label and note cut to the width."""
    label, note = visible(label), visible(note)
    of = f"/{total:.0f}" if total is not None else ""
    left = f", {duration(round((total - done) / rate))} left" if total and rate and done < total else ""
    facts = f": {done:.0f}{of} {unit}, {rate:.1f} {unit}/s, {duration(round(spent))}{left}"
    if cell_len(facts) + LABEL > width:
        facts = f": {done:.0f}{of} {unit}, {duration(round(spent))}{left}"
    room = width - cell_len(facts)
    if cell_len(label) > max(room, LABEL):
        label = f"{set_cell_size(label, max(room, LABEL) - 1)}…"
    line = f"{label}{facts}"
    room = width - cell_len(line) - 2
    if note and room > 0:
        line += f"  {note}" if cell_len(note) <= room else f"  {set_cell_size(note, room - 1)}…"
    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"


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
    """Plain lines, at most one in `PLAIN_INTERVAL` seconds; `tick` is that of the command (`ticking`)."""

    def __init__(self, label: str, total: float | None, unit: str, done: float = 0.0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.earlier, self.note = done, done, ""
        self.start = self.last = time.monotonic()
        self.printed = -1.0

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self.last >= PLAIN_INTERVAL:
            self.print()

    def say(self, line: str) -> None:
        sys.stderr.write(f"{visible(line)}\n")

    def close(self) -> None:
        if self.printed != self.done:
            self.print()

    def print(self) -> None:
        """Write the line."""
        self.last = time.monotonic()
        spent = self.last - self.start
        rate = (self.done - self.earlier) / spent if spent > 0 else 0.0
        line = _line(
            self.label,
            done=self.done,
            total=self.total,
            unit=self.unit,
            rate=rate,
            spent=spent,
            note=self.note,
            width=COLUMNS,
        )
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self.printed = self.done
        _Ticker.last = self.last


class _Ticker:
    """The time of the last line of progress, and the meter that is open, of this process."""

    last = 0.0
    meter: _Lines | None = None

    @classmethod
    def tick(cls, what: str, start: float) -> None:
        """Write a line where none came for `PLAIN_INTERVAL` seconds."""
        now = time.monotonic()
        if now - cls.last < PLAIN_INTERVAL - 0.5:
            return
        cls.last = now
        if cls.meter is not None:
            cls.meter.print()
        else:
            sys.stderr.write(f"{visible(what)}: at work, {duration(round(now - start))}\n")
            sys.stderr.flush()


@contextmanager
def ticking(what: str) -> Iterator[None]:
    """Write a line of progress at least every `PLAIN_INTERVAL` seconds, also in a step that reports none itself.

    For a whole command, where standard error is no terminal: a log shows that the command is alive.
    """
    if console().is_terminal or int(os.environ.get("RANK") or 0) > 0:
        yield
        return
    ended, start = threading.Event(), time.monotonic()
    _Ticker.last = start

    def watch() -> None:
        while not ended.wait(max(PLAIN_INTERVAL, 0.05)):
            with suppress(OSError, ValueError):  # standard error is closed
                _Ticker.tick(what, start)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1)  # no line of progress comes after the command's last line
