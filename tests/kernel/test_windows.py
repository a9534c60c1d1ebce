"""Windows of clips: each start that fits and no other, the sound of just these frames, other draws each epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_cache import write_tiny_cache

from dawn_bench.cache import Cache
from dawn_bench.clip import SAMPLES_PER_FRAME
from dawn_bench.errors import InputError
from dawn_bench.windows import Windows

FRAMES = 9
FIELDS = ("frames", "audio", "logmel", "pose", "landmarks")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_tiny_cache(tmp_path_factory.mktemp("c"), frames=FRAMES, splits=("train", "test", "train")))


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("step", [None, 1, 2])
@pytest.mark.parametrize(("frames", "stride"), [(1, 1), (4, 1), (2, 3), (4, 2), (3, 4), (FRAMES, 1)])
def test_a_window_is_these_frames_of_its_clip(
    frames: int, stride: int, step: int | None, seed: int | None, cache: Cache
) -> None:
    span = (frames - 1) * stride + 1
    data = Windows(cache, frames=frames, stride=stride, step=step, seed=seed, fields=FIELDS)
    starts = range(0, FRAMES - span + 1, step or span)
    assert len(data) == 2 * len(starts)
    for index, (clip_id, first) in enumerate((c, k) for c in ("c0", "c2") for k in starts):
        item, clip = data[index], cache[clip_id]
        assert item["clip"] == clip_id
        first = item["start"] if seed is not None else first
        assert item["start"] == first and 0 <= first <= FRAMES - span
        at = slice(first, first + span, stride)
        np.testing.assert_array_equal(item["frames"], np.moveaxis(clip["frames"][at], -1, 1))
        np.testing.assert_array_equal(item["audio"], clip["audio"][first * 640 : (first + span) * SAMPLES_PER_FRAME])
        for name in FIELDS[2:]:
            assert item[name].dtype == torch.float32
            np.testing.assert_array_equal(item[name], clip[name][at].astype(np.float32))


def test_drawn_starts_reach_both_ends_and_change_with_seed_epoch_and_index(cache: Cache) -> None:
    def starts(seed: int, epoch: int) -> list[int]:
        data = Windows(cache, frames=6, step=1, seed=seed)
        data.set_epoch(epoch)
        return [data[k]["start"] for k in range(len(data))]

    drawn = {(seed, epoch): starts(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert {start for draw in drawn.values() for start in draw} == {0, 1, 2, 3}
    assert len(set(map(tuple, drawn.values()))) == 9 and all(len(set(draw)) > 1 for draw in drawn.values())
    assert drawn == {key: starts(*key) for key in drawn}


def test_clips_without_a_window_say_why(cache: Cache) -> None:
    for frames, fits in ((FRAMES, True), (FRAMES + 1, False)):
        try:
            assert Windows(cache, frames=frames, split=None).left_out == {} and fits
        except InputError as error:
            assert not fits and f"no clip gives a window of {frames} frames" in str(error)
    data = Windows(cache, frames=1)
    assert torch.equal(data[-1]["frames"], data[len(data) - 1]["frames"])
    for index in (len(data), -len(data) - 1):
        with pytest.raises(IndexError):
            data[index]
    for name in ("frames", "stride", "step"):
        for value in (0, True, 1.0):
            with pytest.raises(InputError, match=f"{name}="):
                Windows(cache, **{name: value})  # type: ignore[arg-type]
