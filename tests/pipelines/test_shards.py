"""The shard writer: plain safetensors, exact rollback, deterministic bytes, nothing half-written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dawn_bench.cache import open_shard
from dawn_bench.files import write_atomic
from dawn_bench.pipelines.preparation.shards import DTYPES, ShardWriter, shard_name

RNG = np.random.default_rng(0)


def _write(root: Path, clips: dict[str, dict[str, np.ndarray]], *, chunk: int = 3, number: int = 7) -> dict:
    with ShardWriter(root, number=number, ids=list(clips)) as writer:
        rows = {}
        for clip_id, arrays in clips.items():
            writer.begin(clip_id)
            for field, array in arrays.items():
                for start in range(0, len(array), chunk):
                    writer.append(field, array[start : start + chunk])
            rows[clip_id] = writer.finish()
        writer.close()
    return rows


def test_every_dtype_reads_back_with_plain_safetensors_and_as_views(tmp_path: Path) -> None:
    clips = {f"clip {k} ü": {name: (RNG.random((k + 2, 3)) * 9).astype(name) for name in DTYPES} for k in range(3)}
    rows = _write(tmp_path, clips)
    for name in DTYPES:
        path = tmp_path / shard_name(name, 7)
        plain, views = load_file(path), open_shard(path)
        for clip_id, arrays in clips.items():
            np.testing.assert_array_equal(plain[clip_id], arrays[name])
            np.testing.assert_array_equal(views[clip_id], arrays[name])
            facts = rows[clip_id][name]
            assert facts["sha256"] == hashlib.sha256(arrays[name].tobytes()).hexdigest()
            assert (facts["dtype"], facts["shape"]) == (name, list(arrays[name].shape))
            assert views[clip_id].ctypes.data % arrays[name].itemsize == 0


def test_bytes_do_not_depend_on_how_rows_arrive(tmp_path: Path) -> None:
    clips = {
        "a": {"frames": RNG.integers(0, 255, (10, 4, 4, 3), dtype=np.uint8)},
        "b": {"frames": np.ones((2, 8, 8, 3), np.uint8)},
    }
    _write(tmp_path / "x", clips, chunk=1)
    _write(tmp_path / "y", clips, chunk=100)
    name = shard_name("frames", 7)
    assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


@pytest.mark.parametrize("packed", [(), ("frames",)])
def test_a_clip_begun_again_holds_only_what_came_then(tmp_path: Path, packed: tuple[str, ...]) -> None:
    good, bad = RNG.integers(0, 255, (2, 5, 4, 4, 3), dtype=np.uint8)
    for name, tries in (("x", [bad, good]), ("y", [good])):
        with ShardWriter(tmp_path / name, number=7, ids=["a", "b"], packed=packed) as writer:
            for clip_id in ("a", "b"):
                writer.begin(clip_id)
                writer.append("frames", tries[0])
                for rows in tries[1:]:
                    writer.restart()
                    writer.append("frames", rows)
                writer.finish()
            writer.close()
    shards = [tmp_path / name / shard_name("frames", 7) for name in ("x", "y")]
    assert shards[0].read_bytes() == shards[1].read_bytes()


def test_a_rolled_back_clip_leaves_no_trace(tmp_path: Path) -> None:
    """The shard equals one written as if the clip had never produced rows, for any dtype it tried."""
    good = np.arange(12, dtype=np.float32).reshape(4, 3)
    for folder, bad in (("x", True), ("y", False)):
        with ShardWriter(tmp_path / folder, number=0, ids=["a", "bad", "c"]) as writer:
            if bad:
                writer.begin("bad")
                writer.append("pose", np.ones((5, 9), np.float64))
                writer.append("only", np.ones(5, np.int16))
                writer.rollback()
            for clip_id in ("a", "c"):
                writer.begin(clip_id)
                writer.append("pose", good)
                writer.finish()
                if bad:
                    writer.begin("bad")
                    writer.append("pose", good[:1])
                    writer.rollback()
            writer.close()
    name = shard_name("pose", 0)
    assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    assert not list((tmp_path / "x" / "only").iterdir())


def test_a_clip_without_a_field_and_an_empty_array(tmp_path: Path) -> None:
    rows = _write(tmp_path, {"a": {"pose": np.ones((2, 7), np.float32)}, "b": {"hubert": np.ones((2, 4), np.float16)}})
    assert list(rows["a"]) == ["pose"] and list(rows["b"]) == ["hubert"]
    with ShardWriter(tmp_path, number=1, ids=["e"]) as writer:
        writer.begin("e")
        writer.append("audio", np.zeros(0, np.int16))
        writer.finish()
        writer.close()
    assert load_file(tmp_path / shard_name("audio", 1))["e"].shape == (0,)


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), ShardWriter(tmp_path, number=0, ids=["a"]) as writer:
        writer.begin("a")
        writer.append("pose", np.ones((2, 7), np.float32))
        raise RuntimeError("stop")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_change_of_dtype_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="float64 after float32"),
        ShardWriter(tmp_path, number=0, ids=["a"]) as writer,
    ):
        writer.begin("a")
        writer.append("pose", np.ones((2, 7), np.float32))
        writer.append("pose", np.ones((2, 7), np.float64))


def test_write_atomic_keeps_the_old_file_when_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.json"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, json.dumps({"new": 1}).encode())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["part.json"]
