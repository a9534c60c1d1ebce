"""The fast path of inference (see README.md) and its switch.

`disabled()` uses the plain networks instead: the same numbers within float32 rounding, with more time and memory.
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
    """Within this context inference uses the plain U-Net and convolutions."""
    token = _ENABLED.set(False)
    try:
        yield
    finally:
        _ENABLED.reset(token)
