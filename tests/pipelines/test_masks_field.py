"""Face and lip masks as fields of a cache: stored as bits, equal to those that older caches compute."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fake_tools import FakeTools, write_video
from safetensors.numpy import load_file
from tiny_cache import tiny_clip
from typer.testing import CliRunner

from dawn_bench.cache import Cache, open_shard
from dawn_bench.cli import app
from dawn_bench.lazy import LazyRows
from dawn_bench.masks import face_mask, lip_mask
from dawn_bench.metrics.scoring.matching import cut
from dawn_bench.packed import BITS_CODEC, PackedBits
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.masks import Masks
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import stats, verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.shards import ShardWriter, shard_name
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.windows import Windows
from dawn_bench.workflow.pieces import cut_piece, repeated

SIZE = 36  # no multiple of 8: the last byte of a row is not full
BEFORE = PrepareSettings(size=SIZE, extract=("pose",))
SETTINGS = PrepareSettings(size=SIZE, extract=("pose", "masks"))
BOTH = ("face_mask", "lip_mask")


@dataclass(frozen=True)
class FaceTools(FakeTools):
    """A fake video has the landmarks and the face box of a tiny clip, and the real extractor of masks runs on them."""

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        """Also write `landmarks`, `bbox` and the masks."""
        meta = super().process(source, settings, sink)
        frames, value, _ = source.video.read_text().split(" ")
        face = tiny_clip(int(value), size=settings.size, frames=int(frames))
        face["landmarks"] += np.float32(2 * int(value))  # some lips lie partly outside the frame
        arrays = {name: face[name] for name in ("landmarks", "bbox")}
        if "masks" in settings.extract:
            arrays |= self.extract("masks", arrays, size=settings.size, n_frames=int(frames))
        for field, rows in arrays.items():
            sink.append(field, rows)
        return meta

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Run the extractor of masks."""
        assert name == "masks"
        return Masks().run(arrays, size=size, n_frames=n_frames)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`videos`, a cache `new` with masks and a cache `old` without them."""
    root = tmp_path_factory.mktemp("masks")
    for k in range(6):
        write_video(root / "videos" / f"c{k}.mp4", frames=10 + k, value=k, then="no_face" if k == 3 else "")
    prepare(root / "videos", root / "new", SETTINGS, tools=FaceTools())
    prepare(root / "videos", root / "old", BEFORE, tools=FaceTools())
    return root


def test_the_usual_settings_store_masks() -> None:
    assert "masks" in PrepareSettings().extract


def test_stored_and_computed_masks_are_those_of_the_definition(root: Path) -> None:
    new, old = Cache(root / "new"), Cache(root / "old")
    assert {*BOTH} <= {*new.fields} and not {*BOTH} & {*old.fields}
    for one, other in zip(new, old, strict=True):
        assert one.fields == other.fields
        for name, source, mask in (("face_mask", "bbox", face_mask), ("lip_mask", "landmarks", lip_mask)):
            assert isinstance(one.arrays[name], PackedBits) and name not in other.arrays
            expected = mask(one[source], SIZE)
            assert expected.any() and expected.shape == (one.n_frames, SIZE, SIZE)
            for clip in (one, other):
                assert clip[name].dtype == np.bool_ and clip[name].shape == expected.shape
                np.testing.assert_array_equal(clip[name], expected)
                for key in (3, -1, slice(2, 9, 3), [4, 1], (slice(0, 2), 20), ...):
                    np.testing.assert_array_equal(clip[name][key], expected[key])
            row = new.index.set_index("id").loc[one.id]
            assert row[f"{name}.dtype"] == "bool" and list(row[f"{name}.shape"]) == list(expected.shape)


def test_a_frame_of_128_px_takes_2_kb(tmp_path: Path) -> None:
    clip = tiny_clip(0, size=128, frames=50)
    with ShardWriter(tmp_path, number=0, ids=["a"]) as writer:
        writer.begin("a")
        for name, mask in Masks().run(clip, size=128, n_frames=50).items():
            writer.append(name, mask)
        writer.finish()
        writer.close()
    for name in BOTH:
        shard = tmp_path / shard_name(name, 0)
        assert open_shard(shard)["a"].packed.nbytes == 50 * 2048
        assert shard.stat().st_size - 50 * 2048 < 1000


def test_masks_added_to_an_older_cache_equal_those_from_the_start(root: Path, tmp_path: Path) -> None:
    prepare(root / "videos", tmp_path / "c", BEFORE, tools=FaceTools())
    frames = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "frames").iterdir()}
    prepare(root / "videos", tmp_path / "c", SETTINGS, tools=FaceTools())
    assert {path: path.stat().st_mtime_ns for path in frames} == frames
    paths = [path for path in (root / "new").rglob("*") if path.suffix in (".safetensors", ".parquet")]
    assert {path.parent.name for path in paths} > {*BOTH}
    for path in paths:
        assert path.read_bytes() == (tmp_path / "c" / path.relative_to(root / "new")).read_bytes(), path
    assert Cache(tmp_path / "c").settings["fingerprints"]["extractor masks"]


def test_an_export_has_masks_also_of_a_cache_that_does_not_store_them(root: Path, tmp_path: Path) -> None:
    for name in ("new", "old"):
        assert export(root / name, tmp_path / name) == 5
    for clip in Cache(root / "new"):
        for name in BOTH:
            exported, older = (tmp_path / cache / clip.id / f"{name}.npy" for cache in ("new", "old"))
            mask = np.load(exported)
            assert mask.dtype == np.bool_ and np.array_equal(mask, clip[name])
            assert exported.read_bytes() == older.read_bytes()


def test_stats_count_stored_and_computed_masks(root: Path) -> None:
    new, old = stats(root / "new"), stats(root / "old")
    frames = sum(10 + k for k in range(6) if k != 3)
    for name in BOTH:
        assert new["clips_with"][name] == 5 and name not in old["clips_with"]
        assert frames * SIZE * 5 < new["bytes"][name] < frames * SIZE * 5 + 5 * 1000
    assert new["computed"] == {} and old["computed"] == {"face_mask": 5, "lip_mask": 5}
    run = CliRunner().invoke
    assert "--extract masks" in run(app, ["cache", "stats", str(root / "old")]).output
    shown = run(app, ["cache", "stats", str(root / "new")]).output
    assert "lip_mask" in shown and "--extract masks" not in shown


def test_verify_reads_the_masks(root: Path, tmp_path: Path) -> None:
    prepare(root / "videos", tmp_path / "c", SETTINGS, tools=FaceTools())
    whole = verify(tmp_path / "c")
    assert not whole.faults and whole.arrays == 5 * (6 + len(BOTH))
    row = Cache(tmp_path / "c").index.set_index("id").loc["c4"]
    shard = tmp_path / "c" / row["lip_mask.shard"]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1  # a bit that fills up a row: no pixel
    shard.write_bytes(data)
    assert [(i, field) for i, field, _ in verify(tmp_path / "c").faults] == [("c4", "lip_mask")]


def test_pandas_and_safetensors_alone_read_the_masks(root: Path) -> None:
    """The lines of `dawn_bench.cache`'s docstring."""
    index = pd.read_parquet(root / "new" / "index.parquet").set_index("id")
    row = index.loc["c2"]
    bits = load_file(root / "new" / row["lip_mask.shard"])[row["lip_mask.key"]]
    masks = np.unpackbits(bits, axis=-1, count=SIZE).view(bool)
    assert np.array_equal(masks, Cache(root / "new")["c2"]["lip_mask"])
    assert hashlib.sha256(bits.tobytes()).hexdigest() == row["lip_mask.sha256"]


