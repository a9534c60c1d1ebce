"""Rows of an index on their way from Python to Parquet, kept as Arrow columns in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are held as Python objects at a time, and rows that are written at a time.
_BATCH, _WRITTEN = 512, 8_192


class Rows:
    """A table that grows row by row. The type of a column follows from all of its values.

    Whole numbers become int64, or float64 where some are absent or others are fractions; truth values, texts and lists
    of whole numbers stay what they are; a column of several kinds becomes text. Absent values and NaN are null.
    """

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[dict[str, pa.Array | list[Any]]] = []
        self._lengths: list[int] = []
        self._kinds: dict[str, set[type]] = {}
        self._gaps: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The columns so far."""
        return list(dict.fromkeys([*self._kinds, *(name for row in self._rows for name in row)]))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; its columns need not be those of other rows."""
        self._rows.append(row)
        if len(self._rows) == _BATCH:
            self._seal()

    def write(self, file: BinaryIO, *, columns: Sequence[str], by: str) -> None:
        """Write the rows as Parquet, sorted by the text column `by`; columns without any value are null."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        if self._rows:
            self._seal()
        count = sum(self._lengths)
        schema = pa.schema([(name, self._type(name, count)) for name in columns])
        with ParquetWriter(file, schema, write_page_checksum=True) as writer:
            for table in self._sorted(schema, by):
                writer.write_table(table)

    def _seal(self) -> None:
        rows, self._rows = self._rows, []
        batch: dict[str, pa.Array | list[Any]] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [None if (v := row.get(name)) is None or v != v else v for row in rows]
            kinds = {type(v) for v in values if v is not None}
            self._kinds.setdefault(name, set()).update(kinds)
            if any(row.get(name, float("nan")) is not None and v is None for row, v in zip(rows, values, strict=True)):
                self._gaps.add(name)  # NaN, or not a column of the row
            batch[name] = values if len(kinds) > 1 else _compact(values, kinds)
        self._batches.append(batch)
        self._lengths.append(len(rows))

    def _type(self, name: str, count: int) -> pa.DataType:
        import pyarrow as pa

        kinds = self._kinds.get(name, set())
        plain = {str: pa.string(), bool: pa.bool_(), float: pa.float64(), list: pa.list_(pa.int64())}
        if kinds == {int}:
            return pa.int64() if self._present(name) == count else pa.float64()
        if len(kinds) == 1:
            return plain.get(next(iter(kinds)), pa.string())
        if not kinds:
            gaps = name in self._gaps or any(name not in batch for batch in self._batches)
            return pa.float64() if gaps else pa.null()
        return pa.float64() if kinds == {int, float} else pa.string()

    def _present(self, name: str) -> int:
        columns = [batch[name] for batch in self._batches if name in batch]
        return sum(len(c) - (c.count(None) if isinstance(c, list) else c.null_count) for c in columns)

    def _sorted(self, schema: pa.Schema, by: str) -> Iterator[pa.Table]:
        """Tables of the rows in order; only the batches that a table needs are looked at for it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._batches:
            return
        keys = pa.chunked_array([_column(batch.get(by), n, pa.string()) for batch, n in self._parts()])
        order = np.asarray(pc.sort_indices(keys)).astype(np.int64)
        by_key = keys.take(order)
        order = order[np.append(np.asarray(pc.not_equal(by_key[1:], by_key[:-1])), True)]  # the last of several counts
        starts = np.cumsum([0, *self._lengths])
        for first in range(0, len(order), _WRITTEN):
            rows = order[first : first + _WRITTEN]
            of = np.searchsorted(starts, rows, side="right") - 1
            needed = np.unique(of)
            tables = [
                pa.table([_column(batch.get(f.name), n, f.type) for f in schema], schema=schema)
                for batch, n in (self._part(int(b)) for b in needed)
            ]
            begins = np.cumsum([0, *(len(table) for table in tables)])
            places = begins[np.searchsorted(needed, of)] + rows - starts[of]
            yield pa.concat_tables(tables).combine_chunks().take(pa.array(places))

    def _part(self, number: int) -> tuple[dict[str, pa.Array | list[Any]], int]:
        return self._batches[number], self._lengths[number]

    def _parts(self) -> Iterator[tuple[dict[str, pa.Array | list[Any]], int]]:
        return zip(self._batches, self._lengths, strict=True)


def _compact(values: list[Any], kinds: set[type]) -> pa.Array | list[Any]:
    """The values of one kind as an Arrow array; texts that repeat as a dictionary."""
    import pyarrow as pa

    if kinds and next(iter(kinds)) not in (str, bool, int, float, list):
        return values
    array = pa.array(values)
    if kinds == {str} and len(set(values)) < len(values) // 2:
        return array.dictionary_encode()
    return array


def _column(values: pa.Array | list[Any] | None, length: int, kind: pa.DataType) -> pa.Array:
    """A column of one batch in its final type."""
    import pyarrow as pa

    if values is None:
        return pa.nulls(length, kind)
    if not isinstance(values, list) and pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if isinstance(values, list) or (pa.types.is_string(kind) and not pa.types.is_string(values.type)):
        items = values if isinstance(values, list) else values.to_pylist()
        texts = pa.types.is_string(kind)
        return pa.array([str(v) if texts and v is not None else v for v in items], kind)
    return values.cast(kind)
