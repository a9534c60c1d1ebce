"""Rows that are computed on access: counts, bytes and parts are those of the whole array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dawn_bench.lazy import LazyRows, row_blocks

WHOLE = np.arange(7 * 3 * 2, dtype=np.int32).reshape(7, 3, 2)


class Rows(LazyRows):
    """`WHOLE`, and the numbers of the rows that were computed."""

    dtype, shape = WHOLE.dtype, WHOLE.shape

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        self.asked.append(list(numbers))
        return WHOLE[list(numbers)]


def test_counts_are_those_of_the_array() -> None:
    rows = Rows()
    assert (len(rows), rows.ndim, rows.size, rows.nbytes) == (7, 3, WHOLE.size, WHOLE.nbytes) and rows.asked == []


@pytest.mark.parametrize(
    ("block", "sizes"), [(1, [1] * 7), (24, [1] * 7), (47, [1] * 7), (48, [2, 2, 2, 1]), (168, [7]), (10**6, [7])]
)
@pytest.mark.parametrize("lazy", [True, False])
def test_parts_have_about_the_bytes_asked_for(block: int, sizes: list[int], lazy: bool) -> None:
    rows = Rows()
    parts = list(row_blocks(rows if lazy else WHOLE, block=block))
    assert [len(part) for part in parts] == sizes and all(part.flags.c_contiguous for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), WHOLE)
    assert not lazy or [len(numbers) for numbers in rows.asked] == sizes
    assert [p.shape for p in row_blocks(WHOLE[:0], block=block)] == [(0, 3, 2)]


@pytest.mark.parametrize(
    "key", [3, -1, slice(2, 5), slice(None, None, -2), [4, 0], (slice(1, 3), 2), (5, slice(None), 1)]
)
def test_indexing_is_numpys_and_computes_only_what_is_read(key: object) -> None:
    rows = Rows()
    np.testing.assert_array_equal(rows[key], WHOLE[key])  # type: ignore[index]
    first = key[0] if isinstance(key, tuple) else key
    assert rows.asked == [np.ravel(np.arange(7)[first]).tolist()]  # type: ignore[index]
    with pytest.raises(IndexError):
        rows[7]
