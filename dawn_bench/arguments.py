"""Arguments of the public functions: paths as `str` or `Path`, and one name or several."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.files import user_path


def as_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several, as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def as_path(given: str | Path, argument: str) -> Path:
    """A path with `~` expanded; raises `InputError` for anything else than a path."""
    if not isinstance(given, str | PathLike):
        raise InputError(f"{argument}={given!r} is not a path.", hint="Give a str or a Path.")
    return user_path(given)


def as_optional_path(given: str | Path | None, argument: str) -> Path | None:
    """As `as_path`; None stays None."""
    return None if given is None else as_path(given, argument)
