"""Features of many clips in a few files: what others see of them, what a kill or damage costs, what stays open."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stored_features import stored_keys

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring import shards
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, StoredRows, stored_rows
from dawn_bench.metrics.scoring.matching import FileLoad, Matcher
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.metrics.scoring.shards import ShardFolder
from dawn_bench.storage import StorageError


def filled(folder: Path, keys: list[str], *, writer: str = "", computed_by: str = "") -> FeatureCache:
    cache = FeatureCache(folder, computed_by, writer=writer)
    for key in keys:
        cache.put("f", "1", key, {"x": np.arange(float(key), dtype=np.float32), "b": np.array([True, False, True])})
    cache.flush()
    return cache


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_thousand_clips_take_few_files_and_come_back_as_they_were(tmp_path: Path) -> None:
    keys = [str(k) for k in range(1000)]
    filled(tmp_path, keys)
    assert len(files(tmp_path)) == -(-1000 // shards.MOST_ENTRIES)
    cache = FeatureCache(tmp_path)
    for key in keys[::97]:
        arrays = cache.get("f", "1", key)
        assert arrays is not None and arrays["x"].tolist() == list(range(int(key))) and arrays["b"].dtype == bool


def test_large_arrays_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory is bounded by bytes too."""
    monkeypatch.setattr(shards, "MOST_BYTES", 1000)
    cache = FeatureCache(tmp_path)
    cache.put("f", "1", "small", {"x": np.zeros(100, np.uint8)})
    assert files(tmp_path) == {}
    cache.put("f", "1", "large", {"x": np.zeros(900, np.uint8)})
    assert stored_keys(tmp_path) == ["large", "small"]


def test_equal_entries_make_equal_files_in_any_order_and_others_have_other_names(tmp_path: Path) -> None:
    filled(tmp_path / "a", ["1", "2", "3"], writer="job-7")
    filled(tmp_path / "b", ["3", "1", "2"], writer="job-7")
    (name,) = files(tmp_path / "a")
    assert files(tmp_path / "a") == files(tmp_path / "b") and name.startswith("job-7-")
    filled(tmp_path / "a", ["1", "2", "3"], writer="job-7", computed_by="gpu")
    filled(tmp_path / "a", ["4"], writer="job-7")
    assert len(files(tmp_path / "a")) == 3


def test_a_reader_sees_what_others_have_flushed_since(tmp_path: Path) -> None:
    reader, writer = FeatureCache(tmp_path), FeatureCache(tmp_path)
    for key in ("1", "2"):
        assert reader.get("f", "1", key) is None
        writer.put("f", "1", key, {"x": np.arange(float(key))})
        assert reader.get("f", "1", key) is None
        writer.flush()
        assert len(reader.get("f", "1", key)["x"]) == int(key)  # type: ignore[index]


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_a_torn_shard_costs_its_own_entries_alone(size: int, tmp_path: Path) -> None:
    filled(tmp_path, ["1", "2"], writer="torn")
    filled(tmp_path, ["3"], writer="whole")
    (torn,) = tmp_path.rglob("torn*")
    torn.write_bytes(torn.read_bytes()[:size])
    cache = FeatureCache(tmp_path)
    lost = [key for key in "123" if cache.get("f", "1", key) is None]
    assert lost in (["1", "2"], ["2"])  # the last bytes are those of entry 2
    filled(tmp_path, ["1", "2"], writer="torn")  # computed again: the same name
    assert all(FeatureCache(tmp_path).get("f", "1", key) is not None for key in "123")


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: bytes(len(data)), lambda data: data[:-4]])
def test_the_process_that_repairs_a_torn_shard_reads_it(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """It has seen the torn file under the same name before; so has another one."""
    filled(tmp_path, ["1", "2"], writer="torn")
    (torn,) = tmp_path.rglob("torn*")
    torn.write_bytes(damage(torn.read_bytes()))
    other, cache = FeatureCache(tmp_path), FeatureCache(tmp_path, writer="torn")
    assert other.get("f", "1", "2") is None and cache.get("f", "1", "2") is None
    for key in ("1", "2"):
        cache.put("f", "1", key, {"x": np.arange(float(key), dtype=np.float32), "b": np.array([True, False, True])})
    cache.flush()
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == [torn.name]
    for reader in (cache, other):
        assert all(len(reader.get("f", "1", key)["x"]) == int(key) for key in ("1", "2"))  # type: ignore[index]


def test_the_later_entry_wins_in_this_process_and_after_a_restart(tmp_path: Path) -> None:
    """The hashes in the names of shards are in any order."""
    for k in range(8):
        last = FeatureCache(tmp_path)
        last.put("f", "1", "k", {"x": np.array([k])})
        last.flush()
        for cache in (last, FeatureCache(tmp_path), last):
            assert cache.get("f", "1", "k")["x"] == [k]  # type: ignore[index]


@pytest.mark.parametrize("flushed", [False, True])
def test_arrays_win_over_a_failure_whichever_came_first(flushed: bool, tmp_path: Path) -> None:
    for k in range(6):
        cache, key = FeatureCache(tmp_path), str(k)
        steps = [
            lambda cache=cache, key=key: cache.put("f", "1", key, {"x": np.array([7])}),
            lambda cache=cache, key=key: cache.put_failure("f", "1", key, ItemError("oom", "no memory")),
        ]
        for step in steps[:: 1 - 2 * (k % 2)]:
            step()
            if flushed:
                cache.flush()
        assert cache.get("f", "1", key)["x"] == [7]  # type: ignore[index]
        cache.flush()
        assert FeatureCache(tmp_path).get("f", "1", key)["x"] == [7]  # type: ignore[index]


def test_arrays_of_another_process_win_over_the_failure_known_here(tmp_path: Path) -> None:
    first, second = FeatureCache(tmp_path), FeatureCache(tmp_path)
    first.put_failure("f", "1", "k", ItemError("oom", "no memory"))
    first.flush()
    second.put("f", "1", "k", {"x": np.array([7])})
    second.flush()
    assert first.get("f", "1", "k")["x"] == [7]  # type: ignore[index]


def test_an_entry_is_a_copy_of_what_was_put(tmp_path: Path) -> None:
    folder, array, notes = ShardFolder(tmp_path / "f"), np.arange(6), ["a"]
    folder.put("k", {"notes": notes}, {"x": array, "every second": array[::2]})
    array[:], notes[:] = -1, ["b"]
    for one in (folder, ShardFolder(tmp_path / "f")):
        (entry,) = one.entries("k")
        arrays = entry.whole()
        assert entry.facts == {"notes": ["a"]} and arrays is not None
        assert arrays["x"].tolist() == list(range(6)) and arrays["every second"].tolist() == [0, 2, 4]
        folder.flush()


def test_arrays_of_all_clips_keep_no_file_open(tmp_path: Path) -> None:
    keys = [str(k) for k in range(1, 100)]
    filled(tmp_path, keys)
    cache, before = FeatureCache(tmp_path), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    arrays = [cache.get("f", "1", key)["x"] for key in keys]  # type: ignore[index]
    rows = [stored_rows(array) for array in arrays]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert all(isinstance(one, StoredRows) and len(one) == len(array) for one, array in zip(rows, arrays, strict=True))


def test_rows_are_the_same_before_and_after_a_flush_and_in_another_process(tmp_path: Path) -> None:
    cache, whole = FeatureCache(tmp_path), np.arange(40.0).reshape(10, 4)
    cache.put("f", "1", "k", {"x": whole})
    rows = stored_rows(cache.get("f", "1", "k")["x"])  # type: ignore[index]
    assert isinstance(rows, StoredRows)
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(rows), whole)
        np.testing.assert_array_equal(rows.read(2, 5), whole[2:5])
        np.testing.assert_array_equal(np.asarray(rows[-3:]), whole[-3:])
        np.testing.assert_array_equal(rows[4:8].read(1, 99), whole[5:8])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows[4:8])), whole[4:8])
        cache.flush()
    array = cache.get("f", "1", "k")["x"]  # type: ignore[index]
    assert type(array + 1) is np.ndarray and stored_rows(array[1:]) is not rows and not array.flags.writeable


