"""The cache on disk: one set of safetensors shards per field, one Parquet index, one JSON with settings.

    cache.json                     schema version, dataset, size, fps, extractor fingerprints, settings
    index.parquet                  a row per clip: id, speaker, split, n_frames, status, reason, detail, source, ...
                                   and for every field f: `f.shard`, `f.key`, `f.dtype`, `f.shape`, `f.sha256`
    <field>/<field>-00012.safetensors

This module only reads; `dawn_bench.pipelines.preparation.shards` writes. Arrays are views of memory-mapped files:
slicing an array reads only the pages it needs, and nothing is copied until it is used. Where frames are stored
compressed without loss, or masks as bits (the shard's metadata has a `codec`), slicing unpacks the frames of the slice.
The index has dtype, shape and sha256 of the unpacked array, so only the shards differ; a mask's sha256 is of its bits.

To read a clip `c` of the index `pandas.read_parquet("index.parquet").set_index("id")` without this package:

    tensors = safetensors.numpy.load_file(c["pose.shard"]); pose = tensors[c["pose.key"]]

    data, at = tensors[key], tensors[key + "/offsets"]     # frame k of S px, lossless
    rows = numpy.frombuffer(pyarrow.decompress(data[at[k]:at[k + 1]], S * S * 3, "zstd"), "u1").reshape(S, S, 3)
    frame = rows.cumsum(0, dtype="u1"); frame[..., ::2] += frame[..., 1:2]

    masks = numpy.unpackbits(tensors[c["lip_mask.key"]], axis=-1, count=S).view(bool)    # (T,S,S)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from dawn_bench.clip import FPS, LARGEST, Clip, LazyArrays, field_fault
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.extractor_record import Extracted, of_cache
from dawn_bench.files import user_path
from dawn_bench.lazy import row_blocks
from dawn_bench.names import name_fault, shard_fault
from dawn_bench.packed import BITS_CODEC, CODEC, OFFSETS, PackedBits, PackedFrames, cache_hint
from dawn_bench.readers import DamageError, fitted, parse_json, read_json, read_shard_header, read_table
from dawn_bench.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from dawn_bench.windows import Windows

SCHEMA_VERSION = 1
SETTINGS_FILE, INDEX_FILE = "cache.json", "index.parquet"
OK, QUARANTINED = "ok", "quarantined"
#: Columns of the index that every clip has.
_COLUMNS = ("id", "speaker", "split", "n_frames", "status", "reason", "detail")


def open_shard(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file as a read-only view of one memory map; packed ones unpack what is read.

    The `safetensors` package copies each slice that it returns to numpy. The format is a length, a JSON header and raw
    bytes, so a view is a few lines. Raises `InputError` for an absent or damaged file.
    """
    header, start = read_shard_header(path, hint=cache_hint(path))
    facts = header.pop("__metadata__", {})
    data = np.memmap(path, mode="r", dtype=np.uint8, offset=0)
    arrays = {}
    for key, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        arrays[key] = np.asarray(data[first:last]).view(entry["dtype"]).reshape(entry["shape"])
    return _packed(arrays, facts, path) if "codec" in facts else arrays


