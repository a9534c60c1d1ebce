"""Runs a function once for each distinct array among many: a still picture is one frame."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

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
    known: Mapping[bytes, np.ndarray] = MappingProxyType({}),
) -> np.ndarray:
    """The rows that `run` gives for batches (n,...) of equal-shaped arrays, with one row (count,D) for each array.

    Of equal arrays only the first is run. Batches have `size` arrays, the last one the rest; no more are held. There
    are at most `count` arrays, and at least one. With `overlap` a thread prepares the next batches while one is run.
    `known` has rows by the digest of their array: these are not run.
    """
    numbers: list[int] = []  # of each array's row
    old, table, filled = list[np.ndarray](), np.zeros((0, 0)), 0
    batches = distinct_batches(parts, numbers, size=size, known=known, old=old)
    for batch in ahead(batches) if overlap else batches:
        rows = run(batch)
        if not filled:
            table = np.empty((count, *rows.shape[1:]), rows.dtype)
        table[filled : filled + len(rows)] = rows
        filled += len(rows)
    if old:  # a known row has the number -1 - k
        new = table[:filled] if filled else np.zeros((0, *old[0].shape), old[0].dtype)
        return np.concatenate([new, np.stack(old[::-1])])[numbers]
    return table[: len(numbers)] if filled == len(numbers) else table[numbers]


def distinct_batches(
    parts: Iterable[np.ndarray],
    numbers: list[int],
    *,
    size: int,
    known: Mapping[bytes, np.ndarray] = MappingProxyType({}),
    old: list[np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Batches (n,...) of the distinct ones among equal-shaped arrays, `size` each and the rest last.

    Appends to `numbers`, for each array, which of the distinct ones it equals. Those with a row in `known` are in no
    batch: the rows are appended to `old`, and their numbers are -1, -2 and so on.
    """
    seen: dict[bytes, int] = {}
    waiting: list[np.ndarray] = []
    new = 0
    for part in parts:
        digest = content_digest(part)
        if digest not in seen and digest in known and old is not None:
            old.append(known[digest])
            seen[digest] = -len(old)
        elif digest not in seen:
            seen[digest], new = new, new + 1
            waiting.append(part)
        numbers.append(seen[digest])
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def known_rows(parts: Iterable[np.ndarray], rows: np.ndarray) -> dict[bytes, np.ndarray]:
    """The rows of arrays by the arrays' digests, for `rows_of_distinct`."""
    return {content_digest(part): row for part, row in zip(parts, rows, strict=True)}
