"""The cache on disk: one set of safetensors shards per field, one Parquet index, one JSON with settings.

    cache.json                     schema version, dataset, size, fps, extractor fingerprints, settings
    index.parquet                  a row per clip: id, speaker, split, n_frames, status, reason, detail, source, ...
                                   and for every field f: `f.shard`, `f.key`, `f.dtype`, `f.shape`, `f.sha256`
    <field>/<field>-00012.safetensors

This module only reads; `dawn_bench.pipelines.preparation.shards` writes. Arrays are views of memory-mapped files:
slicing an array reads only the pages it needs, and nothing is copied until it is used. Where frames are stored
compressed without loss (the shard's metadata has a `codec`), slicing unpacks the frames of the slice. The index has
dtype, shape and sha256 of the unpacked array, so only the shards differ.

To read a clip `c` of the index `pandas.read_parquet("index.parquet").set_index("id")` without this package:

    tensors = safetensors.numpy.load_file(c["pose.shard"]); pose = tensors[c["pose.key"]]

    data, at = tensors[key], tensors[key + "/offsets"]     # frame k of S px, lossless
    rows = numpy.frombuffer(pyarrow.decompress(data[at[k]:at[k + 1]], S * S * 3, "zstd"), "u1").reshape(S, S, 3)
    frame = rows.cumsum(0, dtype="u1"); frame[..., ::2] += frame[..., 1:2]
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dawn_bench.clip import FPS, Clip, LazyArrays
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.names import name_fault, shard_fault
from dawn_bench.packed import CODEC, OFFSETS, PackedFrames
from dawn_bench.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from dawn_bench.windows import Windows

SCHEMA_VERSION = 1
SETTINGS_FILE, INDEX_FILE = "cache.json", "index.parquet"
OK, QUARANTINED = "ok", "quarantined"

_DTYPES = {
    "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_,
}  # fmt: skip


def open_shard(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file as a read-only view of one memory map; packed frames as `PackedFrames`.

    The `safetensors` package copies each slice that it returns to numpy. The format is a length, a JSON header and raw
    bytes, so a view is a few lines.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, mode="r", dtype=np.uint8, offset=0)
    facts = header.pop("__metadata__", {})
    arrays = {}
    for key, entry in header.items():
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        arrays[key] = np.asarray(data[start:stop]).view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return _packed(arrays, facts, path) if "codec" in facts else arrays


def shard_facts(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises OSError or ValueError for a file that is none."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return dict(header.get("__metadata__", {}))


def _packed(tensors: dict[str, np.ndarray], facts: Mapping[str, str], path: Path) -> dict[str, np.ndarray]:
    """Packed tensors as arrays that unpack on demand; raises `InputError` for a codec of a later version."""
    if facts["codec"] != CODEC:
        raise InputError(f"is packed as {facts['codec']!r}; this dawn-bench reads {CODEC!r}.", path=path)
    row = json.loads(facts["row"])
    keys = [key for key in tensors if not key.endswith(OFFSETS)]
    return {key: cast(np.ndarray, PackedFrames(tensors[key], tensors[key + OFFSETS], row)) for key in keys}


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
            faults.append(("", field, f"is no field: its name {wrong}"))
            continue
        shards = {name for name in index[column] if isinstance(name, str)}  # others are never opened
        bad = {name: fault for name in shards if (fault := shard_fault(name, field=field)) is not None}
        if bad:
            rows = zip(ids, index[column], strict=True)
            faults += [(str(i), field, bad[name]) for i, name in rows if isinstance(name, str) and name in bad]
    return faults


def raw_blocks(array: np.ndarray, *, block: int = 2**22) -> Iterator[np.ndarray]:
    """The bytes of a cached array as uint8 (n,), in blocks of about `block` bytes; packed frames are unpacked."""
    rows = max(1, block // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8)


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

    Raises `InputError` when the folder is not a finished cache, or has another schema version.
    """

    def __init__(self, root: Path | str) -> None:
        import pandas as pd

        self.root = Path(root)
        settings = self.root / SETTINGS_FILE
        if not settings.is_file() or not (self.root / INDEX_FILE).is_file():
            raise InputError(
                "is not a finished cache.",
                path=self.root,
                hint="Prepare it with: dawn-bench prepare --root VIDEOS --cache DIR",
            )
        self.settings: dict[str, Any] = json.loads(settings.read_text())
        if self.settings["schema"] != SCHEMA_VERSION:
            raise InputError(
                f"has cache schema {self.settings['schema']}, this dawn-bench reads {SCHEMA_VERSION}.",
                path=self.root,
                hint="Prepare it again.",
            )
        with (self.root / INDEX_FILE).open("rb") as file:  # by its name pandas opens it only where that is UTF-8
            self.index: pd.DataFrame = pd.read_parquet(file)
        for clip_id, field, fault in name_faults(self.index)[:1]:
            what = f"{field} of clip {clip_id!r}" if field else f"the clip id {clip_id!r}"
            raise InputError(f"{what} {fault}.", path=self.root / INDEX_FILE, hint="Do not use this cache.")
        rows: list[dict[str, Any]] = self.index.to_dict("records")  # type: ignore[assignment]
        self._rows = {row["id"]: row for row in rows}
        self._clips: dict[str, Clip] = {}
        self._shard = lru_cache(maxsize=_maps_allowed())(lambda name: open_shard(self.root / name))

    def __reduce__(self) -> tuple[type[Cache], tuple[Path]]:
        return Cache, (self.root,)  # each worker opens its own memory maps

    @property
    def size(self) -> int:
        """Side of the cached frames in pixels."""
        return int(self.settings["size"])

    @cached_property
    def fields(self) -> list[str]:
        """Names of the fields that are stored, in alphabetical order; a clip may lack some (`Clip.fields`)."""
        return sorted({c.removesuffix(".shard") for c in self.index.columns if c.endswith(".shard")})

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
        fields = [f for f in self.fields if isinstance(row[f"{f}.shard"], str)]
        return Clip(
            id=clip_id,
            speaker=str(row["speaker"]),
            split=str(row["split"]),
            n_frames=int(row["n_frames"]),
            arrays=LazyArrays(fields, partial(self._array, clip_id)),
            fps=int(self.settings.get("fps", FPS)),
            meta=meta,
        )

    def _array(self, clip_id: str, field: str) -> np.ndarray:
        row = self._rows[clip_id]
        return self._shard(row[f"{field}.shard"])[row[f"{field}.key"]]

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
