"""Arrays whose rows are computed on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


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


def row_blocks(array: np.ndarray | LazyRows, *, block: int = 2**22) -> Iterator[np.ndarray]:
    """Consecutive rows of an array in parts of about `block` bytes, C-contiguous.

    Lazy rows are computed part by part. An array without rows gives one part without rows.
    """
    rows = max(1, block // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, max(1, len(array)), rows):
        yield np.ascontiguousarray(array[start : start + rows])
