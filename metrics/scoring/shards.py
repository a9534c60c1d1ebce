"""Small entries of facts and arrays, many to a file: 200,000 of them in a few thousand shards.

    <folder>/<writer>-<hash>.shard.safetensors

A shard is a safetensors file with the arrays `<key>/<name>`; its metadata hold the facts and a seal of each entry. It
has the entries that one process put between two flushes, in the order of their keys, and is named by their content: two
hosts never give different shards one name, and equal entries make equal files. A shard never changes, so readers need
no lock, and keep no file open. Files without the time of a sync: a torn shard or entry counts as absent.

Of several entries with one key, those with arrays come before those of facts alone (a failure), and later ones before
earlier ones: first what this process wrote, then by the times of the files, equal times by name.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.files import replacing
from dawn_bench.names import owned
from dawn_bench.readers import DTYPES, DamageError, parse_json, read_shard_header
from dawn_bench.storage import raise_if_refused

SUFFIX = ".shard.safetensors"
#: A flush happens by itself at this many entries or bytes: a process that is killed loses no more.
MOST_ENTRIES, MOST_BYTES = 64, 1 << 26
#: Key of the index in a shard's metadata.
_INDEX = "index"
_CODES = {np.dtype(text).str: code for code, text in DTYPES.items()}
#: Shards whose index is kept in memory, per folder, and how long a folder's change time may lag behind, in seconds.
_KEPT, _CLOCK = 64, 2.0
#: Seconds after which files certainly have another time of change.
_TICK = 0.02


@dataclass(frozen=True)
class Place:
    """Where an array lies: `offset` bytes from the start of a file."""

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows `first` to `last` (exclusive), a new array. Raises `DamageError` where the file lacks them."""
        stop = self.shape[0] if last is None else min(last, self.shape[0])
        rows = np.empty((max(stop - first, 0), *self.shape[1:]), self.dtype)
        rest = memoryview(rows.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset + first * math.prod(self.shape[1:]) * self.dtype.itemsize)
                while rest:
                    if not (count := file.readinto(rest)):
                        raise DamageError("is cut short.", path=self.path)
                    rest = rest[count:]
        except OSError as error:
            raise_if_refused(error)
            raise DamageError(f"cannot be read ({error.strerror}).", path=self.path) from error
        return rows


