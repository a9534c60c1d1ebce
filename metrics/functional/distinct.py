"""Runs a function once for each distinct array among many: a still picture is one frame."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dawn_bench.ahead import ahead


def content_digest(array: np.ndarray) -> bytes:
    """32 bytes that stand for the content of an array among others of its shape and type."""
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()


def rows_of_distinct(
    parts: Iterable[np.ndarray],
    run: Callable[[np.ndarray], np.ndarray],
    *,
    size: int,
    count: int,
    overlap: bool = False,
) -> np.ndarray:
    """The rows that `run` gives for batches (n,...) of equal-shaped arrays, with one row (count,D) for each array.

    Of equal arrays only the first is run. Batches have `size` arrays, the last one the rest; no more are held. There
    are at most `count` arrays, and at least one. With `overlap` a thread prepares the next batches while one is run.
    """
    numbers: list[int] = []  # of each array's row
    table, filled = np.zeros((0, 0)), 0
    batches = distinct_batches(parts, numbers, size=size)
    for batch in ahead(batches) if overlap else batches:
        rows = run(batch)
        if not filled:
            table = np.empty((count, *rows.shape[1:]), rows.dtype)
        table[filled : filled + len(rows)] = rows
        filled += len(rows)
    return table[: len(numbers)] if filled == len(numbers) else table[numbers]


def distinct_batches(parts: Iterable[np.ndarray], numbers: list[int], *, size: int) -> Iterator[np.ndarray]:
    """Batches (n,...) of the distinct ones among equal-shaped arrays, `size` each and the rest last.

    Appends to `numbers`, for each array, which of the distinct ones it equals.
    """
    seen: dict[bytes, int] = {}
    waiting: list[np.ndarray] = []
    for part in parts:
        before = len(seen)
        numbers.append(seen.setdefault(content_digest(part), before))
        if len(seen) > before:
            waiting.append(part)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)
