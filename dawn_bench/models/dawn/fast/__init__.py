"""The fast path of inference (see README.md), and its one switch.

`disabled()` runs the plain networks instead: the same numbers within float32 rounding, slower and in more memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ENABLED = ContextVar("fast path", default=True)


def enabled() -> bool:
    """Whether inference takes the fast path."""
    return _ENABLED.get()


@contextmanager
def disabled() -> Iterator[None]:
    """A block in which U-Net and convolutions are the plain ones."""
    token = _ENABLED.set(False)
    try:
        yield
    finally:
        _ENABLED.reset(token)
