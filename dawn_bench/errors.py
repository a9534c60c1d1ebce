"""Errors that reach a person: one line that says what is wrong, where, and what to do.

Exit codes: 0 done; 1 internal error; 2 the input cannot be used; 3 done, but some items failed under `--strict`;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

EXIT_INTERNAL, EXIT_INPUT, EXIT_STRICT, EXIT_STOPPED = 1, 2, 3, 130


class DawnBenchError(Exception):
    """Base of every error that dawn-bench raises on purpose; the command line prints it as one line."""

    exit_code = EXIT_INTERNAL


class InputError(DawnBenchError, ValueError):
    """The user's input cannot be used at all (exit code 2). The message ends with what to do."""

    exit_code = EXIT_INPUT

    def __init__(self, what: str, *, path: Path | str | None = None, hint: str = "") -> None:
        self.what, self.path, self.hint = what, path, hint
        where = f"{path}: " if path is not None else ""
        super().__init__(f"{where}{what}{f' {hint}' if hint else ''}")


class UnknownNameError(InputError, KeyError):
    """A clip, field or other name that does not exist. It is a `KeyError` too, as mappings of names raise it."""

    __str__ = Exception.__str__  # KeyError's own would quote the message


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known names nearest to `name`, or all of them (the first ten) when none is near."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(names[:10]) or 'none'}{', …' if len(names) > 10 else ''}."


class ItemError(DawnBenchError):
    """One clip or output cannot be used; the others go on.

    `reason` is a short stable slug that tables count by (`no_face`, `no_audio`, `unreadable`, `too_short`, ...);
    `detail` is the sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)  # args in full, so that it survives pickling between workers

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
