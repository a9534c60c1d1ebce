"""Packed frames: exact, indexed like an array, bounded in what a window touches, readable without this package."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from skimage.data import astronaut

from dawn_bench.cache import open_shard, raw_blocks
from dawn_bench.errors import InputError
from dawn_bench.packed import CODEC, PackedFrames, pack, unpack
from dawn_bench.pipelines.preparation.shards import ShardWriter, shard_name


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Twelve frames of a face that drifts, 64 px, and one of noise."""
    face = astronaut()[40:232:2, 130:322:2]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return np.stack([*(face[k : k + 64, 12 - k : 76 - k] for k in range(12)), noise])


@pytest.fixture
def shard(tmp_path: Path, frames: np.ndarray) -> Path:
    """Two clips, in chunks of three frames, the second after a clip that was rolled back."""
    with ShardWriter(tmp_path, number=0, ids=["a", "bad", "b ü"], packed=("frames",)) as writer:
        for name, rows in (("a", frames), ("bad", frames[:5]), ("b ü", frames[4:9])):
            writer.begin(name)
            for start in range(0, len(rows), 3):
                writer.append("frames", rows[start : start + 3])
            facts = writer.rollback() if name == "bad" else writer.finish()
        writer.close()
    assert facts["frames"]["dtype"] == "uint8" and facts["frames"]["shape"] == [5, 64, 64, 3]
    return tmp_path / shard_name("frames", 0)


def test_every_frame_comes_back_bit_for_bit_from_fewer_bytes(frames: np.ndarray) -> None:
    packed = pack(frames)
    assert np.array_equal(unpack(packed, frames.shape[1:]), frames)
    assert sum(map(len, packed[:12])) < 0.75 * frames[:12].nbytes
    extremes = np.stack([np.zeros((5, 7, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)])
    assert np.array_equal(unpack(pack(extremes), (5, 7, 3)), extremes)


def test_the_reader_indexes_like_an_array(shard: Path, frames: np.ndarray) -> None:
    packed = open_shard(shard)["a"]
    assert isinstance(packed, PackedFrames)
    assert (packed.shape, packed.dtype, packed.ndim, len(packed)) == (frames.shape, np.uint8, 4, 13)
    assert packed.nbytes == packed.size == frames.nbytes
    for key in (
        *(3, -1, np.int64(2), slice(2, 9), slice(None, None, -2), slice(5, 5), [1, 1, 8], np.array([[0, 3]]), ...),
        *(frames[:, 0, 0, 0] > 100, (2, slice(None), 5), (slice(1, 4), 0, 0), ([0, 2], slice(3))),
    ):
        assert np.array_equal(packed[key], frames[key]), key
    assert np.array_equal(np.asarray(packed), frames) and np.array_equal(np.stack(list(packed)), frames)
    assert np.asarray(packed, np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        packed[13]
    with pytest.raises(AttributeError, match="no 'frames'"):
        _ = packed.frames
    packed[0][:] = 0  # the caller's own: it does not reach the file
    assert np.array_equal(packed[0], frames[0])
    assert np.array_equal(open_shard(shard)["b ü"], frames[4:9]) and set(open_shard(shard)) == {"a", "b ü"}


def test_arithmetic_and_methods_are_the_array_s(shard: Path, frames: np.ndarray) -> None:
    """As methods under test write it: their use of a clip's frames must not depend on how frames are stored."""
    packed = open_shard(shard)["a"]
    for same in (
        lambda x: x // 2, lambda x: 255 - x, lambda x: frames - x, lambda x: x.astype(np.float32) / 255, np.mean,
        lambda x: x.transpose(0, 3, 1, 2), lambda x: x.max(axis=(1, 2)), lambda x: x == frames, np.flip,
        lambda x: x[::2].tobytes(), lambda x: np.concatenate([x, x[:1]]), lambda x: x.reshape(len(x), -1), np.copy,
    ):  # fmt: skip
        assert np.array_equal(same(packed), same(frames))
    assert np.array_equal(pickle.loads(pickle.dumps(packed)), frames)
    assert np.array_equal(torch.from_numpy(packed[:4]).numpy(), frames[:4])


def test_a_window_touches_its_own_frames_only(shard: Path, frames: np.ndarray) -> None:
    packed = open_shard(shard)["a"]
    data = np.zeros_like(packed.packed)
    window = slice(packed.offsets[4], packed.offsets[7])
    data[window] = packed.packed[window]
    assert np.array_equal(PackedFrames(data, packed.offsets, (64, 64, 3))[4:7], frames[4:7])


def test_blocks_are_the_array_s_bytes(shard: Path, frames: np.ndarray) -> None:
    for array in (open_shard(shard)["a"], frames, frames[:, 0, 0, 0]):
        whole = np.asarray(array).tobytes()
        for block in (1, 40_000, 10**9):
            assert b"".join(part.tobytes() for part in raw_blocks(array, block=block)) == whole


def test_plain_safetensors_and_pyarrow_read_it(shard: Path, frames: np.ndarray) -> None:
    """The lines of `dawn_bench.cache`'s docstring; torch wants tensors at places that suit their types."""
    tensors, key, S, k = load_file(shard), "a", 64, 7
    data, at = tensors[key], tensors[key + "/offsets"]
    rows = np.frombuffer(pyarrow.decompress(data[at[k] : at[k + 1]], S * S * 3, "zstd"), "u1").reshape(S, S, 3)
    frame = rows.cumsum(0, dtype="u1")
    frame[..., ::2] += frame[..., 1:2]
    assert np.array_equal(frame, frames[k])
    with safe_open(shard, "pt") as file:
        assert file.metadata()["codec"] == CODEC
        assert file.get_tensor("b ü/offsets").tolist() == tensors["b ü/offsets"].tolist()


def test_damage_and_an_unknown_codec_are_reported(shard: Path) -> None:
    packed = open_shard(shard)["a"]
    data = packed.packed.copy()
    data[packed.offsets[2] : packed.offsets[2] + 8] = 0
    with pytest.raises((ValueError, OSError)):
        PackedFrames(data, packed.offsets, (64, 64, 3))[:4]
    future = shard.with_name("future.safetensors")
    future.write_bytes(shard.read_bytes().replace(CODEC.encode(), b"zstd-rows-9"))
    with pytest.raises(InputError, match="zstd-rows-9"):
        open_shard(future)