def test_what_nobody_flushed_is_written_with_the_end_of_its_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put_failure("f", "1", "k", ItemError("no_face", "none"))
    del cache
    with pytest.raises(ItemError, match="no_face"):
        FeatureCache(tmp_path).get("f", "1", "k")


def test_rows_of_a_temporary_folder_outlive_their_cache() -> None:
    cache = FeatureCache(None)
    cache.put("f", "1", "k", {"x": np.arange(3)})
    cache.flush()
    rows, folder = stored_rows(cache.get("f", "1", "k")["x"]), cache.folder  # type: ignore[index]
    del cache
    assert np.asarray(rows).tolist() == [0, 1, 2]
    del rows
    assert not folder.exists()


def test_too_many_open_files_are_not_an_absent_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled(tmp_path, ["3"])
    old = tmp_path / "f-1" / "old.safetensors"
    old.write_bytes(b"")

    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    for reader, key in ((cache, "3"), (FeatureCache(tmp_path), "3"), (cache, "old")):
        with pytest.raises(StorageError, match=r"no more files can be opened .*ulimit -n"):
            reader.get("f", "1", key)


def test_ctrl_c_loses_no_feature_of_a_finished_clip(tmp_path: Path) -> None:
    clips = [Clip(f"c{k}", "s", "t", 3, {"frames": np.full((3, 16, 16, 3), 9 * k, np.uint8)}) for k in range(4)]

    def interrupted() -> Clip:
        raise KeyboardInterrupt

    given = {clip.id: (lambda clip=clip: clip) for clip in clips[:3]} | {"c3": interrupted}
    with pytest.raises(KeyboardInterrupt):
        score_method("m", given, clips, dataset="d", split="t", metrics=["psnr"], features_dir=tmp_path, rankable=False)
    assert len(stored_keys(tmp_path)) == 3


def test_records_of_matched_outputs_share_a_file(tmp_path: Path) -> None:
    matcher = Matcher(folder=tmp_path / "m", writer="job")
    for k in range(20):
        clip = Clip(f"c{k}", "s", "t", 3, {"frames": np.full((3, 16, 16, 3), k, np.uint8)})
        (path := tmp_path / f"{k}.mp4").write_bytes(b"%d" % k)
        matcher(FileLoad(path, lambda clip=clip: clip), clip)
    matcher.flush()
    (shard,) = (tmp_path / "m").iterdir()
    assert shard.name.startswith("job-") and len(stored_keys(tmp_path / "m")) == 20
