"""The shards of a cache: safetensors files whose arrays are views of a memory map.

Slicing a view reads only the pages it needs, and nothing is copied until it is used. Where frames are stored compressed
without loss, or masks as bits (the shard's metadata has a `codec`), slicing unpacks the frames of the slice.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.columns import file_state
from dawn_bench.errors import InputError
from dawn_bench.packed import BITS_CODEC, CODEC, OFFSETS, PackedBits, PackedFrames, cache_hint
from dawn_bench.readers import DamageError, parse_json, read_shard_header

#: Tensors whose places in their shards a process remembers: about 25 MB.
_ENTRIES = 65_536


@dataclass(frozen=True)
class Header:
    """Where the tensors of a shard are: dtype, first and last byte of the file, and shape, by key.

    `state` tells the file that it is of from one that replaces it.
    """

    entries: Mapping[str, tuple[np.dtype, int, int, tuple[int, ...]]]
    facts: Mapping[str, str]
    state: tuple[int, ...]

    @staticmethod
    def read(path: Path) -> Header:
        """The header of a shard; raises `DamageError` where it is absent or damaged."""
        header, start = read_shard_header(path, hint=cache_hint(path))
        facts = dict(header.pop("__metadata__", {}))
        if facts.get("codec", CODEC) not in (CODEC, BITS_CODEC):
            known = f"{CODEC!r} and {BITS_CODEC!r}"
            raise InputError(f"is packed as {facts['codec']!r}; this dawn-bench reads {known}.", path=path)
        entries = {}
        for key, entry in header.items():
            first, last = (start + offset for offset in entry["data_offsets"])
            entries[key] = entry["dtype"], first, last, tuple(entry["shape"])
        return Header(entries, facts, file_state(path.stat()))

    def keys(self) -> list[str]:
        """The names of the arrays; the offsets of packed frames are no arrays of their own."""
        own = self.facts.get("codec") != CODEC
        return [key for key in self.entries if own or not key.endswith(OFFSETS)]

    def array(self, data: np.ndarray, key: str, path: Path) -> Any:
        """The array `key` as a view of the file's bytes; a packed one unpacks what is read.

        Raises `DamageError` where it is absent, or its table of packed frames or masks is damaged.
        """
        codec = self.facts.get("codec")
        if key not in self.entries or (codec == CODEC and key.endswith(OFFSETS)):
            raise DamageError(f"has no array {key!r}.", path=path, hint=cache_hint(path))
        if codec is None:
            return self._tensor(data, key)
        try:
            row = parse_json(self.facts.get("row", ""))
            if codec == BITS_CODEC:
                return PackedBits(self._tensor(data, key), row)
            return PackedFrames(self._tensor(data, key), self._tensor(data, key + OFFSETS), row, path=path)
        except (ValueError, KeyError) as error:
            what = "masks" if codec == BITS_CODEC else "frames"
            raise DamageError(f"has a damaged table of packed {what}.", path=path, hint=cache_hint(path)) from error

    def _tensor(self, data: np.ndarray, key: str) -> np.ndarray:
        dtype, first, last, shape = self.entries[key]
        return np.asarray(data[first:last]).view(dtype).reshape(shape)


def open_shard(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file as a read-only view of one memory map; packed ones unpack what is read.

    The `safetensors` package copies each slice that it returns to numpy. The format is a length, a JSON header and raw
    bytes, so a view is a few lines. Raises `InputError` for an absent or damaged file.
    """
    header = Header.read(path)
    data = np.memmap(path, mode="r", dtype=np.uint8, offset=0)
    return {key: header.array(data, key, path) for key in header.keys()}  # noqa: SIM118


def shard_facts(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises `InputError` for an absent or damaged file."""
    header, _ = read_shard_header(path, hint=cache_hint(path))
    return dict(header.get("__metadata__", {}))


def shard_array(root: Path, shard: str, key: str) -> np.ndarray:
    """The array `key` of one shard of the cache at `root`; raises `InputError` where it is absent or damaged."""
    return Shards(root, maps=1).array(shard, key)


class Shards:
    """Arrays of the shards of the cache at `root`, by the shard's name and the array's key.

    The last `maps` files stay mapped; each map keeps its file open. What their headers say is remembered longer, so
    that a shard that is mapped again is not parsed again. A file that was replaced in between is read anew.
    """

    def __init__(self, root: Path, *, maps: int | None = None) -> None:
        self.root = root
        self._open = lru_cache(maxsize=maps_allowed() if maps is None else maps)(self._opened)
        self._headers: OrderedDict[str, Header] = OrderedDict()
        self._entries = 0

    def array(self, name: str, key: str) -> np.ndarray:
        """The array `key` of the shard `name`; raises `InputError` where it is absent or damaged."""
        header, data, views = self._open(name)
        if key not in views:
            views[key] = header.array(data, key, self.root / name)
        return views[key]

    def _opened(self, name: str) -> tuple[Header, np.ndarray, dict[str, np.ndarray]]:
        """The header of a shard, its bytes, and the views of them that were asked for."""
        header, path = self._header(name), self.root / name
        try:
            return header, np.memmap(path, mode="r", dtype=np.uint8, offset=0), {}
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        self._open.cache_clear()  # others have files open too
        return header, np.memmap(path, mode="r", dtype=np.uint8, offset=0), {}

    def _header(self, name: str) -> Header:
        path = self.root / name
        header = self._headers.pop(name, None)
        if header is not None:
            self._entries -= len(header.entries)
            if not path.is_file() or file_state(path.stat()) != header.state:
                header = None
        header = header or Header.read(path)
        self._headers[name] = header
        self._entries += len(header.entries)
        while self._entries > _ENTRIES and len(self._headers) > 1:
            _, oldest = self._headers.popitem(last=False)
            self._entries -= len(oldest.entries)
        return header


def maps_allowed(wanted: int = 32_768) -> int:
    """How many shards may be mapped at once. A map keeps its file open, so the limit of open files is raised first."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return limit // 2
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (ValueError, OSError):  # macOS allows fewer than it reports
        return soft // 2
    return limit // 2