@dataclass
class Entry:
    """One entry: its facts, and its arrays, in memory until they are flushed and at their places from then on."""

    key: str
    facts: Mapping[str, Any]
    arrays: dict[str, np.ndarray | Place]
    seal: str

    def read(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of one array, read-only. Raises `DamageError` where its file is gone or cut short."""
        array = self.arrays[name]
        rows = array.read(first, last) if isinstance(array, Place) else array[first:last]
        rows.flags.writeable = False
        return rows

    def whole(self) -> dict[str, np.ndarray] | None:
        """All arrays; None where the entry is damaged."""
        try:
            arrays = {name: self.read(name) for name in self.arrays}
        except DamageError:
            return None
        pending = any(isinstance(array, np.ndarray) for array in self.arrays.values())
        return arrays if pending or seal_of(self.key, self.facts, arrays) == self.seal else None


def arrays_seal(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of the names, types, shapes and bytes of some arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def seal_of(key: str, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of all that an entry holds."""
    text = json.dumps([key, facts, arrays_seal(arrays)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class ShardFolder:
    """The shards of one folder, which is created with the first of them.

    `writer` begins the names of this process's shards. Its own entries are seen at once, those of others once they are
    flushed. In a `lasting` folder the end of the process writes what nobody flushed.
    """

    def __init__(self, folder: Path, *, writer: str = "", lasting: bool = True) -> None:
        self.folder, self.writer = folder, writer or "part"
        self._pending: dict[str, Entry] = {}
        self._bytes = 0
        self._ranks: dict[str, tuple[int, int, str]] = {}  # of shards by name: own ones, then by time
        self._shards_of: dict[str, tuple[str, ...]] = {}
        self._indices: OrderedDict[str, dict[str, Entry]] = OrderedDict()
        self._written = 0
        self._listed_at = 0
        if lasting:
            weakref.finalize(self, _flush_rest, folder, self.writer, self._pending)

    def put(self, key: str, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Keep a copy of an entry, in place of an earlier one with this key; `facts` are JSON.

        Facts alone do not take the place of arrays.
        Raises `ValueError` for a key with a slash and for arrays of other than numbers.
        """
        if "/" in key:
            raise ValueError(f"the key {key!r} has a slash")
        facts = json.loads(json.dumps(facts))
        arrays = arrays or {}
        if sum(array.nbytes for array in arrays.values()) < MOST_BYTES:
            copies = {name: np.array(array, order="C", ndmin=1) for name, array in arrays.items()}
        else:  # written before this returns: an hour's features are 0.7 GB, and a copy of them as much again
            copies = {name: np.ascontiguousarray(array).view() for name, array in arrays.items()}
        for name, copy in copies.items():
            if copy.dtype.str not in _CODES:
                raise ValueError(f"{name} has {copy.dtype} values, which cannot be stored")
            copy.flags.writeable = False
        if not copies and key in self._pending and self._pending[key].arrays:
            return
        self._pending[key] = Entry(key, facts, dict(copies), seal_of(key, facts, copies))
        self._bytes += sum(copy.nbytes for copy in copies.values())
        if len(self._pending) >= MOST_ENTRIES or self._bytes >= MOST_BYTES:
            self.flush()

    def entries(self, key: str) -> Iterator[Entry]:
        """The entries with this key, the one that counts first: several where others wrote it too.

        Some may be damaged.
        """
        pending = self._pending.get(key)
        rest = [] if pending is None else [pending]
        if pending is not None and pending.arrays:
            yield rest.pop()
        tried: set[str] = set()
        for attempt in range(2):
            if attempt:
                self._look()
            for name in sorted(self._shards_of.get(key, ()), key=self._ranks.__getitem__, reverse=True):
                if name not in tried and (entry := self._index(name).get(key)) is not None:
                    if entry.arrays:
                        yield entry
                    else:
                        rest.append(entry)
                tried.add(name)
        yield from rest

    def flush(self) -> None:
        """Write the entries since the last flush as one shard."""
        if self._pending:
            name = _write(self.folder, self.writer, self._pending)
            self._written += 1
            self._indices.pop(name, None)  # what it replaces may have been torn
            self._add((1, self._written, name), self._pending)
            self._pending.clear()
        self._bytes = 0

    def _add(self, rank: tuple[int, int, str], keys: Mapping[str, Any]) -> None:
        name = rank[-1]
        self._ranks[name] = rank
        for key in keys:
            known = self._shards_of.get(key, ())
            if name not in known:
                self._shards_of[key] = (*known, name)

    def _look(self) -> None:
        """Learn of the shards that other processes have written since."""
        try:
            changed = self.folder.stat().st_mtime_ns
            if changed == self._listed_at:
                return
            paths = [path for path in self.folder.glob(f"[!.]*{SUFFIX}") if path.name not in self._ranks]
        except OSError as error:
            raise_if_refused(error)
            return  # there is none
        # a clock of seconds may show the same time after the next shard
        self._listed_at = changed if time.time_ns() - changed > _CLOCK * 1e9 else 0
        for path in paths:
            if keys := _read_index(path):  # a torn one may be repaired
                self._add((0, _changed(path), path.name), keys)

    def _index(self, name: str) -> dict[str, Entry]:
        if name not in self._indices:
            if not (index := _read_index(self.folder / name)):
                return index  # damaged since: it may be repaired
            self._indices[name] = index
            if len(self._indices) > _KEPT:
                self._indices.popitem(last=False)
        self._indices.move_to_end(name)
        return self._indices[name]


def _changed(path: Path) -> int:
    """The time of the last change of a file or folder in nanoseconds; 0 where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise_if_refused(error)
        return 0


def _write(folder: Path, writer: str, entries: Mapping[str, Entry]) -> str:
    """Write a shard, and turn the arrays of its entries into places; returns its name."""
    index = {key: {"facts": entry.facts, "seal": entry.seal} for key, entry in entries.items()}
    header: dict[str, Any] = {"__metadata__": {_INDEX: json.dumps(index, sort_keys=True, separators=(",", ":"))}}
    arrays: list[tuple[Entry, str, np.ndarray]] = []
    offset = 0
    for key in sorted(entries):
        for name, array in sorted(entries[key].arrays.items()):
            assert isinstance(array, np.ndarray)
            end = offset + array.nbytes
            code, shape = _CODES[array.dtype.str], list(array.shape)
            header[f"{key}/{name}"] = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
            arrays.append((entries[key], name, array))
            offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = owned(folder.parent, folder.name) / f"{writer}-{hashlib.sha256(text).hexdigest()[:16]}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    age = (time.time_ns() - _changed(path.parent)) / 1e9
    time.sleep(min(max(_TICK - age, 0), _TICK))  # later shards have later times
    with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, array in arrays:
            file.write(array.reshape(-1).view(np.uint8).data)
    start = 8 + len(text)
    for entry, name, array in arrays:
        entry.arrays[name] = Place(path, start, array.dtype, array.shape)
        start += array.nbytes
    return path.name


def _read_index(path: Path) -> dict[str, Entry]:
    """The entries of a shard by key; none where it is damaged or gone."""
    try:
        header, start = read_shard_header(path)
        index = parse_json(header.pop("__metadata__", {}).get(_INDEX, ""))
        entries = {key: Entry(key, dict(own["facts"]), {}, str(own["seal"])) for key, own in index.items()}
        for label, tensor in header.items():
            key, _, name = label.partition("/")
            if key in entries:
                place = Place(path, start + tensor["data_offsets"][0], tensor["dtype"], tuple(tensor["shape"]))
                entries[key].arrays[name] = place
        return entries
    except DamageError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise_if_refused(error)
        return {}


def _flush_rest(folder: Path, writer: str, pending: dict[str, Entry]) -> None:
    """At the end of the process or of the object: what nobody flushed."""
    if pending and folder.parent.is_dir():
        with suppress(Exception):  # it is computed again
            _write(folder, writer, pending)
