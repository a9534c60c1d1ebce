"""Writes the shards of a cache: one safetensors file per field for one worker's list of clips.

Rows stream straight to their final position on disk. Space for the header is reserved in front, sized from the list of
clips, so that a clip may be larger than memory and nothing is written twice. The bytes of a shard depend on the clips
and their arrays alone. A file gets its final name only when it is whole and synced to disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.files import commit, replacing, temporary_path
from dawn_bench.lazy import LazyRows, row_blocks
from dawn_bench.masks import MASKS
from dawn_bench.names import owned
from dawn_bench.packed import BITS_CODEC, CODEC, OFFSETS, cache_hint, pack, pack_bits
from dawn_bench.readers import DamageError
from dawn_bench.shard import Header

#: numpy dtype name -> safetensors dtype name.
DTYPES = {
    "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "float16": "F16", "float32": "F32", "float64": "F64", "bool": "BOOL",
}  # fmt: skip

#: Upper bound of one tensor's entry in the header, without its key.
_ENTRY_BYTES = 200
#: Bytes that are copied at a time.
_BLOCK = 2**22


def shard_name(field: str, number: int) -> str:
    """The path of a shard inside the cache."""
    return f"{field}/{field}-{number:05d}.safetensors"


def merge_shards(root: Path, field: str, number: int, places: Sequence[tuple[str, str]]) -> None:
    """Write shard `number` of `field` from arrays of other shards, `places` being their (shard, key), byte for byte.

    Raises `InputError` where one of these is absent or damaged, or they are packed in different ways.
    """
    headers = {name: Header.read(root / name) for name in dict.fromkeys(name for name, _ in places)}
    facts = next(iter(headers.values())).facts
    entries: dict[str, Any] = {}
    spans: list[tuple[Path, int, int]] = []
    end = 0
    for name, key in places:
        header, path = headers[name], root / name
        if header.facts != facts:
            raise InputError(f"{field} is packed in different ways: it cannot be merged.", path=path)
        for tensor in (key, key + OFFSETS) if facts.get("codec") == CODEC else (key,):
            if tensor not in header.entries:
                raise DamageError(f"has no array {tensor!r}.", path=path, hint=cache_hint(path))
            dtype, first, last, shape = header.entries[tensor]
            offsets = [end, end + last - first]
            entries[tensor] = {"dtype": DTYPES[str(dtype)], "shape": list(shape), "data_offsets": offsets}
            spans.append((path, first, last))
            end = offsets[1]
    table = {"__metadata__": dict(facts), **entries} if facts else entries
    text = json.dumps(table, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 64) * 64)
    owned(root, field)  # not a link out of the cache
    with replacing(root / shard_name(field, number)) as temporary, temporary.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for path, first, last in spans:
            with path.open("rb") as file:
                file.seek(first)
                for start in range(first, last, _BLOCK):
                    out.write(file.read(min(_BLOCK, last - start)))


class ShardWriter:
    """Streams clips into shards number `number` of the cache at `root`, one file per field.

    Call `begin(id)`, then `append(field, rows)` any number of times, then `finish()`, which returns what the index
    needs, or `rollback()`. `close()` commits the files. As a context manager it removes its temporary files when an
    exception leaves the block. Masks are stored as bits.

    Args:
        root: the cache's folder.
        number: of the group.
        ids: all clips that may be written.
        packed: fields of frames that are compressed without loss (`dawn_bench.packed`).
    """

    def __init__(self, root: Path, *, number: int, ids: Sequence[str], packed: Sequence[str] = ()) -> None:
        self.root, self.number, self.packed = root, number, packed
        keys = sum(len(json.dumps(i)) for i in ids)
        self._header_bytes = -(-(16 + keys + _ENTRY_BYTES * len(ids)) // 64) * 64
        self._files: dict[str, _FieldFile] = {}
        self._clip: str | None = None

    def begin(self, clip_id: str) -> None:
        """Start a clip."""
        assert self._clip is None, f"{self._clip} is still open"
        self._clip = clip_id

    def append(self, field: str, rows: np.ndarray) -> None:
        """Add `rows` (n, ...) along axis 0 of `field` of the current clip; raises OSError when the disk is full.

        Rows that are computed on access (`LazyRows`) are computed and written in parts.
        """
        assert self._clip is not None, "append outside a clip"
        if field not in self._files:
            kind = _PackedFile if field in self.packed else _MaskFile if field in MASKS else _FieldFile
            owned(self.root, field)  # not a link out of the cache
            self._files[field] = kind(self.root / shard_name(field, self.number), self._header_bytes)
        for part in row_blocks(rows) if isinstance(rows, LazyRows) else (rows,):
            self._files[field].append(part)

    def finish(self) -> dict[str, dict[str, Any]]:
        """End the clip; returns for each of its fields shard, key, dtype, shape and sha256."""
        assert self._clip is not None, "no clip is open"
        clip_id, self._clip = self._clip, None
        return {
            field: {"shard": shard_name(field, self.number), "key": clip_id, **file.finish(clip_id)}
            for field, file in sorted(self._files.items())
            if file.open
        }

    def rollback(self) -> None:
        """Drop the rows of the current clip."""
        self._clip = None
        for file in self._files.values():
            file.rollback()

    def restart(self) -> None:
        """Drop the rows of the current clip and begin it again."""
        assert self._clip is not None, "no clip is open"
        clip_id = self._clip
        self.rollback()
        self.begin(clip_id)

    def close(self) -> None:
        """Write the headers, sync the files and give them their final names."""
        for file in self._files.values():
            file.close()

    def abort(self) -> None:
        """Remove all files that are not closed."""
        for file in self._files.values():
            file.abort()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()


class _FieldFile:
    """One shard being written."""

    def __init__(self, path: Path, header_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.header_bytes = path, header_bytes
        self.temporary = temporary_path(path)
        self.file: BinaryIO = self.temporary.open("wb")
        self.file.seek(8 + header_bytes)
        self.entries: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, str] = {}  # the shard's metadata
        self.dtype: np.dtype | None = None
        self.end = 0  # of the finished clips, in bytes of data
        self._reset()

    def _reset(self) -> None:
        self.open = False
        self.rows, self.shape = 0, ()
        self.digest = hashlib.sha256()
        self.bytes = 0

    def append(self, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows)
        if not self.open:
            self.open, self.shape = True, rows.shape[1:]
        self.dtype = self.dtype or rows.dtype
        assert rows.dtype == self.dtype, f"{self.path.parent.name}: {rows.dtype} after {self.dtype}"
        assert rows.shape[1:] == self.shape, f"{self.path.parent.name}: rows {rows.shape[1:]} after {self.shape}"
        if rows.nbytes:
            self.write(rows)
        self.rows += len(rows)

    def write(self, rows: np.ndarray) -> None:
        data = rows.reshape(-1).view(np.uint8).data
        self.digest.update(data)
        self.bytes += self.file.write(data)

    def finish(self, key: str) -> dict[str, Any]:
        assert self.dtype is not None
        dtype, shape, digest = str(self.dtype), [self.rows, *self.shape], self.digest.hexdigest()
        self.enter(key, dtype, shape)
        self._reset()
        return {"dtype": dtype, "shape": shape, "sha256": digest}

    def enter(self, key: str, dtype: str, shape: list[int]) -> None:
        """Record what was written since the last entry as a tensor of the shard."""
        self.entries[key] = {
            "dtype": DTYPES[dtype], "shape": shape, "data_offsets": [self.end, self.end + self.bytes]
        }  # fmt: skip
        self.end, self.bytes = self.end + self.bytes, 0

    def rollback(self) -> None:
        if self.open:
            self.file.seek(8 + self.header_bytes + self.end)
            self.file.truncate()
            self._reset()
            if not self.entries:
                self.dtype = None

    def close(self) -> None:
        if not self.entries:
            self.abort()
            return
        # every reader must find the data at the offsets of the header, padded with spaces as the format allows
        table = {"__metadata__": self.facts, **self.entries} if self.facts else self.entries
        header = json.dumps(table, separators=(",", ":")).encode().ljust(self.header_bytes)
        assert len(header) == self.header_bytes, "the header is larger than the space reserved for it"
        self.file.seek(0)
        self.file.write(len(header).to_bytes(8, "little") + header)
        self.file.close()
        commit(self.temporary, self.path)

    def abort(self) -> None:
        with suppress(OSError):  # rows that a full disk refused may still be buffered
            self.file.close()
        self.temporary.unlink(missing_ok=True)


class _PackedFile(_FieldFile):
    """A shard of packed frames: for every clip its bytes and the offset of each frame."""

    def __init__(self, path: Path, header_bytes: int) -> None:
        super().__init__(path, 2 * header_bytes + _ENTRY_BYTES)  # two tensors per clip, and the metadata

    def _reset(self) -> None:
        super()._reset()
        self.offsets = [0]

    def write(self, rows: np.ndarray) -> None:
        self.digest.update(rows.reshape(-1).view(np.uint8).data)
        for data in pack(rows):
            self.bytes += self.file.write(data)
            self.offsets.append(self.bytes)

    def enter(self, key: str, dtype: str, shape: list[int]) -> None:
        self.facts = {"codec": CODEC, "row": json.dumps(shape[1:])}
        self.bytes += self.file.write(bytes(-self.bytes % 8))  # align the offsets for their dtype
        super().enter(key, "uint8", [self.bytes])
        offsets = np.array(self.offsets, np.int64)
        self.bytes = self.file.write(offsets.data)
        super().enter(key + OFFSETS, "int64", list(offsets.shape))


class _MaskFile(_FieldFile):
    """A shard of masks, a bit a pixel.

    The checksum is that of the bits: hashing every pixel would take longer than computing and packing the masks.
    """

    def __init__(self, path: Path, header_bytes: int) -> None:
        super().__init__(path, header_bytes + _ENTRY_BYTES)  # and the metadata

    def write(self, rows: np.ndarray) -> None:
        assert rows.dtype == np.bool_ and rows.ndim == 3, f"{self.path.parent.name}: {rows.dtype} {rows.shape}"
        super().write(pack_bits(rows))

    def enter(self, key: str, dtype: str, shape: list[int]) -> None:
        self.facts = {"codec": BITS_CODEC, "row": json.dumps(shape[1:])}
        super().enter(key, "uint8", [*shape[:2], -(-shape[2] // 8)])
