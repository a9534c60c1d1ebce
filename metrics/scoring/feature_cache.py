"""Features on disk, by the hash of their input and the fingerprint of their extractor.

    <folder>/<feature>-<fingerprint>/*.shard.safetensors    the arrays of many clips, or why a clip has none
    <folder>/<feature>-<fingerprint>/<clip hash>.safetensors, .json    the same, one file a clip, of earlier versions

An entry carries a hash of its content: one that was damaged since counts as absent, and is computed again. So does one
that other libraries or another kind of device computed: a row states those in use. Equal frames have equal hashes, so
methods share the features of true clips and sanity rows are not computed twice.

Arrays are copies in memory and no file stays open. A metric that needs those of all clips keeps their rows
(`stored_rows`), which are read again when they are folded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import unsealed
from dawn_bench.lazy import MOST_ROWS, row_blocks
from dawn_bench.metrics.scoring.shards import Entry, Place, ShardFolder, arrays_seal
from dawn_bench.names import name_fault, owned
from dawn_bench.readers import DamageError, read_json, read_shard_header
from dawn_bench.storage import raise_if_refused


def content_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's bytes."""
    digest = hashlib.sha256()
    for rows in row_blocks(array, most=MOST_ROWS):
        digest.update(rows.data)
    return digest.hexdigest()


def content_hash(clip: Clip, field: str) -> str:
    """The sha256 of the bytes of one field (taken from `meta` where present) and the number of frames.

    It becomes the name of a file, and `meta` may come from anybody's cache.
    """
    known = clip.meta.get(f"{field}_sha256")
    return f"{known if name_fault(known) is None else content_sha256(clip[field])}-{clip.n_frames}"


#: Key of the seal in the metadata of an earlier version's file; files of still earlier ones have none.
SEAL = "seal"
#: Key of what computed a feature; files of earlier versions have none and count.
COMPUTED_BY = "computed_by"
#: Bytes of rows that are read at once.
BLOCK = 1 << 25


