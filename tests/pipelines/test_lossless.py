"""A cache with frames kept lossless equals one with raw frames in everything but its shards' bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_tools import FakeTools, write_video
from safetensors.numpy import load_file

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.packed import PackedFrames
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

SETTINGS = PrepareSettings(size=32, extract=("pose", "late"))
LOSSLESS = SETTINGS.model_copy(update={"frames": "lossless"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lossless")
    for k in range(8):
        write_video(root / "v" / f"{k}.mp4", frames=9 + k, value=k, then="no_face" if k == 3 else "")
    prepare(root / "v", root / "raw", SETTINGS, tools=FakeTools())
    prepare(root / "v", root / "lossless", LOSSLESS, tools=FakeTools())
    return root


def test_index_and_arrays_are_those_of_raw_frames(root: Path) -> None:
    raw, packed = Cache(root / "raw"), Cache(root / "lossless")
    pd.testing.assert_frame_equal(raw.index, packed.index)
    for one, other in zip(raw, packed, strict=True):
        assert isinstance(one["frames"], np.ndarray) and isinstance(other["frames"], PackedFrames)
        for field in one.arrays:
            assert np.array_equal(one[field], other[field]), field
    assert not verify(root / "lossless").faults


def test_exports_are_those_of_raw_frames(root: Path, tmp_path: Path) -> None:
    for name in ("raw", "lossless"):
        export(root / name, tmp_path / name)
    for path in (tmp_path / "raw").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "lossless" / path.relative_to(tmp_path / "raw")).read_bytes()


def test_bytes_do_not_depend_on_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    prepare(root / "v", tmp_path / "c", LOSSLESS, tools=FakeTools(), jobs=2)
    shards = sorted((root / "lossless").rglob("*.safetensors"))
    assert shards
    for path in shards:
        assert path.read_bytes() == (tmp_path / "c" / path.relative_to(root / "lossless")).read_bytes()


def test_damage_is_detected(root: Path, tmp_path: Path) -> None:
    prepare(root / "v", tmp_path / "c", LOSSLESS, tools=FakeTools())
    clip = Cache(tmp_path / "c")["5"]
    path = tmp_path / "c" / Cache(tmp_path / "c").index.set_index("id").loc["5", "frames.shard"]
    data = path.read_bytes()
    at = data.index(clip["frames"].packed.tobytes()) + int(clip["frames"].offsets[2]) + 20
    path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
    assert [(i, field) for i, field, _ in verify(tmp_path / "c").faults] == [("5", "frames")]


def test_a_cache_is_not_continued_in_the_other_form(root: Path) -> None:
    with pytest.raises(InputError, match=r"with frames 'raw' \(now 'lossless'\)"):
        prepare(root / "v", root / "raw", LOSSLESS, tools=FakeTools())


def test_a_cache_is_readable_with_pandas_and_safetensors_alone(root: Path) -> None:
    """The other way round than the reader: nothing of this package between the files and the arrays."""
    index = pd.read_parquet(root / "raw" / "index.parquet").set_index("id")
    good = index[index["status"] == "ok"]
    assert list(good.index) == [str(k) for k in range(8) if k != 3] and index.loc["3", "reason"] == "no_face"
    for name, row in good.iterrows():
        for field in ("frames", "audio", "pose", "valid"):
            array = load_file(root / "raw" / row[f"{field}.shard"])[row[f"{field}.key"]]
            assert array.dtype == row[f"{field}.dtype"] and list(array.shape) == list(row[f"{field}.shape"])
            assert hashlib.sha256(array.tobytes()).hexdigest() == row[f"{field}.sha256"]
            assert np.array_equal(array, Cache(root / "raw")[str(name)][field])
