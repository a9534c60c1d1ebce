"""Arrays whose rows are computed on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

#: Rows that are computed at once where somebody goes through all of them.
MOST_ROWS = 64


class LazyRows(NDArrayOperatorsMixin):
    """A read-only array-like that computes only the rows (first axis) that are read.

    Index it, slice it, or `np.asarray` it. Indexing works along the first axis as on an array and returns new arrays;
    arithmetic and array methods compute all rows. Subclasses set `dtype` and `shape`, and compute rows in `_rows`.
    """

    dtype: np.dtype
    shape: tuple[int, ...]

    @abstractmethod
    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        """The rows with these numbers, a new array (len(numbers), *shape[1:])."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Size in bytes of the whole array when computed."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *others = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(len(self))[first]  # numpy's own indexing rules and errors
        rows = self._rows(np.ravel(wanted).tolist()).reshape(*wanted.shape, *self.shape[1:])
        return rows[(*(slice(None),) * wanted.ndim, *others)] if others else rows

    def __iter__(self) -> Iterator[np.ndarray]:
        return each_row(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self[:], name)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = (x[:] if isinstance(x, LazyRows) else x for x in inputs)
        return getattr(ufunc, method)(*arrays, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{type(self).__name__} cannot be read without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)


class ChangedRows(LazyRows):
    """Rows of another array, each changed by `change` when it is read; `row` is the shape of a changed one."""

    def __init__(
        self, rows: np.ndarray | LazyRows, change: Callable[[np.ndarray], np.ndarray], row: Sequence[int]
    ) -> None:
        self.rows, self.change, self.dtype, self.shape = rows, change, rows.dtype, (len(rows), *row)

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        changed = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, row in enumerate(self.rows[list(numbers)]):
            changed[place] = self.change(row)
        return changed


class _Stretch(LazyRows):
    """Rows `first` to `last` (exclusive) of lazy rows."""

    def __init__(self, rows: LazyRows, first: int, last: int) -> None:
        self.rows, self.first, self.dtype, self.shape = rows, first, rows.dtype, (last - first, *rows.shape[1:])

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        return self.rows[[self.first + k for k in numbers]]


def stretch(array: np.ndarray, first: int, last: int) -> np.ndarray:
    """`array[first:last]` without computing lazy rows; the bounds are as in a slice."""
    if not isinstance(array, LazyRows):
        return array[first:last]
    first, last, _ = slice(first, last).indices(len(array))
    return cast(np.ndarray, _Stretch(array, first, max(first, last)))


def row_blocks(array: np.ndarray | LazyRows, *, block: int = 2**22, most: int | None = None) -> Iterator[np.ndarray]:
    """Consecutive rows of an array in parts of about `block` bytes and at most `most` rows, C-contiguous.

    Lazy rows are computed part by part. An array without rows gives one part without rows.
    """
    rows = max(1, block // max(1, array.nbytes // max(1, len(array))))
    rows = rows if most is None else min(rows, most)
    for start in range(0, max(1, len(array)), rows):
        yield np.ascontiguousarray(array[start : start + rows])


def each_row(array: np.ndarray | LazyRows) -> Iterator[np.ndarray]:
    """The rows one after the other, C-contiguous; few are computed ahead."""
    for part in row_blocks(array, most=MOST_ROWS):
        yield from part


def row_windows(array: np.ndarray | LazyRows, length: int, *, step: int) -> Iterator[np.ndarray]:
    """Rows 0 to `length`, `step` to `step` + `length` and so on, as far as there are so many; each row is read once."""
    begin, kept = 0, np.empty((0, *array.shape[1:]), array.dtype)  # the rows read last, and the first one's number
    for start in range(0, len(array) - length + 1, step):
        kept, begin = kept[start - begin :], start
        more = array[start + len(kept) : start + length]
        kept = np.concatenate([kept, more]) if len(kept) else more
        yield kept
