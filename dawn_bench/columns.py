"""The columns of a Parquet file, read one by one on first use and kept as Arrow arrays.

A table of 100,000 rows and 80 columns is 150 MB as Arrow arrays and 1 GB as Python objects; most programs use a dozen
columns of it.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawn_bench.readers import DamageError, guarded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_EXPECTED = "a Parquet file"


class Columns:
    """The columns of the Parquet file `path` by name; the checksums of its pages are compared where it has any.

    The file stays open, so that columns of a file that replaces it are never mixed in. A forked process may go on
    reading. Every reader raises `DamageError` for damaged bytes, with `hint`.

    Args:
        path: of the file.
        hint: what to do where it is damaged.
        repeated: whether the texts of a column repeat, by its name: such a column is read as a dictionary array.
    """

    def __init__(self, path: Path, *, hint: str, repeated: Callable[[str], bool] = lambda name: False) -> None:
        import pandas  # noqa: F401 (pyarrow imports it on first use, where a Ctrl-C would be lost)

        self.path, self.hint = path, hint
        self._repeated = repeated
        self._arrays: dict[str, pa.Array] = {}
        self._descriptor = guarded(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC), path, _EXPECTED, hint)
        weakref.finalize(self, os.close, self._descriptor)
        self.state = file_state(os.fstat(self._descriptor))
        self.names, self.types, self.rows = guarded(self._schema, path, _EXPECTED, hint)

    def __contains__(self, name: object) -> bool:
        return name in self.types

    def __getitem__(self, name: str) -> pa.Array:
        """The column called `name`, one Arrow array."""
        if name not in self._arrays:
            self._arrays[name] = guarded(lambda: self._column(name), self.path, _EXPECTED, self.hint)
        return self._arrays[name]

    def value(self, name: str, row: int) -> Any:
        """One value as pandas gives it in a row: NaN where there is none, and numbers of a column with gaps as float.

        None stands for an absent truth value or list.
        """
        import pyarrow as pa

        array = self[name]
        scalar, kind = array[row], array.type
        if scalar.is_valid:
            value = scalar.as_py()
            return float(value) if pa.types.is_integer(kind) and array.null_count else value
        plain = pa.types.is_boolean(kind) or pa.types.is_nested(kind) or pa.types.is_null(kind)
        return None if plain else float("nan")

    def frame(self) -> pd.DataFrame:
        """The whole table as a new data frame."""
        import pandas as pd

        def read() -> pd.DataFrame:
            return pd.read_parquet(self._file(), page_checksum_verification=True)

        return guarded(read, self.path, _EXPECTED, self.hint)

    def replaced(self) -> bool:
        """Whether another file has the name now."""
        try:
            return file_state(self.path.stat()) != self.state
        except OSError:
            return True

    def _schema(self) -> tuple[list[str], dict[str, pa.DataType], int]:
        file = self._open()
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        kinds = {name: kind for name, kind in zip(schema.names, schema.types, strict=True) if name not in index}
        if twice := [name for name in kinds if schema.names.count(name) > 1]:
            raise DamageError(f"has the column {twice[0]!r} twice.", path=self.path, hint=self.hint)
        return list(kinds), kinds, file.metadata.num_rows

    def _column(self, name: str) -> pa.Array:
        import pyarrow as pa

        if name not in self.types:
            raise DamageError(f"has no column {name!r}.", path=self.path, hint=self.hint)
        dictionary = [name] if self._repeated(name) and is_text(self.types[name]) else []
        # a name may also be the beginning of nested names: they come along
        column = self._open(dictionary).read(columns=[name], use_threads=False).column(name)
        column.validate(full=True)  # texts are UTF-8, and every length fits
        column = column.unify_dictionaries()
        array = column.combine_chunks()
        return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array

    def _open(self, dictionary: Iterable[str] = ()) -> Any:
        from pyarrow.parquet import ParquetFile

        options = {"page_checksum_verification": True, "pre_buffer": False}
        return ParquetFile(self._file(), read_dictionary=list(dictionary), **options)

    def _file(self) -> io.RawIOBase:
        return _Descriptor(self._descriptor)


def file_state(state: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file from one that replaces it."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def is_text(kind: pa.DataType) -> bool:
    """Whether a column's values are text."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


class _Descriptor(io.RawIOBase):
    """A readable file of an open descriptor, at a position of its own: processes that share it do not disturb it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count
