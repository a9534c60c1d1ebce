"""Errors on their way from a worker process to the one that started it."""

from __future__ import annotations

import pickle
import traceback


def portable(error: Exception) -> Exception:
    """The error itself where it survives pickling, else a `RuntimeError` with its type, text and traceback.

    A pool takes a worker for dead whose error it cannot read.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does
        text = "".join(traceback.format_exception(error))
        return RuntimeError(f"{type(error).__name__}: {error}\n{text}")
    return error
