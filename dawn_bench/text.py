"""Counts in sentences for people."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 clip", "2 clips"; `plural` where it is irregular."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
