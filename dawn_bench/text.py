"""Counts and lists in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

#: Names that a sentence lists before it counts the rest.
NAMED = 3


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 clip", "2 clips"; `plural` where it is irregular."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def few(names: Sequence[str], *, most: int = NAMED) -> str:
    """The first names and how many more there are: "a, b, c and 9 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
