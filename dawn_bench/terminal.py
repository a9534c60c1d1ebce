"""Everything that reaches the terminal: text of files, caches, servers and other programs is shown, never obeyed.

A file name or a cache field may hold the escape sequences that move the cursor, retitle the window or turn the
direction of writing. They are shown escaped (`\\x1b`), in one place: here.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dawn_bench.utf8 import escape_invalid

#: Control characters except tab and line feed, directions of writing, line separators, bytes that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)

#: Columns of a console that is no terminal: enough for every line.
UNLIMITED = 100_000


def visible(text: str) -> str:
    """Text in which what a terminal would act on is shown escaped: `\\x1b` for the escape character.

    Bytes that are not valid UTF-8 are escaped by `dawn_bench.utf8`.
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), escape_invalid(text))


class SafeConsole(Console):
    """A console that shows texts, tables and bars with `visible`; its own colours and cursor movements pass."""

    def render_str(self, text: str, *args: Any, **settings: Any) -> Text:
        """As in `Console`, which would drop some control characters without showing them."""
        return super().render_str(visible(text), *args, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As in `Console`, for every kind of renderable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)

    def on_broken_pipe(self) -> NoReturn:
        """Leave the error to the command line: a reader such as `head` has enough, and nothing went wrong."""
        raise


def console() -> Console:
    """The console for people: standard error, so that standard output stays for results.

    `[red]` in a text is text: markup needs `markup=True`.
    """
    return SafeConsole(stderr=True, highlight=False, soft_wrap=True, markup=False)


def results() -> Console:
    """The console for results: standard output. Where that is no terminal, no line is wrapped and no name is cut."""
    screen = SafeConsole(highlight=False, soft_wrap=True, markup=False)
    if not screen.is_terminal:
        screen.width = UNLIMITED
    return screen


def print_table(*headers: str, rows: Iterable[Iterable[str]]) -> None:
    """Print a table without lines to `results`: a long name goes on in the next line, or widens it in a pipe."""
    lines, screen = [[visible(cell) for cell in row] for row in rows], results()
    everything = [list(headers), *lines] if headers else lines
    widths = [max(cell_len(line[k]) for line in everything) for k in range(len(everything[0]))] if everything else []
    if not screen.is_terminal:
        for line in everything:
            cells = (f"{cell}{' ' * (width - cell_len(cell))}" for cell, width in zip(line, widths, strict=True))
            screen.print("  ".join(cells).rstrip())
        return
    table = Table(box=None, pad_edge=False, show_header=bool(headers))
    for k in range(len(widths)):
        table.add_column(Text(headers[k]) if headers else "", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    screen.print(table)


def echo(line: object) -> None:
    """Write one line of results to standard output."""
    sys.stdout.write(f"{visible(str(line))}\n")
    sys.stdout.flush()


def echo_json(facts: object) -> None:
    """Write facts as one JSON value to standard output: ASCII, and null for numbers that JSON does not have."""
    sys.stdout.write(f"{json.dumps(_jsonable(facts), indent=2)}\n")
    sys.stdout.flush()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {escape_invalid(str(k)): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return escape_invalid(value.as_posix() if isinstance(value, Path) else str(value))


def show_logs() -> None:
    """Show logged warnings, Python's and those of libraries, through the console; equal lines once."""
    handler = _Handler(logging.WARNING)
    handler.addFilter(_Once())
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    warnings.formatwarning = _formatted


def show_traceback(error: BaseException) -> None:
    """Print an error with its traceback, as Python does for an uncaught one."""
    console().print("".join(traceback.format_exception(error)).rstrip())


_PLAIN = warnings.formatwarning


def _formatted(*args: Any, **settings: Any) -> str:
    return visible(_PLAIN(*args, **settings))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console().print(f"{record.levelname.lower()}: {record.getMessage()}")


class _Once(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        new = line not in self.shown
        self.shown.add(line)
        return new
