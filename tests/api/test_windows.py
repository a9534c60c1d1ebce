"""`Cache.windows`: what an item holds, which windows there are, and workers of every kind."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_tools import FakeTools
from fake_tools import write_video as write_fake
from tiny_cache import write_tiny_cache
from torch.utils.data import DataLoader

from dawn_bench import Cache, InputError, Windows, open_cache
from dawn_bench.masks import lip_mask
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

FIELDS = ("frames", "logmel", "pose", "blink", "landmarks", "bbox", "valid", "audio", "lip_mask")


@pytest.fixture
def cache(tiny_cache: Path) -> Cache:
    return open_cache(tiny_cache)


def test_an_item_has_the_convention_of_tensors(cache: Cache) -> None:
    windows = cache.windows(frames=8, fields=FIELDS, stride=2)
    assert (windows[3]["clip"], windows[3]["start"]) == ("c1", 15)
    item, clip, span = windows[6], cache["c3"], slice(0, 15, 2)
    assert (item["clip"], item["start"]) == ("c3", 0)
    assert item["frames"].shape == (8, 3, 32, 32) and item["frames"].dtype == torch.uint8
    assert np.array_equal(item["frames"].permute(0, 2, 3, 1), clip["frames"][span])
    for name in ("logmel", "pose", "blink", "landmarks", "bbox"):
        assert item[name].dtype == torch.float32
        assert np.array_equal(item[name], clip[name][span].astype(np.float32))
    assert item["pose"].shape == (8, 7) and item["valid"].dtype == torch.bool
    assert item["audio"].dtype == torch.int16 and np.array_equal(item["audio"], clip["audio"][: 15 * 640])
    assert np.array_equal(item["lip_mask"], lip_mask(clip["landmarks"][span], 32))
    item["frames"] += 1  # a copy of its own: the cache is read-only


def test_windows_follow_each_other_within_each_clip_of_the_split(cache: Cache) -> None:
    places = [(w["clip"], w["start"]) for w in cache.windows(frames=10, fields=("valid",), split="test", step=8)]
    assert places == [(clip, start) for clip in ("c4", "c5") for start in (0, 8, 16)]
    assert len(cache.windows(frames=30, split=None)) == 6
    assert cache.windows(frames=10)[-1]["start"] == 20
    with pytest.raises(IndexError):
        cache.windows(frames=30)[4]


def test_drawn_windows_depend_on_seed_epoch_and_index_alone(cache: Cache) -> None:
    def starts(windows: Windows) -> list[int]:
        return [windows[k]["start"] for k in range(len(windows))]

    one = cache.windows(frames=4, fields=("valid",), seed=1)
    first = starts(one)
    assert first == starts(cache.windows(frames=4, fields=("valid",), seed=1)) and len(set(first)) > 5
    assert max(first) <= 26
    one.set_epoch(1)
    assert starts(one) != first
    one.set_epoch(0)
    assert starts(one) == first


@pytest.mark.parametrize("frames", [28, 29, 30])
def test_every_start_of_a_clip_can_be_drawn_and_no_other(cache: Cache, frames: int) -> None:
    windows = cache.windows(frames=frames, fields=("valid",), seed=0)
    starts = set()
    for epoch in range(12):
        windows.set_epoch(epoch)
        starts |= {windows[k]["start"] for k in range(len(windows))}
    assert len(windows) == 4 and starts == set(range(31 - frames))


@pytest.mark.parametrize("seed", [None, 3])
def test_the_sound_of_a_window_is_that_of_its_frames(cache: Cache, seed: int | None) -> None:
    windows = cache.windows(frames=5, stride=3, step=7, fields=("audio", "logmel"), split=None, seed=seed)
    for k in range(len(windows)):
        item = windows[k]
        clip, start = cache[item["clip"]], item["start"]
        assert np.array_equal(item["audio"], clip["audio"][640 * start : 640 * (start + 13)])
        assert np.array_equal(item["logmel"], clip["logmel"][start : start + 13 : 3].astype(np.float32))


def test_what_cannot_be_had_is_named_with_the_nearest(cache: Cache) -> None:
    with pytest.raises(InputError, match=r"has no field 'frame'. Did you mean frames"):
        cache.windows(fields=("frame",))
    with pytest.raises(InputError, match=r"has no field 'hubert'. Known: audio, "):
        cache.windows(fields=("hubert",))
    with pytest.raises(InputError, match=r"has no split 'tran'. Did you mean train"):
        cache.windows(split="tran")
    with pytest.raises(InputError, match="no clip gives a window of 61 frames"):
        cache.windows(frames=31, stride=2)
    with pytest.raises(InputError, match="at least 1"):
        cache.windows(frames=0)


def test_clips_without_a_window_are_listed(tmp_path: Path) -> None:
    cache = Cache(write_tiny_cache(tmp_path / "c"))
    cache.index.loc[1, "pose.shard"] = None
    cache.index.loc[2, "n_frames"] = 9
    cache.index.to_parquet(cache.root / "index.parquet")
    windows = open_cache(cache.root).windows(frames=10, fields=("pose",))
    assert windows.left_out == {"c1": "no pose", "c2": "9 frames"}
    assert {w["clip"] for w in windows} == {"c0", "c3"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A cache with lossless frames."""
    write_fake(tmp_path / "videos" / "s0" / "a.mp4", frames=60, value=3)
    write_fake(tmp_path / "videos" / "s1" / "b.mp4", frames=60, value=4)
    settings = PrepareSettings(size=32, extract=("pose",), frames="lossless")
    prepare(tmp_path / "videos", tmp_path / "c", settings, tools=FakeTools())
    return tmp_path / "c"


@pytest.mark.parametrize(("workers", "method"), [(2, "fork"), (4, "fork"), (2, "spawn"), (4, "forkserver")])
def test_workers_give_the_items_of_one_process(workers: int, method: str, cache: Cache) -> None:
    check_workers(cache.windows(frames=10, fields=("frames", "pose", "audio")), workers, method)


def test_workers_unpack_lossless_frames(packed: Path) -> None:
    check_workers(open_cache(packed).windows(frames=10, fields=("frames", "audio"), split=None), 2, "fork")


def check_workers(windows: Windows, workers: int, method: str) -> None:
    alone = [windows[k] for k in range(len(windows))]  # shards are open in this process when it forks
    loader = DataLoader(windows, batch_size=5, num_workers=workers, multiprocessing_context=method)
    batches = [batch for _ in range(2) for batch in loader]
    assert [clip for batch in batches for clip in batch["clip"]] == 2 * [item["clip"] for item in alone]
    for name in windows.fields:
        assert torch.equal(torch.cat([b[name] for b in batches]), torch.stack(2 * [item[name] for item in alone]))


def test_a_copy_by_pickle_is_small_and_equal(cache: Cache) -> None:
    windows = cache.windows(frames=10, seed=3)
    windows[0]
    data = pickle.dumps(windows)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert torch.equal(again[5]["frames"], windows[5]["frames"])


def test_splits_that_are_changed_twice_keep_both_changes(cache: Cache) -> None:
    moved = cache.resplit({"c0": "val"}).resplit({"c4": "train"})
    assert (moved.ids("val"), moved.ids("test")) == (["c0"], ["c5"]) and "c4" in moved.ids("train")
    assert pickle.loads(pickle.dumps(moved)).ids("val") == ["c0"] and cache.ids("test") == ["c4", "c5"]
