"""Errors for users: one line with what is wrong, where, and what to do.

Exit codes: 0 done; 1 internal error; 2 the input cannot be used; 3 done, but some items failed under `--strict`;
4 scored, but a method solved no clip; 130 stopped by Ctrl-C; 143 by SIGTERM; 129 by SIGHUP.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from difflib import get_close_matches
from pathlib import Path

from dawn_bench.utf8 import escape_invalid

EXIT_INTERNAL, EXIT_INPUT, EXIT_STRICT, EXIT_UNSOLVED, EXIT_STOPPED = 1, 2, 3, 4, 130


class DawnBenchError(Exception):
    """Base class of dawn-bench's own errors; the command line prints each as a single line."""

    exit_code = EXIT_INTERNAL


class InputError(DawnBenchError, ValueError):
    """The user's input cannot be used (exit code 2).

    The message is `path: what hint`: what is wrong, where, and what to do about it.
    """

    exit_code = EXIT_INPUT

    def __init__(self, what: str, *, path: Path | str | None = None, hint: str = "") -> None:
        self.what, self.path, self.hint = what, path, hint
        where = f"{path}: " if path is not None else ""
        super().__init__(escape_invalid(f"{where}{what}{f' {hint}' if hint else ''}"))


class UnknownNameError(InputError, KeyError):
    """A clip, field or other name that does not exist. It is also a `KeyError`, since mappings raise it."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it in quotation marks


#: A hint lists this many names beside the nearest ones, and `MOST` where none is near.
FEW, MOST = 8, 40


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`Did you mean a or b?` with the nearest of the known names, whatever their case; empty where none is near."""
    by_case = {k.casefold(): k for k in known}
    near = get_close_matches(str(name).casefold(), by_case, n=2)
    return f"Did you mean {' or '.join(by_case[n] for n in near)}?" if near else ""


def nearest(name: object, known: Iterable[str], *, label: str = "Known") -> str:
    """The hint for a name that is not among the known ones: the nearest, and all where they are few or none is near.

    The known names keep their order; those of a set are sorted.
    """
    names = sorted(known) if isinstance(known, Set) else list(known)
    near = did_you_mean(name, names)
    if not names or (near and len(names) > FEW):
        return near
    return f"{near} {label}: {', '.join(names[:MOST])}{', ...' if len(names) > MOST else '.'}".strip()


def unknown_name(label: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in `known`: "there is no metric called 'psrn'. Did you mean psnr?"."""
    return UnknownNameError(f"there is no {label} called {name!r}.", hint=nearest(name, known))


class ItemError(DawnBenchError):
    """One clip or output cannot be used; the others are processed.

    `reason` is a short stable slug for counting (`no_face`, `no_audio`, `unreadable`, `too_short`, ...); `detail` is a
    sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, escape_invalid(detail)
        super().__init__(reason, self.detail)  # args in full, so that it survives pickling between workers

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
