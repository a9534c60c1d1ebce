"""The cache reader: lazy views of memory maps, usable clips only, picklable, clear about what it cannot read."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from fake_tools import FakeTools, write_video

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for k in range(20):
        write_video(root / "videos" / f"{k:02d}.mp4", frames=7 + k, value=k, then="no_face" if k == 4 else "")
    settings = PrepareSettings(size=32, extract=("pose", "late"))
    prepare(root / "videos", root / "c", settings, tools=FakeTools())
    return root / "c"


def test_only_usable_clips_come_out_in_order(folder: Path) -> None:
    cache = Cache(folder)
    assert [clip.id for clip in cache] == [f"{k:02d}" for k in range(20) if k != 4]
    assert len(cache) == 19 == len(cache.ids("train")) + len(cache.ids("test"))
    assert [clip.split for clip in cache.clips("test")] == ["test"] * len(cache.ids("test"))
    assert [row[:2] for row in cache.quarantined()] == [("04", "no_face")]
    assert "07" in cache and "99" not in cache
    assert cache.size == 32 and cache.fields == ["audio", "frames", "late", "pose", "valid"]


def test_arrays_are_read_only_views_of_one_memory_map(folder: Path) -> None:
    cache = Cache(folder)
    frames = cache["07"]["frames"]
    window = frames[3:9]
    assert np.shares_memory(window, frames) and np.shares_memory(frames, cache["07"]["frames"])
    base = frames
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0
    np.testing.assert_array_equal(window[0], _noise(7, 14)[3])


def _noise(value: int, frames: int) -> np.ndarray:
    noise = np.random.default_rng(value)
    return np.stack([noise.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)[0] for _ in range(frames)])


def test_shards_are_opened_on_first_access(folder: Path, tmp_path: Path) -> None:
    for name in ("cache.json", "index.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    clip = Cache(tmp_path)["07"]  # without any shard
    assert "frames" in clip and clip.n_frames == 14
    with pytest.raises(InputError, match=r"frames-\d+\.safetensors: cannot be read: it is absent\. .*cache verify"):
        clip["frames"]


def test_a_field_that_a_clip_lacks(folder: Path) -> None:
    cache = Cache(folder)
    assert "late" in cache["01"] and "late" not in cache["07"]  # 14 frames: the stand-in extractor refuses
    assert sorted(cache["07"].arrays) == ["audio", "frames", "pose", "valid"]
    with pytest.raises(KeyError, match="clip 07 has no 'late'; it has audio, frames"):
        cache["07"]["late"]


def test_unknown_names_are_one_line_with_the_nearest(folder: Path) -> None:
    cache = Cache(folder)
    for error in (KeyError, InputError):
        with pytest.raises(error, match=r"has no clip called '077'\. Did you mean") as caught:
            cache["077"]
    assert str(caught.value).startswith(f"{folder}: has no clip")
    with pytest.raises(KeyError, match=r"clip 07 has no 'frame'; it has .*\. Did you mean frames\?"):
        cache["07"]["frame"]
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), KeyError)


def test_a_cache_goes_to_workers_without_its_maps(folder: Path) -> None:
    cache = Cache(folder)
    cache["07"]["frames"]
    sent = pickle.dumps(cache)
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent)["07"]["frames"], cache["07"]["frames"])


def test_more_shards_than_open_files_allowed(folder: Path) -> None:
    """A large cache has more shards than a process may have files open by default, and all may be in use at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    try:
        cache = Cache(folder)
        views = [clip[field] for clip in cache for field in clip.arrays]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len({row for row in cache.index["frames.shard"].dropna()}) == 16  # times five fields
    assert len(views) > 60


def test_what_is_no_cache_or_another_version(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished cache"):
        Cache(tmp_path)
    settings = json.loads((folder / "cache.json").read_text())
    (tmp_path / "cache.json").write_text(json.dumps({**settings, "schema": 99}))
    (tmp_path / "index.parquet").write_bytes((folder / "index.parquet").read_bytes())
    with pytest.raises(InputError, match="schema 99"):
        Cache(tmp_path)


def test_unusable_clips_are_counted_by_split_where_all_have_one(folder: Path) -> None:
    cache = Cache(folder)
    (lost,) = [clip_id for clip_id, *_ in cache.quarantined()]
    assert cache.resplit({lost: "test"}).quarantined_of("test") == 1
    assert cache.resplit({lost: "test"}).quarantined_of("train") == 0
    assert cache.resplit({lost: ""}).quarantined_of("test") is None