def test_windows_segments_and_cuts_have_the_stored_masks(root: Path) -> None:
    cache = Cache(root / "new")
    clip = cache["c4"]
    whole = np.asarray(clip["lip_mask"])
    windows = Windows(cache, frames=4, fields=("lip_mask", "face_mask"), split=None)
    item = next(w for w in windows if w["clip"] == "c4" and w["start"] == 4)
    assert item["lip_mask"].dtype == torch.bool and np.array_equal(item["lip_mask"], whole[4:8])
    assert np.array_equal(cut_piece(clip, 3, 9)["lip_mask"], whole[3:9])
    assert np.array_equal(cut(clip, 2, 5)["lip_mask"], whole[2:5])
    assert np.array_equal(repeated(clip, 20, name="long")["lip_mask"][14:], whole[:6])


def test_what_is_not_read_of_a_cut_clip_is_not_unpacked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PackedBits, numbers: Sequence[int]) -> np.ndarray:
        raise AssertionError("unpacked")

    monkeypatch.setattr(PackedBits, "_rows", refuse)
    part = cut(Cache(root / "new")["c4"], 1, 6)
    assert part["frames"].shape == (5, SIZE, SIZE, 3) and "lip_mask" in part
    with pytest.raises(AssertionError, match="unpacked"):
        part["lip_mask"][0]


class Counted(LazyRows):
    """Masks of a long clip; `most` is the largest number of rows that were computed at once."""

    dtype, shape, most = np.dtype(np.bool_), (10_000, 64, 64), 0

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        self.most = max(self.most, len(numbers))
        return np.zeros((len(numbers), 64, 64), np.bool_)


def test_masks_of_a_long_clip_are_computed_and_written_in_parts(tmp_path: Path) -> None:
    masks = Counted()
    with ShardWriter(tmp_path, number=0, ids=["a"]) as writer:
        writer.begin("a")
        writer.append("lip_mask", masks)
        assert writer.finish()["lip_mask"]["shape"] == [10_000, 64, 64]
        writer.close()
    assert 0 < masks.most <= 1024  # of 41 MB


def test_a_rolled_back_clip_leaves_no_trace(tmp_path: Path) -> None:
    good, bad = np.random.default_rng(0).random((2, 7, SIZE, SIZE)) > 0.5
    for folder, clips in (("x", ("a", "bad", "b")), ("y", ("a", "b"))):
        with ShardWriter(tmp_path / folder, number=0, ids=["a", "bad", "b"]) as writer:
            for name in clips:
                writer.begin(name)
                for rows in (bad,) if name == "bad" else (good[:3], good[3:]):
                    writer.append("lip_mask", rows)
                writer.rollback() if name == "bad" else writer.finish()
            writer.close()
    shards = [tmp_path / folder / shard_name("lip_mask", 0) for folder in ("x", "y")]
    assert shards[0].read_bytes() == shards[1].read_bytes() and BITS_CODEC.encode() in shards[0].read_bytes()
    assert np.array_equal(open_shard(shards[0])["b"], good)
