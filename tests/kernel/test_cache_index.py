"""The index of a cache in memory: columns on first use, values as pandas has them, and shards that come and go."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow.parquet import read_table, write_table
from tiny_cache import write_tiny_cache

from dawn_bench import shard
from dawn_bench.cache import Cache
from dawn_bench.cache_index import _PLAIN
from dawn_bench.names import name_fault
from dawn_bench.pipelines.preparation.tables import Rows

CLIPS = 20_000


def made(root: Path, clips: int, **columns: Any) -> Path:
    """A cache without shards, in an order that is not that of the ids."""
    ids = [f"{(k * 7919) % clips:06d}" for k in range(clips)]
    rows: dict[str, Any] = {"id": ids, "speaker": "s", "split": "train", "n_frames": 9, "status": "ok"}
    rows |= {"reason": "", "detail": "", "source": [f"a/{i}.mp4" for i in ids], "source_fps": 25.0}
    for field in ("frames", "audio", "pose"):
        rows |= {f"{field}.shard": f"{field}/{field}-00000.safetensors", f"{field}.key": ids}
        rows |= {f"{field}.dtype": "uint8", f"{field}.sha256": [f"{field}{i}" for i in ids]}
    pd.DataFrame(rows | columns).to_parquet(root / "index.parquet")
    (root / "cache.json").write_text(json.dumps({"schema": 1, "dataset": "made", "size": 32}))
    return root


def test_opening_makes_no_objects_of_clips(tmp_path: Path) -> None:
    made(tmp_path, CLIPS)
    Cache(tmp_path)["000001"].meta["source"]  # what is imported
    tracemalloc.start()
    cache = Cache(tmp_path)
    clip = cache["000123"]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (clip.n_frames, clip.meta["source"], len(cache)) == (9, "a/000123.mp4", CLIPS)
    assert held < 20 * CLIPS and peak < 60 * CLIPS  # a dict of a row takes 5,000 bytes
    assert set(cache._index.columns._arrays) & {"detail", "source_fps", "pose.sha256", "frames.sha256"} == set()


def test_every_clip_is_found_whatever_the_order(tmp_path: Path) -> None:
    cache = Cache(made(tmp_path, 101))
    assert [clip.id for clip in cache] == [f"{(k * 7919) % 101:06d}" for k in range(101)]
    assert all(cache[f"{k:06d}"].meta["source"] == f"a/{k:06d}.mp4" for k in range(101))
    assert "000101" not in cache and "" not in cache and 7 not in cache


def test_facts_of_a_clip_are_the_values_of_its_row(tmp_path: Path) -> None:
    columns = {
        "whole": [3, 4, 5], "gaps": [3, None, 5], "part": [0.5, None, 2.0], "text": ["a", None, ""],
        "truth": [True, False, True], "some": [True, None, False], "none": [None] * 3, "nan": [float("nan")] * 3,
    }  # fmt: skip
    made(tmp_path, 3, **columns)
    table = read_table(tmp_path / "index.parquet").replace_schema_metadata(None)
    whole = pa.array(columns["gaps"], pa.int64())  # pandas writes such a column as fractions, other programs do not
    write_table(table.set_column(table.column_names.index("gaps"), "gaps", whole), tmp_path / "index.parquet")
    cache = Cache(tmp_path)
    for row in cache.index.to_dict("records"):
        meta = cache[row["id"]].meta
        assert {name for name in row if "." not in name} - {*meta} == {"id", "speaker", "split", "n_frames"}
        for name in columns:
            same = meta[name] == row[name] or (meta[name] != meta[name] and row[name] != row[name])
            assert same and type(meta[name]) is type(row[name]), name


def test_names_of_the_usual_kind_are_plain() -> None:
    rng, letters = np.random.default_rng(0), [*"aZ0_.- @+/\\:~\n\x00\x85é\u2028", "C:", "..", "x" * 120]
    names = ["".join(rng.choice(letters, rng.integers(0, 6))) for _ in range(5000)]
    usual = np.asarray(pc.match_substring_regex(pa.array(names), _PLAIN))
    assert usual.sum() > 200 and not [n for n, plain in zip(names, usual, strict=True) if plain and name_fault(n)]


def test_columns_are_those_of_the_file_that_was_opened(tmp_path: Path) -> None:
    cache = Cache(made(tmp_path, 5))
    clip = cache["000002"]
    (tmp_path / "other").mkdir()
    made(tmp_path / "other", 4, source="elsewhere")
    (tmp_path / "other" / "index.parquet").replace(tmp_path / "index.parquet")
    assert clip.meta["source"] == "a/000002.mp4" and len(cache.index) == 5
    assert Cache(tmp_path)["000002"].meta["source"] == "elsewhere"


def test_a_shard_that_is_mapped_again_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, read = write_tiny_cache(tmp_path / "c"), []
    header_of = shard.Header.read
    monkeypatch.setattr(shard.Header, "read", staticmethod(lambda path: read.append(path.name) or header_of(path)))
    shards = shard.Shards(root, maps=1)
    names = [f"{field}/{field}-00000.safetensors" for field in ("pose", "blink")]
    for k in range(12):
        assert np.array_equal(shards.array(names[k % 2], "c3"), Cache(root)["c3"][("pose", "blink")[k % 2]])
    assert [read.count(f"{field}-00000.safetensors") for field in ("pose", "blink")] == [1 + 6, 1 + 6]  # 6: of `Cache`
    write_tiny_cache(root, frames=11)
    assert shards.array(names[0], "c3").shape == (11, 7)  # another file: its own header


def test_a_shard_is_mapped_where_others_hold_every_descriptor(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, left = shard.Shards(tiny_cache), [1]

    def mapped(*given: Any, **named: Any) -> np.ndarray:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(24, "Too many open files")
        return np.fromfile(given[0], np.uint8)

    monkeypatch.setattr(np, "memmap", mapped)
    left[0] = 2
    shards.array("pose/pose-00000.safetensors", "c1")
    assert shards.array("blink/blink-00000.safetensors", "c1").shape == (30, 2)
    assert shards._open.cache_info().currsize == 1


def test_rows_become_the_table_that_pandas_makes_of_them(tmp_path: Path) -> None:
    rng, rows, table = np.random.default_rng(1), [], Rows()
    values: dict[str, list[Any]] = {
        "whole": [1, 2**40], "gap": [1, None], "part": [1.5, 2.0], "both": [1, 2.5], "text": ["a", "é"],
        "some": ["a", None],
        "truth": [True, False], "maybe": [True, None], "none": [None], "nan": [float("nan")], "mixed": [1, "b", 2.5],
        "shape": [[1, 2], [3]],
    }  # fmt: skip
    for k in rng.permutation(1500):
        row = {"id": f"{k:05d}"} | {name: options[rng.integers(len(options))] for name, options in values.items()}
        if k % 3:
            row["rare"], row["list"] = int(k), [int(k)]
        rows.append(row)
        table.add(row)
    columns = ["id", *values, "rare", "list", "never"]
    with (tmp_path / "a.parquet").open("wb") as file:
        table.write(file, columns=columns, by="id")
    expected = pd.DataFrame(sorted(rows, key=lambda row: row["id"]), columns=columns)
    expected["mixed"] = expected["mixed"].map(str)
    expected.to_parquet(tmp_path / "b.parquet", index=False)
    ours, theirs = pd.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(ours.drop(columns="never"), theirs.drop(columns="never"))
    assert ours["never"].isna().all()
