"""The index of a cache in memory: Arrow columns that are read on first use, checked all at once, and rows on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dawn_bench.columns import Columns, is_text
from dawn_bench.names import name_fault, shard_fault
from dawn_bench.readers import DamageError

if TYPE_CHECKING:
    import pyarrow as pa

OK, QUARANTINED = "ok", "quarantined"
#: Columns of the index that every clip has.
COLUMNS = ("id", "speaker", "split", "n_frames", "status", "reason", "detail")
#: Those without which a row is none, and those that a program of the user's own may leave out.
_NEEDED, _OPTIONAL = ("id", "split", "status"), ("reason", "detail")
_REPEATED = ("speaker", "split", "status", "reason")
_AGAIN = "Prepare the cache again: the same command, and nothing is processed twice."
#: Plain names of the usual kind; others are looked at one by one.
_PLAIN = r"^[0-9A-Za-z_@+=~-]([0-9A-Za-z_@+=~ .-]{0,198}[0-9A-Za-z_@+=~-])?\z"


class Stored(NamedTuple):
    """What the index says of one array; `dtype`, `shape` and `sha256` are None where it does not say."""

    shard: str
    key: Any
    dtype: str | None
    shape: list[int] | None
    sha256: str | None


def _repeats(name: str) -> bool:
    """Whether many clips have the same text in a column."""
    return name in _REPEATED or name.endswith((".shard", ".dtype"))


class Index:
    """`index.parquet` with the columns and types that readers rely on; raises `DamageError` where it is damaged.

    Its rows have numbers from 0, in the order of the file. Names are checked by `faults`.
    """

    def __init__(self, path: Path) -> None:
        self.columns = Columns(path, hint=_AGAIN, repeated=_repeats)
        self.path = path
        self._texts: dict[str, pa.Array] = {}
        self.all_fields = sorted(name.removesuffix(".shard") for name in self.columns.names if name.endswith(".shard"))
        named = [field for field in self.all_fields if name_fault(field) is None]  # others are faults of their names
        wanted = (*(name for name in COLUMNS if name not in _OPTIONAL), *(f"{field}.key" for field in named))
        if absent := [name for name in wanted if name not in self.columns]:
            raise self._damage(f"has no column {absent[0]!r}.")
        texts = [name for name in COLUMNS if name in self.columns and name != "n_frames"]
        for name in [*texts, *(f"{field}.{entry}" for field in named for entry in ("shard", "key"))]:
            if not is_text(self.columns.types[name]):
                self.text(name)
        for name in _NEEDED:
            if self.text(name).null_count:
                raise self._damage(f"has a value in column {name!r} that is not text.")
        self.n_frames = self._frame_counts()

    def __len__(self) -> int:
        return self.columns.rows

    def text(self, name: str) -> pa.Array:
        """A column of texts, possibly a dictionary array; missing ones are null. An absent optional one is empty."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self._texts:
            if name in _OPTIONAL and name not in self.columns:
                self._texts[name] = pa.array([""] * len(self), pa.string())
                return self._texts[name]
            column = self.columns[name]
            if not is_text(column.type):
                empty = column.null_count == len(column)
                if not empty and pa.types.is_floating(column.type):
                    empty = bool(pc.all(pc.is_null(column, nan_is_null=True)).as_py())
                if not empty:
                    raise self._damage(f"has a value in column {name!r} that is not text.")
                column = pa.nulls(len(column), pa.string())
            elif not _repeats(name) and column.type not in (pa.string(), pa.large_string()):
                column = column.cast(pa.string())  # the text of a categorical column of a user's own program
            self._texts[name] = column
        return self._texts[name]

    def numbers_of(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A column of texts as numbers int32 (n,) of its different texts, which come second; -1 where there is none."""
        import pyarrow as pa

        column = self.text(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        numbers = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return numbers, column.dictionary.to_pylist()

    def value(self, name: str, row: int) -> Any:
        """One value as pandas gives it (`Columns.value`); an absent optional text is empty."""
        return self.text(name)[row].as_py() if name not in self.columns else self.columns.value(name, row)

    def has(self, field: str) -> np.ndarray:
        """Which clips have an array of `field`, bool (n,)."""
        return np.asarray(self.text(f"{field}.shard").is_valid())

    def stored(self, row: int, field: str) -> Stored | None:
        """What the index says of the array of `field` of a clip; None where the clip has none."""
        if not self.text(f"{field}.shard")[row].is_valid:
            return None
        entries = [f"{field}.{name}" for name in Stored._fields]
        values: list[Any] = [self.value(name, row) if name in self.columns else None for name in entries]
        shard, key, dtype, shape, sha256 = values
        return Stored(
            shard,
            key,
            dtype if isinstance(dtype, str) else None,
            shape if isinstance(shape, list) else None,
            sha256 if isinstance(sha256, str) else None,
        )

    @cached_property
    def _order(self) -> np.ndarray | None:
        """The rows by their ids; None where the index has this order."""
        import pyarrow.compute as pc

        ids = self.text("id")
        if len(ids) < 2 or pc.all(pc.less(ids[:-1], ids[1:])).as_py():
            return None
        return np.asarray(pc.sort_indices(ids), np.uint32)

    def row(self, clip_id: object) -> int | None:
        """The number of the row of a clip, found by bisection; None where there is no such clip."""
        if not isinstance(clip_id, str):
            return None
        ids, order = self.text("id"), self._order
        first, last = 0, len(ids)
        while first < last:
            middle = (first + last) // 2
            row = middle if order is None else int(order[middle])
            here = ids[row].as_py()
            if here == clip_id:
                return row
            first, last = (middle + 1, last) if here < clip_id else (first, middle)
        return None

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """(clip id, field or "", what is wrong) of names that no cache written by dawn-bench has.

        Ids become the names of files, and shards are opened by name: ids are plain names and unique, shards are
        `<field>/<field>-NNNNN.safetensors`, so that nothing outside the cache or the output folder is read or written.
        """
        import pyarrow.compute as pc

        ids = self.text("id")
        for row in np.flatnonzero(~np.asarray(pc.match_substring_regex(ids, _PLAIN))):
            if (fault := name_fault(name := ids[int(row)].as_py())) is not None:
                yield name, "", fault
        if self._order is not None:
            by_id = ids.take(self._order)
            if pc.any(pc.equal(by_id[:-1], by_id[1:])).as_py():
                counts = ids.value_counts().to_pylist()
                yield from ((c["values"], "", f"is there {c['counts']} times") for c in counts if c["counts"] > 1)
        for field in self.all_fields:
            if (wrong := name_fault(field)) is not None:
                yield "", field, f"is not a field: its name {wrong}"
                continue
            numbers, shards = self.numbers_of(f"{field}.shard")
            bad = {n: fault for n, name in enumerate(shards) if (fault := shard_fault(name, field=field)) is not None}
            for row in np.flatnonzero(np.isin(numbers, list(bad))):
                yield ids[int(row)].as_py(), field, bad[int(numbers[row])]

    def _frame_counts(self) -> np.ndarray:
        """The column `n_frames`, int64 (n,)."""
        import pyarrow as pa

        column = self.columns["n_frames"]
        if not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            counts = column.to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):
                if ((counts >= 0) & (counts < 2**40)).all() and (counts == np.floor(counts)).all():
                    return counts.astype(np.int64)
        raise self._damage("has a value in column 'n_frames' that is not a frame count.")

    def _damage(self, what: str) -> DamageError:
        return DamageError(what, path=self.path, hint=_AGAIN)


class RowFacts(Mapping[str, Any]):
    """Columns of one row of an index as a mapping that reads a column on first use, and `others`, which are at hand.

    `columns` are (key, name of the column). A copy by pickle is a plain dict.
    """

    __slots__ = ("_columns", "_index", "_others", "_row")

    def __init__(self, index: Index, row: int, columns: Mapping[str, str], others: Mapping[str, Any]) -> None:
        self._index, self._row, self._columns, self._others = index, row, columns, others

    def __getitem__(self, key: str) -> Any:
        if key in self._others:
            return self._others[key]
        return self._index.value(self._columns[key], self._row)

    def __iter__(self) -> Iterator[str]:
        yield from self._columns
        yield from self._others

    def __len__(self) -> int:
        return len(self._columns) + len(self._others)

    def __contains__(self, key: object) -> bool:
        return key in self._columns or key in self._others

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
