"""Sequences of PBNet: the tracks of the cache as they are stored, whatever their type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numbered_cache import named, write_numbered

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.training.data import ClipPool, sequences, step_rng


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ClipPool:
    return ClipPool(Cache(write_numbered(tmp_path_factory.mktemp("numbered") / "cache")))


def test_tracks_of_a_row_are_of_the_same_frames_and_the_rest_is_zero(pool: ClipPool) -> None:
    batch = sequences(pool, step_rng(2, 7, stream="x"), count=12, frames=32)
    assert batch["audio"].dtype == torch.float16 and batch["pose"].dtype == batch["blink"].dtype == torch.float32
    starts = set()
    for row, place in enumerate(batch["clip"].tolist()):
        clip = pool.cache[pool.ids[place]]
        length = int(batch["mask"][row].sum())
        assert length == min(32, clip.n_frames)
        _, start = named(float(batch["pose"][row, 0, 0]))
        starts.add((place, start))
        span = slice(start, start + length)
        for name, field in (("audio", "logmel"), ("pose", "pose"), ("blink", "blink")):
            assert np.array_equal(batch[name][row, :length], clip[field][span])
            assert not batch[name][row, length:].any()
        assert batch["mask"][row, :length].all()
    assert len(starts) > 3


def test_one_clip_in_single_precision_makes_the_batch_so(pool: ClipPool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sequences(pool, step_rng(2, 7, stream="x"), count=6, frames=20)
    real, wide = Clip.__getitem__, pool.ids[int(whole["clip"][3])]

    def read(clip: Clip, field: str) -> np.ndarray:
        array = real(clip, field)
        return np.asarray(array, np.float32) if (clip.id, field) == (wide, "logmel") else array

    monkeypatch.setattr(Clip, "__getitem__", read)
    mixed = sequences(pool, step_rng(2, 7, stream="x"), count=6, frames=20)
    assert mixed["audio"].dtype == torch.float32 and torch.equal(mixed["audio"], whole["audio"].float())
