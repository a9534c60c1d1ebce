"""The cache on disk: one set of safetensors shards per field, one Parquet index, one JSON with settings.

    cache.json                     schema version, dataset, size, fps, extractor fingerprints, settings
    index.parquet                  a row per clip: id, speaker, split, n_frames, status, reason, detail, source, ...
                                   and for every field f: `f.shard`, `f.key`, `f.dtype`, `f.shape`, `f.sha256`
    <field>/<field>-00012.safetensors

This module only reads; `dawn_bench.pipelines.preparation.shards` writes. Arrays are views of memory-mapped files:
slicing an array reads only the pages it needs, and nothing is copied until it is used. Where frames are stored
compressed without loss, or masks as bits (the shard's metadata has a `codec`), slicing unpacks the frames of the slice.
The index has dtype, shape and sha256 of the unpacked array, so only the shards differ; a mask's sha256 is of its bits.

docs/formats/cache.md says how to read a clip without this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from weakref import WeakValueDictionary

import numpy as np
from pydantic import Field

from dawn_bench.cache_index import OK as OK
from dawn_bench.cache_index import QUARANTINED as QUARANTINED
from dawn_bench.cache_index import Index, RowFacts, Stored
from dawn_bench.clip import FPS, LARGEST, Clip, LazyArrays, field_fault
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.extractor_record import Extracted, of_cache
from dawn_bench.files import user_path
from dawn_bench.lazy import row_blocks
from dawn_bench.masks import MASKS
from dawn_bench.packed import PackedBits, cache_hint
from dawn_bench.readers import DamageError, fitted, read_json
from dawn_bench.shard import Shards
from dawn_bench.shard import open_shard as open_shard
from dawn_bench.shard import shard_array as shard_array
from dawn_bench.shard import shard_facts as shard_facts
from dawn_bench.text import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    from dawn_bench.windows import Windows

SCHEMA_VERSION = 1
#: The kind of dataset that says nothing about what it holds: `prepare` without `--dataset`.
OWN_VIDEOS = "folder"
SETTINGS_FILE, INDEX_FILE = "cache.json", "index.parquet"
#: Fields whose sha256 is in `Clip.meta`.
_HASHED = ("frames", "audio", "vertices")


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


@dataclass(frozen=True)
class _Settings:
    """The entries of `cache.json` that are read; others are for information."""

    dataset: str
    size: Annotated[int, Field(ge=1, le=LARGEST)]
    fps: Annotated[int, Field(ge=1, le=1000)] = FPS
    fingerprints: dict[str, Any] = dataclass_field(default_factory=dict)
    settings: dict[str, Any] = dataclass_field(default_factory=dict)
    name: str = ""


def raw_blocks(array: np.ndarray, *, block: int = 2**22) -> Iterator[np.ndarray]:
    """The bytes of a cached array as uint8 (n,), in blocks of about `block` bytes; packed ones are unpacked."""
    for rows in row_blocks(array, block=block):
        yield rows.reshape(-1).view(np.uint8)


def hashed_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """What the sha256 in the index is of, in blocks: the bytes of the array, and of packed masks their bits."""
    return raw_blocks(array.packed if isinstance(array, PackedBits) else array)


class Cache:
    """A prepared dataset: `cache["clip id"]` is one clip, iterating yields the usable clips in index order.

    `splits` replaces the splits of some clips, by id. Raises `InputError` when the folder is not a finished cache, or
    has another schema version.
    """

    def __init__(self, root: Path | str, *, splits: Mapping[str, str] | None = None) -> None:
        self.root = user_path(root)
        check_finished(self.root)
        self.settings = read_settings(self.root / SETTINGS_FILE)
        self._index = Index(self.root / INDEX_FILE)
        for clip_id, field, fault in self._index.faults():
            what = f"{field} of clip {clip_id!r}" if field else f"the clip id {clip_id!r}"
            raise DamageError(f"{what} {fault}.", path=self.root / INDEX_FILE, hint="Do not use this cache.")
        self._moved = dict(splits or {})
        self.shards = Shards(self.root)
        self._now: Cache | None = None  # the cache as it is now, once an array of this index was moved
        self._clips: WeakValueDictionary[str, Clip] = WeakValueDictionary()

    def __reduce__(self) -> tuple[partial[Cache], tuple[Path]]:
        return partial(Cache, splits=self._moved), (self.root,)  # each worker opens its own memory maps

    def resplit(self, splits: Mapping[str, str]) -> Cache:
        """The same cache with other splits of some clips, by id; the folder does not change."""
        return Cache(self.root, splits=self._moved | dict(splits))

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index as a data frame with a row per clip, read when it is first asked for."""
        index = self._index.columns.frame()
        if self._moved:
            index["split"] = index["id"].map(self._moved).fillna(index["split"])
        return index

    @property
    def name(self) -> str:
        """What reports call the dataset: the name of `prepare --name`, else that of the cache's folder."""
        return str(self.settings.get("name") or self.root.resolve().name)

    @property
    def title(self) -> str:
        """The dataset in headings: its own name where it has one or is a folder of videos, else its kind."""
        kind = str(self.settings["dataset"])
        return self.name if kind == OWN_VIDEOS or self.settings.get("name") else kind

    @property
    def size(self) -> int:
        """Side of the cached frames in pixels."""
        return int(self.settings["size"])

    @cached_property
    def fields(self) -> list[str]:
        """Names of the fields that are stored, in alphabetical order; a clip may lack some (`Clip.fields`)."""
        return self._index.all_fields

    def check_fields(self, names: Sequence[str]) -> None:
        """Raise `UnknownNameError` with the nearest names for one that is no stored field and no mask of such."""
        computed = {mask for mask, (source, _) in MASKS.items() if {source, "frames"} <= {*self.fields}}
        known = {*self.fields} | computed
        for name in names:
            if name not in known:
                raise UnknownNameError(f"has no field {name!r}.", path=self.root, hint=nearest(name, known))

    @cached_property
    def extractors(self) -> Mapping[str, Extracted]:
        """Which extractor computed a field, with its version: `face`, `pose`, `blink`, audio features by their names.

        Fields whose extractor the cache does not record are absent.
        """
        return of_cache(self.settings)

    @cached_property
    def splits(self) -> list[str]:
        """Names of the splits, in alphabetical order."""
        numbers, names = self._splits
        return sorted({names[n] for n in np.unique(numbers)} - {""})

    @cached_property
    def _splits(self) -> tuple[np.ndarray, list[str]]:
        """The number of each clip's split, and the names of the splits."""
        numbers, names = self._index.numbers_of("split")
        names = list(dict.fromkeys([*names, *self._moved.values()]))
        rows = ((self._index.row(clip_id), split) for clip_id, split in self._moved.items())
        there = {row: names.index(split) for row, split in rows if row is not None}
        numbers[list(there)] = list(there.values())
        return numbers, names

    def usable(self, split: str | None = None) -> np.ndarray:
        """The rows of the index, from 0, of the usable clips of `split`, or of all splits; raises as `ids`."""
        if split is not None and split not in self.splits:
            raise UnknownNameError(f"has no split {split!r}.", path=self.root, hint=nearest(split, self.splits))
        numbers, states = self._index.numbers_of("status")
        good = numbers == (states.index(OK) if OK in states else len(states))
        if split is not None:
            numbers, names = self._splits
            good &= numbers == names.index(split)
        return np.flatnonzero(good)

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of the usable clips of `split`, or of all splits.

        Raises `UnknownNameError` with the nearest names for a split that the cache does not have.
        """
        return list(self._index.text("id").take(self.usable(split)).to_pylist())

    def ids_of(self, rows: np.ndarray) -> pa.Array:
        """The ids of clips by their rows in the index, as an Arrow array of texts."""
        return self._index.text("id").take(rows)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of every clip of the index, int64 (n,); 0 for those that could not be used."""
        return self._index.n_frames

    def clips_with(self, field: str) -> np.ndarray:
        """Which clips of the index have `field`, stored or as a mask that can be computed, bool (n,)."""
        stored = self._stored_fields.get(field, np.zeros(len(self._index), bool))
        if field not in MASKS:
            return stored
        return stored | (self.clips_with(MASKS[field][0]) & self.clips_with("frames"))

    def clips(self, split: str | None = None) -> list[Clip]:
        """The usable clips of `split`, or of all splits, in index order; raises as `ids`."""
        return [self[i] for i in self.ids(split)]

    def __repr__(self) -> str:
        clips = counted(len(self), "clip")
        fields = ", ".join(self.fields)
        return f"Cache({str(self.root)!r}: {clips} of {self.size} px, splits {', '.join(self.splits)}; fields {fields})"

    def __len__(self) -> int:
        return len(self.usable())

    def __iter__(self) -> Iterator[Clip]:
        return (self[clip_id] for clip_id in self.ids())

    def __contains__(self, clip_id: object) -> bool:
        """Whether there is a clip with this id, usable or quarantined."""
        return self._index.row(clip_id) is not None

    def __getitem__(self, clip_id: str) -> Clip:
        """The clip called `clip_id`, also if quarantined; raises `UnknownNameError` with the nearest ids."""
        clip = self._clips.get(clip_id)
        if clip is None:
            row = self._index.row(clip_id)
            if row is None:
                hint = nearest(clip_id, self._index.text("id").to_pylist())
                raise UnknownNameError(f"has no clip called {clip_id!r}.", path=self.root, hint=hint)
            clip = self._clips[clip_id] = self._clip(clip_id, row)
        return clip

    @cached_property
    def _stored_fields(self) -> dict[str, np.ndarray]:
        """By field, which clips have it stored."""
        return {field: self._index.has(field) for field in self.fields}

    @cached_property
    def _meta(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The columns of the index that are facts of a clip, by their keys, and facts that all clips share."""
        names, fixed = self._index.columns.names, {"id", "speaker", "split", "n_frames", "source_root"}
        columns = {name: name for name in names if name not in fixed and "." not in name}
        columns |= {name: name for name in ("reason", "detail")}
        columns |= {f"{field}_sha256": f"{field}.sha256" for field in _HASHED if f"{field}.sha256" in names}
        return columns, {"source_root": self.settings.get("root")}

    def _clip(self, clip_id: str, row: int) -> Clip:
        numbers, splits = self._splits
        fields = [field for field, there in self._stored_fields.items() if there[row]]
        return Clip(
            id=clip_id,
            speaker=str(self._index.value("speaker", row)),
            split=splits[numbers[row]],
            n_frames=int(self._index.n_frames[row]),
            arrays=LazyArrays(fields, partial(self._array, clip_id)),
            fps=int(self.settings.get("fps", FPS)),
            meta=RowFacts(self._index, row, *self._meta),
            extractors=self.extractors,
        )

    def stored(self, clip_id: str, field: str) -> Stored | None:
        """What the index says of the array of `field` of a clip; None where the clip has none, or is not there."""
        row = self._index.row(clip_id)
        return None if row is None else self._index.stored(row, field)

    def _array(self, clip_id: str, field: str) -> np.ndarray:
        row = self._index.row(clip_id)
        stored = None if row is None else self._index.stored(row, field)
        assert row is not None and stored is not None, f"{clip_id} has no {field}"
        try:
            array = self.shards.array(stored.shard, stored.key)
        except DamageError:
            if (self.root / stored.shard).exists() or not self._index.columns.replaced():
                raise
            return self._moved_array(clip_id, field, stored)
        expected = [stored.dtype, *stored.shape] if stored.dtype is not None and stored.shape is not None else None
        fault = field_fault(field, array, n_frames=int(self.lengths[row]), size=self.size)
        if expected not in (None, [str(array.dtype), *array.shape]):
            fault = f"holds {array.dtype} {list(array.shape)} for {field} of {clip_id}, which the index has otherwise."
        elif fault is not None:
            fault = f"{field} of clip {clip_id} {fault}."
        if fault is not None:
            path = self.root / stored.shard
            raise DamageError(fault, path=path, hint=cache_hint(path))
        return array

    def _moved_array(self, clip_id: str, field: str, stored: Stored) -> np.ndarray:
        """An array that is in another shard by now, where the index was replaced since it was opened.

        Raises `InputError` where the array itself is another one, or none.
        """
        if self._now is None or self._now._index.columns.replaced():
            self._now = Cache(self.root)
        now = self._now.stored(clip_id, field)
        if now is None or now.sha256 is None or now.sha256 != stored.sha256:
            what = f"was prepared again since it was opened: {field} of clip {clip_id} is another."
            raise InputError(what, path=self.root, hint="Open it again.")
        return self._now._array(clip_id, field)

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

    def to_hf(self, *, split: str | None = None, fields: Sequence[str] | None = None) -> Dataset | DatasetDict:
        """The usable clips as a dataset of Hugging Face's `datasets`: of one split, or a `DatasetDict` of all.

        A row has `id`, `speaker`, `split`, `n_frames`, `fps`, and the arrays of `fields`: stored fields or masks, by
        default every stored field; None where a clip lacks one. Nothing is copied to disk: arrays are read from the
        cache when a row is asked for, also in the processes of a `DataLoader` and of `map(num_proc=...)`.

        Raises `InputError` without the package, and `UnknownNameError` for a split or field that the cache lacks.
        """
        from dawn_bench.hugging_face import hugging_face_view

        return hugging_face_view(self, split=split, fields=fields)

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(id, reason, detail) of the clips that could not be used."""
        return [tuple(self._index.value(name, row) for name in ("id", "reason", "detail")) for row in self._lost()]

    def quarantined_of(self, split: str) -> int | None:
        """The number of unusable clips of `split`; None where the split of any unusable clip is not known."""
        numbers, names = self._splits
        splits = [names[numbers[row]] for row in self._lost()]
        return splits.count(split) if all(splits) else None

    def _lost(self) -> list[int]:
        numbers, states = self._index.numbers_of("status")
        return np.flatnonzero(numbers != (states.index(OK) if OK in states else len(states))).tolist()
