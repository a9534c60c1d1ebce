"""A cache as a dataset of the Hugging Face package `datasets`: the clips are its rows, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dawn_bench.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from dawn_bench.cache import Cache


#: Facts of a clip that every row has.
_COLUMNS = ("id", "speaker", "split", "n_frames", "fps")


@dataclass(frozen=True)
class _Arrays:
    """Adds the arrays of clips to a batch of rows; a copy in another process opens the cache itself."""

    cache: Cache
    fields: tuple[str, ...]

    def __call__(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        clips = [self.cache[clip_id] for clip_id in rows["id"]]
        arrays = {name: [np.array(clip[name]) if name in clip else None for clip in clips] for name in self.fields}
        return {**rows, **arrays}


def hugging_face_view(cache: Cache, *, split: str | None, fields: Sequence[str] | None) -> Dataset | DatasetDict:
    """What `Cache.to_hf` returns."""
    try:
        from datasets import Dataset, DatasetDict
    except ImportError:
        raise InputError("to_hf needs the package datasets.", hint="pip install 'dawn-bench[hf]'") from None
    cache.check_fields(fields or ())
    arrays = _Arrays(cache, tuple(cache.fields if fields is None else fields))

    def view(name: str) -> Dataset:
        clips = cache.clips(name)
        columns = {entry: [getattr(clip, entry) for clip in clips] for entry in _COLUMNS}
        return Dataset.from_dict(columns).with_transform(arrays)

    return view(split) if split is not None else DatasetDict({name: view(name) for name in cache.splits})
