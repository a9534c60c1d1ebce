"""What identifies weights and checkpoints changes with each ingredient; a cache keeps what its settings say."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_cache import write_tiny_cache

from dawn_bench import weights, weights_fetch
from dawn_bench.cache import SETTINGS_FILE, Cache
from dawn_bench.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("c") / "cache", frames=2, splits=("train", "test", "test"))


@pytest.mark.parametrize(("fps", "good"), [(0, False), (1, True), (30, True), (1000, True), (1001, False)])
def test_clips_have_the_frame_rate_of_their_cache(fps: int, good: bool, folder: Path) -> None:
    path = folder / SETTINGS_FILE
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"fps": fps}))
    try:
        assert {clip.fps for clip in Cache(folder)} == {fps} and good
    except InputError:
        assert not good
    finally:
        path.write_text(before)


def test_a_second_change_of_splits_keeps_the_first(folder: Path) -> None:
    moved = Cache(folder).resplit({"c1": "val"}).resplit({"c2": "train"})
    assert {split: moved.ids(split) for split in moved.splits} == {"train": ["c0", "c2"], "val": ["c1"]}


def test_a_worker_has_the_splits_of_the_cache_it_is_sent(folder: Path) -> None:
    moved = pickle.loads(pickle.dumps(Cache(folder, splits={"c1": "val"}).resplit({"c2": "train"})))
    assert {split: moved.ids(split) for split in moved.splits} == {"train": ["c0", "c2"], "val": ["c1"]}
    again = pickle.loads(pickle.dumps(moved.windows(frames=2, split="val")))
    assert {again[k]["clip"] for k in range(len(again))} == {"c1"}


def test_weights_are_identified_by_entry_state_and_sixteen_digits() -> None:
    one = weights.Resolved(weights.entry("vgg19"), "user", Path("x"), "0123456789abcdef0123")
    assert one.identity == "vgg19:user:0123456789abcdef"


def test_the_hash_of_a_checkpoint_is_of_its_tensors_and_metadata() -> None:
    state, facts = {"a": torch.zeros(2, 3), "b": torch.ones(1)}, {"kind": "x", "config": "{}"}
    known = weights.content_hash(state, facts)
    others = [
        ({"a": torch.zeros(3, 2), "b": torch.ones(1)}, facts),
        ({"a": torch.zeros(2, 3), "b": torch.full((1,), 2.0)}, facts),
        ({"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(1)}, facts),
        ({"c": torch.zeros(2, 3), "b": torch.ones(1)}, facts),
        (state, facts | {"kind": "y"}),
        (state, facts | {"more": "z"}),
    ]
    assert len({known, *(weights.content_hash(*other) for other in others)}) == 1 + len(others)
    again = dict(reversed(state.items()))
    assert known == weights.content_hash(again, facts | {weights.CONTENT_HASH: "any"})


def test_an_archive_is_downloaded_once_for_all_its_files() -> None:
    one = replace(weights.entry("vgg19"), url="https://x/pack.zip", archive_bytes=100, archive_sha256="0", member="a")
    other = replace(one, name="other", member="b")
    plain = replace(weights.entry("vgg19"), name="plain", url="https://x/plain", bytes=7)
    unknown = replace(plain, name="unknown", url="https://x/unknown", bytes=None)
    assert one.archive and weights_fetch.transfer_bytes([one, other, plain, unknown]) == (107, 1)
