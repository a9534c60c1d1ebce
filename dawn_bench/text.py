"""Counts, times and lists in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

#: Names that a sentence lists before it counts the rest.
NAMED = 3
#: What a formula of a spreadsheet begins with, also in the wide forms of East Asian scripts.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 clip", "2 clips"; `plural` where it is irregular."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def few(names: Sequence[str], *, most: int = NAMED) -> str:
    """The first names and how many more there are: "a, b, c and 9 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(names: Sequence[str]) -> str:
    """All names: "a", "a and b", "a, b and c"; an empty string without any."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "15 min 15 s", "2 h 5 min"; tenths below 10 s."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