def shard_facts(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises `InputError` for an absent or damaged file."""
    header, _ = read_shard_header(path, hint=cache_hint(path))
    return dict(header.get("__metadata__", {}))


def _packed(tensors: dict[str, np.ndarray], facts: Mapping[str, str], path: Path) -> dict[str, np.ndarray]:
    """Packed tensors as arrays that unpack on demand; raises `InputError` for a codec of a later version."""
    codec = facts["codec"]
    if codec not in (CODEC, BITS_CODEC):
        raise InputError(f"is packed as {codec!r}; this dawn-bench reads {CODEC!r} and {BITS_CODEC!r}.", path=path)
    try:
        row = parse_json(facts.get("row", ""))
        arrays: dict[str, Any] = {}
        if codec == BITS_CODEC:
            arrays |= {key: PackedBits(bits, row) for key, bits in tensors.items()}
        else:
            keys = [key for key in tensors if not key.endswith(OFFSETS)]
            arrays |= {key: PackedFrames(tensors[key], tensors[key + OFFSETS], row, path=path) for key in keys}
        return arrays
    except (ValueError, KeyError) as error:
        what = "masks" if codec == BITS_CODEC else "frames"
        raise DamageError(f"has a damaged table of packed {what}.", path=path, hint=cache_hint(path)) from error


def shard_array(root: Path, shard: str, key: str) -> np.ndarray:
    """The array `key` of one shard of the cache at `root`; raises `InputError` where it is absent or damaged."""
    return _entry(open_shard(root / shard), key, root / shard)


def _entry(arrays: Mapping[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    if key not in arrays:
        raise DamageError(f"has no array {key!r}.", path=path, hint=cache_hint(path))
    return arrays[key]


def check_finished(root: Path) -> None:
    """Raise `InputError` unless the folder has the two files that a finished cache has."""
    if not (root / SETTINGS_FILE).is_file() or not (root / INDEX_FILE).is_file():
        hint = f"Prepare a cache with: dawn-bench prepare --root VIDEOS --cache {'DIR' if root.exists() else root}"
        what = "is not a finished cache." if root.is_dir() else "is a file, not a cache folder."
        raise InputError(what if root.exists() else "does not exist.", path=root, hint=hint)


def read_settings(path: Path) -> dict[str, Any]:
    """The content of `cache.json`; raises `InputError` where it is damaged or of another schema version."""
    settings = read_json(path, dict, hint="Prepare the cache again: the same command, and nothing is processed twice.")
    if settings.get("schema") != SCHEMA_VERSION:
        raise InputError(
            f"has cache schema {settings.get('schema')}, this dawn-bench reads {SCHEMA_VERSION}.",
            path=path.parent,
            hint="Prepare it again.",
        )
    fitted(_Settings, settings, path=path)
    return settings


def read_index(path: Path) -> pd.DataFrame:
    """`index.parquet` with the columns and types that the reader relies on; raises `InputError` where it is damaged."""
    hint = "Prepare the cache again: the same command, and nothing is processed twice."
    index = read_table(path, hint=hint)
    fields = [str(c).removesuffix(".shard") for c in index.columns if str(c).endswith(".shard")]
    fields = [field for field in fields if name_fault(field) is None]  # the others are faults of their names
    for name in {"reason", "detail"} - {*index.columns}:  # written by a program of the user's own
        index[name] = ""
    wanted = (*_COLUMNS, *(f"{field}.key" for field in fields))
    if absent := [name for name in wanted if name not in index.columns]:
        raise DamageError(f"has no column {absent[0]!r}.", path=path, hint=hint)
    texts = [
        *(name for name in _COLUMNS if name != "n_frames"),
        *(f"{f}.{k}" for f in fields for k in ("shard", "key")),
    ]
    for name in texts:
        needed = name in ("id", "status", "split")
        if not all(isinstance(v, str) or (not needed and (v is None or v != v)) for v in index[name]):
            raise DamageError(f"has a value in column {name!r} that is not text.", path=path, hint=hint)
    if not all(isinstance(v, int | float | np.integer) and 0 <= v < 2**40 and v == int(v) for v in index["n_frames"]):
        raise DamageError("has a value in column 'n_frames' that is not a frame count.", path=path, hint=hint)
    return index


@dataclass(frozen=True)
class _Settings:
    """The entries of `cache.json` that are read; others are for information."""

    dataset: str
    size: Annotated[int, Field(ge=1, le=LARGEST)]
    fps: Annotated[int, Field(ge=1, le=1000)] = FPS
    fingerprints: dict[str, Any] = dataclass_field(default_factory=dict)
    settings: dict[str, Any] = dataclass_field(default_factory=dict)


def name_faults(index: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(clip id, field or "", what is wrong) of names in an index that no cache written by dawn-bench has.

    Ids become the names of files, and shards are opened by name: ids are plain names and unique, shards are
    `<field>/<field>-NNNNN.safetensors`, so that nothing outside the cache or the output folder is read or written.
    """
    ids = list(index["id"])
    counts = Counter(map(str, ids))
    faults = [(str(i), "", fault) for i in ids if (fault := name_fault(i)) is not None]
    faults += [(i, "", f"is there {count} times") for i, count in counts.items() if count > 1]
    for column in (c for c in index.columns if c.endswith(".shard")):
        field = column.removesuffix(".shard")
        if (wrong := name_fault(field)) is not None:
            faults.append(("", field, f"is not a field: its name {wrong}"))
            continue
        shards = {name for name in index[column] if isinstance(name, str)}  # others are never opened
        bad = {name: fault for name in shards if (fault := shard_fault(name, field=field)) is not None}
        if bad:
            rows = zip(ids, index[column], strict=True)
            faults += [(str(i), field, bad[name]) for i, name in rows if isinstance(name, str) and name in bad]
    return faults


def raw_blocks(array: np.ndarray, *, block: int = 2**22) -> Iterator[np.ndarray]:
    """The bytes of a cached array as uint8 (n,), in blocks of about `block` bytes; packed ones are unpacked."""
    for rows in row_blocks(array, block=block):
        yield rows.reshape(-1).view(np.uint8)


def hashed_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """What the sha256 in the index is of, in blocks: the bytes of the array, and of packed masks their bits."""
    return raw_blocks(array.packed if isinstance(array, PackedBits) else array)


def _maps_allowed(wanted: int = 32_768) -> int:
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


class Cache:
    """A prepared dataset: `cache["clip id"]` is one clip, iterating yields the usable clips in index order.

    `splits` replaces the splits of some clips, by id. Raises `InputError` when the folder is not a finished cache, or
    has another schema version.
    """

    def __init__(self, root: Path | str, *, splits: Mapping[str, str] | None = None) -> None:
        self.root = user_path(root)
        check_finished(self.root)
        self.settings = read_settings(self.root / SETTINGS_FILE)
        self.index = read_index(self.root / INDEX_FILE)
        for clip_id, field, fault in name_faults(self.index)[:1]:
            what = f"{field} of clip {clip_id!r}" if field else f"the clip id {clip_id!r}"
            raise DamageError(f"{what} {fault}.", path=self.root / INDEX_FILE, hint="Do not use this cache.")
        self._moved = dict(splits or {})
        if self._moved:
            self.index["split"] = self.index["id"].map(self._moved).fillna(self.index["split"])
        rows: list[dict[str, Any]] = self.index.to_dict("records")  # type: ignore[assignment]
        self._rows = {row["id"]: row for row in rows}
        self._clips: dict[str, Clip] = {}
        self._shard = lru_cache(maxsize=_maps_allowed())(lambda name: open_shard(self.root / name))

    def __reduce__(self) -> tuple[partial[Cache], tuple[Path]]:
        return partial(Cache, splits=self._moved), (self.root,)  # each worker opens its own memory maps

    def resplit(self, splits: Mapping[str, str]) -> Cache:
        """The same cache with other splits of some clips, by id; the folder does not change."""
        return Cache(self.root, splits=self._moved | dict(splits))

    @property
    def size(self) -> int:
        """Side of the cached frames in pixels."""
        return int(self.settings["size"])

    @cached_property
    def fields(self) -> list[str]:
        """Names of the fields that are stored, in alphabetical order; a clip may lack some (`Clip.fields`)."""
        return sorted({c.removesuffix(".shard") for c in self.index.columns if c.endswith(".shard")})

    @cached_property
    def extractors(self) -> Mapping[str, Extracted]:
        """Which extractor computed a field, with its version: `face`, `pose`, `blink`, audio features by their names.

        Fields whose extractor the cache does not record are absent.
        """
        return of_cache(self.settings)

    @cached_property
    def splits(self) -> list[str]:
        """Names of the splits, in alphabetical order."""
        return sorted({row["split"] for row in self._rows.values() if isinstance(row["split"], str) and row["split"]})

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of the usable clips of `split`, or of all splits.

        Raises `UnknownNameError` with the nearest names for a split that the cache does not have.
        """
        if split is not None and split not in self.splits:
            raise UnknownNameError(f"has no split {split!r}.", path=self.root, hint=nearest(split, self.splits))
        return [i for i, row in self._rows.items() if row["status"] == OK and (split is None or row["split"] == split)]

    def clips(self, split: str | None = None) -> list[Clip]:
        """The usable clips of `split`, or of all splits, in index order; raises as `ids`."""
        return [self[i] for i in self.ids(split)]

    def __repr__(self) -> str:
        clips = counted(len(self), "clip")
        fields = ", ".join(self.fields)
        return f"Cache({str(self.root)!r}: {clips} of {self.size} px, splits {', '.join(self.splits)}; fields {fields})"

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips())

    def __contains__(self, clip_id: object) -> bool:
        """Whether there is a clip with this id, usable or quarantined."""
        return clip_id in self._rows

    def __getitem__(self, clip_id: str) -> Clip:
        """The clip called `clip_id`, also if quarantined; raises `UnknownNameError` with the nearest ids."""
        if clip_id not in self._rows:
            hint = nearest(clip_id, self._rows)
            raise UnknownNameError(f"has no clip called {clip_id!r}.", path=self.root, hint=hint)
        if clip_id not in self._clips:
            self._clips[clip_id] = self._clip(clip_id, self._rows[clip_id])
        return self._clips[clip_id]

    def _clip(self, clip_id: str, row: Mapping[str, Any]) -> Clip:
        fixed = {"id", "speaker", "split", "n_frames"}
        meta = {k: v for k, v in row.items() if k not in fixed and "." not in k}
        meta |= {f"{f}_sha256": row[f"{f}.sha256"] for f in ("frames", "audio", "vertices") if f"{f}.sha256" in row}
        meta["source_root"] = self.settings.get("root")
        fields = [f for f in self.fields if isinstance(row[f"{f}.shard"], str)]
        return Clip(
            id=clip_id,
            speaker=str(row["speaker"]),
            split=str(row["split"]),
            n_frames=int(row["n_frames"]),
            arrays=LazyArrays(fields, partial(self._array, clip_id)),
            fps=int(self.settings.get("fps", FPS)),
            meta=meta,
            extractors=self.extractors,
        )

    def _array(self, clip_id: str, field: str) -> np.ndarray:
        row = self._rows[clip_id]
        shard, key = row[f"{field}.shard"], row[f"{field}.key"]
        array = _entry(self._shard(shard), key, self.root / shard)
        dtype, shape = row.get(f"{field}.dtype"), row.get(f"{field}.shape")
        expected = [dtype, *shape] if isinstance(dtype, str) and isinstance(shape, list | np.ndarray) else None
        if expected not in (None, [str(array.dtype), *array.shape]):
            what = f"holds {array.dtype} {list(array.shape)} for {field} of {clip_id}, which the index has otherwise."
            raise DamageError(what, path=self.root / shard, hint=cache_hint(self.root / shard))
        fault = field_fault(field, array, n_frames=int(row["n_frames"]), size=self.size)
        if fault is not None:
            raise DamageError(
                f"{field} of clip {clip_id} {fault}.", path=self.root / shard, hint=cache_hint(self.root / shard)
            )
        return array

    def windows(
        self,
        *,
        frames: int = 40,
        fields: Sequence[str] = ("frames",),
        split: str | None = "train",
        stride: int = 1,
        step: int | None = None,
        seed: int | None = None,
    ) -> Windows:
        """Windows of `frames` frames as a map-style `torch.utils.data.Dataset`; see `dawn_bench.windows.Windows`.

        >>> windows = open_cache("my-cache").windows(frames=16, fields=("frames", "pose"), split="train")
        >>> windows[0]["frames"].shape
        torch.Size([16, 3, 32, 32])
        """
        from dawn_bench.windows import Windows

        return Windows(self, frames=frames, fields=fields, split=split, stride=stride, step=step, seed=seed)

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(id, reason, detail) of the clips that could not be used."""
        return [(i, row["reason"], row["detail"]) for i, row in self._rows.items() if row["status"] != OK]
