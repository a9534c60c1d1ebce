"""Parts that the trainings and generations of the other files leave out, on a CUDA device and on both of two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended.device import Record, pretended_cuda
from pretended.smallest import smallest, train_stage

from dawn_bench.errors import InputError
from dawn_bench.job import _device
from dawn_bench.models.diffspeaker.generator import DiffSpeakerOptions, load_generator
from dawn_bench.models.perceptual import VGGLoss
from dawn_bench.models.spec import MODELS
from dawn_bench.provenance import device_name, pick_device
from dawn_bench.training.data import batches
from dawn_bench.training.memory import advice

Folder = Callable[[str], Path]


@pytest.fixture
def record() -> Iterator[Record]:
    with pretended_cuda() as record:
        yield record


def test_a_mesh_generator_speaks_on_the_device(untrained: Folder, tiny_meshes: Path, record: Record) -> None:
    run, sound = untrained("diffspeaker"), np.random.default_rng(0).integers(-9000, 9000, 16_000).astype(np.int16)
    vertices = {}
    for device in ("cpu", "cuda:1"):
        speaker = load_generator(run, device=device)
        rest = np.zeros((speaker.model.config.vertices, 3), np.float32)
        vertices[device] = speaker.speak(rest, sound, seed=1, options=DiffSpeakerOptions())
        assert set(record.devices) == (set() if device == "cpu" else {1})
    assert type(vertices["cuda:1"]) is np.ndarray and np.ptp(vertices["cpu"]) > 0
    np.testing.assert_allclose(vertices["cuda:1"], vertices["cpu"], atol=1e-5)


def test_the_perceptual_loss_follows_its_network(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VGGLoss, "BLOCKS", ((2, 8), (2, 8), (1, 8), (1, 8), (1, 8)))
    torch.manual_seed(0)
    loss = VGGLoss(identity="any")
    one, other = torch.rand(2, 1, 3, 16, 16)
    expected = loss(one, other)
    got = loss.to("cuda:1")(one.to("cuda:1"), other.to("cuda:1"))
    assert got.device.index == 1
    torch.testing.assert_close(got.cpu(), expected)


@pytest.mark.parametrize(("model", "stage"), [("dawn", "pbnet"), ("dit-head", "vqgan-face")])
def test_each_of_two_processes_keeps_to_its_own_device(
    model: str,
    stage: str,
    cache_of: Folder,
    untrained: Folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second process of a machine, in a group of four: NCCL, its local number, and tensors of that device.

    Its share of three items is one, and the fourth process has none.
    """
    began: list[Any] = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, **_: began.append(backend))
    monkeypatch.setattr("torch.distributed.new_group", lambda **named: began.append(named["backend"]) or "gloo")
    monkeypatch.setattr("torch.distributed.all_reduce", lambda numbers, **_: numbers.mul_(2))
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    monkeypatch.setattr("torch.distributed.barrier", lambda group: began.append(f"wait in {group}"))
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    changes = ("loop.steps=1", "loop.batch_size=3", "loop.validate_every=null", "loop.amp=true")
    cache, before = cache_of(model), untrained(model)
    with pretended_cuda() as record:
        train_stage(model, stage, cache, tmp_path / "run", *changes, before=before, device="cuda")
        assert torch.cuda.current_device() == 1
    assert began[:2] == ["nccl", "gloo"] and set(began[2:]) == {"wait in gloo"}, "waits must not wait in NCCL"
    assert set(record.devices) == {1}
    assert set(record.reduced) == {
        ("all_reduce", "training/processes.py:average"),
        ("all_reduce", "training/loop.py:_one_step"),
        ("gradient", "training/loop.py:_one_step"),
    }
    assert not (tmp_path / "run" / stage / "model.safetensors").exists(), "the first process alone writes"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_device_may_have_an_index(device: str, tiny_cache: Path, untrained: Folder, record: Record) -> None:
    index = int(device.partition(":")[2] or 0)
    assert _device(device) == device and device_name(device) == f"Pretended GPU {index}"
    assert pick_device(device) == device and pick_device("auto") == "cuda" and pick_device("cpu") == "cpu"
    from dawn_bench.cache import Cache

    data = Cache(tiny_cache)
    settings = MODELS["dawn"].fit_to_cache(smallest("dawn").settings(), data)
    stage = MODELS["dawn"].stage("pbnet")(data, settings, run=untrained("dawn"), seed=0, device=device)
    assert "--set pbnet.loop.amp=true" in advice(stage, key="pbnet", device=device)
    assert "amp" not in advice(stage, key="pbnet", device="cpu")


def test_without_cuda_it_is_not_chosen() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert pick_device("auto") == "cpu" and pick_device("cuda") == "cuda"
    with pytest.raises(InputError, match="no CUDA device here"):
        _device("cuda:1")
    with pytest.raises(InputError, match="no device 'gpu'"):
        _device("gpu")


def test_batches_are_pinned_for_a_gpu_alone(record: Record) -> None:
    for pin in (True, False):
        items = list(batches(lambda step: {"x": torch.full((1,), float(step))}, start=1, stop=3, workers=0, pin=pin))
        assert [item["x"].item() for item in items] == [1, 2]
        assert all(item["x"].is_pinned() == pin for item in items)