class StoredRows:
    """An array of the cache that is read when it is needed: rows (n, ...) of one clip.

    It is what a metric keeps of a clip; a slice of it is one too. Pickled, it becomes the array: another machine may
    not have the folder.

    Args:
        source: the feature and its fingerprint.
        stretch: the first row and the one after the last, None for all.
    """

    def __init__(
        self,
        entry: Entry,
        name: str,
        *,
        cache: FeatureCache,
        source: tuple[str, str],
        stretch: tuple[int, int] | None = None,
    ) -> None:
        array = entry.arrays[name]
        self.first, self.last = stretch or (0, array.shape[0])
        self.cache, self.source, self.dtype = cache, source, array.dtype
        self.shape = (self.last - self.first, *array.shape[1:])
        self._entry, self._name = entry, name

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Which rows of its source they are."""
        return self._entry.key, self._name, self.first, self.last

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> StoredRows:
        first, last, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("only consecutive rows")
        stretch = self.first + first, self.first + max(first, last)
        return StoredRows(self._entry, self._name, cache=self.cache, source=self.source, stretch=stretch)

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows `first` to `last` (exclusive). Raises `DamageError` where they are gone."""
        stop = len(self) if last is None else min(last, len(self))
        return self._entry.read(self._name, self.first + first, self.first + stop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.array, (self.read(),)


class _Stored(np.ndarray):
    """An array that knows its rows in the cache; what is computed from it is a plain array."""

    rows: StoredRows | None = None

    def __array_wrap__(self, array: np.ndarray, *arguments: Any) -> Any:
        plain = array.view(np.ndarray)
        return plain[()] if plain.ndim == 0 else plain

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()


def stored_rows(array: np.ndarray) -> np.ndarray | StoredRows:
    """The place of a whole array that came from a cache; of any other the array itself."""
    rows = getattr(array, "rows", None)
    return rows if isinstance(rows, StoredRows) else array


class FeatureCache:
    """Arrays by (feature, fingerprint, hash of the clip).

    Args:
        folder: where they are; None for a temporary folder that lives as long as the cache and what was read from it.
        computed_by: stands for libraries and device. Entries of others count as absent, and so do files of earlier
            versions, which do not state it, unless they are `trusted`.
        writer: how the names of this process's shards begin; names are unique without it.
    """

    def __init__(self, folder: Path | None, computed_by: str = "", *, trusted: bool = True, writer: str = "") -> None:
        self._own = TemporaryDirectory(prefix="dawn-bench-features-") if folder is None else None
        self.folder = folder or Path(self._own.name if self._own else "")
        self.computed_by, self.writer = computed_by, writer
        self.unstated = computed_by if trusted else None
        self._folders: dict[str, ShardFolder] = {}

    def get(self, name: str, fingerprint: str, key: str) -> dict[str, np.ndarray] | None:
        """The arrays, read-only, or None; raises a stored `ItemError`. A damaged entry counts as absent."""
        for entry in self._shards(name, fingerprint).entries(key):
            if entry.facts.get(COMPUTED_BY) == self.computed_by and (arrays := entry.whole()) is not None:
                return self._read(entry, arrays, name, fingerprint)
        earlier = self._earlier(name, fingerprint, key)
        return None if earlier is None else self._read(*earlier, name, fingerprint)

    def put(self, name: str, fingerprint: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays. They are on disk after `flush`, which also happens by itself every few dozen clips."""
        self._shards(name, fingerprint, writes=True).put(key, {COMPUTED_BY: self.computed_by}, arrays)

    def put_failure(self, name: str, fingerprint: str, key: str, error: ItemError) -> None:
        """Keep the reason why this clip has no such feature."""
        facts = {"reason": error.reason, "detail": error.detail, COMPUTED_BY: self.computed_by}
        self._shards(name, fingerprint, writes=True).put(key, facts)

    def flush(self) -> None:
        """Write what was put since the last flush: one shard a feature."""
        for folder in self._folders.values():
            folder.flush()

    def _shards(self, name: str, fingerprint: str, *, writes: bool = False) -> ShardFolder:
        label = f"{name}-{fingerprint}"
        if writes:
            owned(self.folder, label)
        if label not in self._folders:
            self._folders[label] = ShardFolder(self.folder / label, writer=self.writer, lasting=self._own is None)
        return self._folders[label]

    def _read(
        self, entry: Entry, arrays: Mapping[str, np.ndarray], name: str, fingerprint: str
    ) -> dict[str, np.ndarray]:
        if "reason" in entry.facts:
            raise ItemError(str(entry.facts["reason"]), str(entry.facts["detail"]))
        stored: dict[str, np.ndarray] = {}
        for label, array in arrays.items():
            known = array.view(_Stored)
            known.rows = StoredRows(entry, label, cache=self, source=(name, fingerprint))
            stored[label] = known
        return stored

    def _earlier(self, name: str, fingerprint: str, key: str) -> tuple[Entry, dict[str, np.ndarray]] | None:
        """What an earlier version stored in files of the clip's own."""
        path = self.folder / f"{name}-{fingerprint}" / f"{key}.safetensors"
        failure = path.with_suffix(".json")
        try:
            if path.is_file():
                header, start = read_shard_header(path)
                facts = header.pop("__metadata__", {})
                places: dict[str, np.ndarray | Place] = {
                    label: Place(path, start + tensor["data_offsets"][0], tensor["dtype"], tuple(tensor["shape"]))
                    for label, tensor in header.items()
                }
                entry = Entry(key, {}, places, "")
                arrays = {label: entry.read(label) for label in places}
                damaged = facts.get(SEAL) not in (None, arrays_seal(arrays))
            elif failure.is_file():
                facts = unsealed(read_json(failure, dict))
                entry, arrays, damaged = Entry(key, facts, {}, ""), {}, not {"reason", "detail"} <= set(facts)
            else:
                return None
        except DamageError:
            return None
        except ValueError as error:
            raise_if_refused(error)
            return None
        other = facts.get(COMPUTED_BY, self.unstated) != self.computed_by
        return None if damaged or other else (entry, arrays)


class Flushes(Protocol):
    """Something with entries that are not written yet."""

    def flush(self) -> None:
        """Write them."""


@contextmanager
def flushing(*stores: Flushes) -> Iterator[None]:
    """Flush at the end of the block, however it ends: Ctrl-C loses nothing."""
    try:
        yield
    finally:
        for store in stores:
            store.flush()
