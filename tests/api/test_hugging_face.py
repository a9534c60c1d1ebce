"""`Cache.to_hf`: a view of the cache for the package `datasets`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError


def test_without_the_package_it_says_what_to_install(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the package datasets. pip install 'dawn-bench\[hf\]'"):
        Cache(tiny_cache).to_hf()


def test_rows_are_clips_of_each_split(tiny_cache: Path) -> None:
    pytest.importorskip("datasets")
    cache = Cache(tiny_cache)
    view = cache.to_hf(fields=("frames", "pose", "lip_mask"))
    assert {name: len(rows) for name, rows in view.items()} == {"train": 4, "test": 2}
    row, clip = view["test"][1], cache["c5"]
    assert {name: row[name] for name in ("id", "speaker", "split", "n_frames", "fps")} == {
        "id": "c5", "speaker": "s2", "split": "test", "n_frames": 30, "fps": 25,
    }  # fmt: skip
    assert all(np.array_equal(row[name], clip[name]) for name in ("frames", "pose", "lip_mask")) and len(row) == 8
    assert row["frames"].dtype == np.uint8
    batch = cache.to_hf(split="train")[1:3]
    assert batch["id"] == ["c1", "c2"] and np.array_equal(batch["audio"][1], cache["c2"]["audio"])
    assert "valid" in batch and "lip_mask" not in batch  # stored fields
    with pytest.raises(InputError, match="no field 'poes'"):
        cache.to_hf(fields=("poes",))
    with pytest.raises(InputError, match="no split 'tset'"):
        cache.to_hf(split="tset")


def test_nothing_is_copied_and_workers_open_the_cache_themselves(tiny_cache: Path) -> None:
    datasets = pytest.importorskip("datasets")
    view = Cache(tiny_cache).to_hf(split="train", fields=("frames", "valid"))
    assert not view.cache_files and view.data.nbytes < 1000 < Cache(tiny_cache)["c0"]["frames"].nbytes
    again = pickle.loads(pickle.dumps(view))
    assert isinstance(again, datasets.Dataset) and np.array_equal(again[2]["frames"], view[2]["frames"])
    from torch.utils.data import DataLoader

    loader = DataLoader(view, batch_size=4, num_workers=2, multiprocessing_context="fork")
    (batch,) = loader
    assert batch["frames"].shape == (4, 30, 32, 32, 3) and batch["id"] == ["c0", "c1", "c2", "c3"]
