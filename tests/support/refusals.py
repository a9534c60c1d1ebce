"""Checks that refuse one clip."""

from __future__ import annotations

from collections.abc import Callable

from dawn_bench.errors import ItemError


def passes(check: Callable[[], object]) -> bool:
    """Whether a check does not raise `ItemError`."""
    try:
        check()
    except ItemError:
        return False
    return True
