"""What a command prints as its result: lines for people, or with `--json` one JSON value, on standard output.

Progress, notes and the next command go to standard error (`dawn_bench.terminal.console`), so that a pipe gets the
result alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

JSON_HELP = "Print the result as one JSON value."
#: The option of a command that prints facts.
JsonFlag = Annotated[bool, typer.Option("--json", help=JSON_HELP)]

_json: ContextVar[bool] = ContextVar("json", default=False)


@contextmanager
def json_output(wanted: bool) -> Iterator[None]:
    """Whether results inside are printed as JSON."""
    token = _json.set(wanted)
    try:
        yield
    finally:
        _json.reset(token)


def show(facts: object, lines: Iterable[str]) -> None:
    """Print the result of a command: `facts` where JSON is wanted, else `lines`."""
    from dawn_bench.terminal import echo, echo_json

    if _json.get():
        echo_json(facts)
        return
    for line in lines:
        echo(line)


def show_line(line: str) -> None:
    """Print a line of a result that comes piece by piece; with JSON nothing, whose one value comes at the end."""
    from dawn_bench.terminal import echo

    if not _json.get():
        echo(line)


def wants_json() -> bool:
    """Whether the result is printed as JSON."""
    return _json.get()


def suggest(*words: str | Path) -> None:
    """Print the command that comes next, with the user's own paths: a hint for people, on standard error."""
    from dawn_bench.terminal import console

    console().print(f"next: {shlex.join(['dawn-bench', *map(str, words)])}")
