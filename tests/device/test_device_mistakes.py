"""The pretended device notices mistakes: one planted mistake of each class, and what is allowed beside it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended.device import DeviceMismatch, Record, pretended_cuda
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dawn_bench.training.augment import JitterConfig, jitter


@pytest.fixture
def record() -> Iterator[Record]:
    with pretended_cuda() as record:
        yield record


def seeded(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def on(device: str = "cuda:1") -> Tensor:
    return torch.arange(6, device=device).float().view(2, 3)


MIXED: dict[str, Callable[[], object]] = {
    "a CPU tensor mixed in": lambda: on() + torch.ones(2, 3),
    "a factory without device=": lambda: on() * torch.arange(3),
    "another index": lambda: on("cuda:1") + on("cuda:0"),
    "plain cuda is the first device": lambda: on("cuda:1") + on("cuda"),
    "weights left on the CPU": lambda: nn.Linear(3, 2)(on()),
    "input left on the CPU": lambda: nn.Linear(3, 2).to("cuda:1")(torch.ones(1, 3)),
    "values of an assignment by mask": lambda: on().index_put_((torch.tensor([0], device="cuda:1"),), torch.ones(1, 3)),
    "indices on the device, tensor on the CPU": lambda: torch.ones(4)[torch.tensor([1], device="cuda:1")],
    "an index_select by CPU indices": lambda: on().index_select(0, torch.tensor([1])),
    "a number of the CPU among those that are stacked": lambda: torch.stack([on().sum(), torch.zeros(())]),
    "concatenation": lambda: torch.cat([on(), torch.ones(2, 3)]),
    "in place into a number of the CPU": lambda: torch.zeros(()).add_(on().sum()),
    "a generator of the CPU": lambda: torch.randn(3, device="cuda:1", generator=seeded("cpu")),
    "a generator of another index": lambda: torch.rand(3, device="cuda:1", generator=seeded("cuda:0")),
    "a generator of the device for the CPU": lambda: torch.rand(3, generator=seeded("cuda:1")),
    "randperm": lambda: torch.randperm(3, device="cuda", generator=seeded("cpu")),
    "pinning what is on the device": lambda: on().pin_memory(),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MIXED)
def test_devices_that_mix_are_refused(mistake: str, record: Record) -> None:
    with pytest.raises(DeviceMismatch):
        MIXED[mistake]()


def test_what_cuda_allows_is_allowed(record: Record) -> None:
    x = on()
    assert (x + torch.tensor(2.0)).device == torch.device("cuda:1")
    assert x[torch.tensor([0])].device == x.device and record.blocking()
    assert torch.zeros_like(x).device == x.device and torch.zeros_like(x, device="cpu").device.type == "cpu"
    assert torch.ones(2, 3).to(x).device == x.device and x.cpu().device.type == "cpu"
    other = torch.zeros(2, 3)
    other.copy_(x)
    assert other.tolist() == x.tolist() and other.device.type == "cpu"
    assert (
        torch.randn(2, device="cuda", generator=seeded("cuda")).tolist()
        == torch.randn(2, generator=seeded("cpu")).tolist()
    )


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), np.asarray, lambda x: np.mean([x])])
def test_an_array_of_a_tensor_on_the_device_is_refused(convert: Callable[[Tensor], object], record: Record) -> None:
    with pytest.raises(TypeError, match=r"cuda:1 device type tensor.*Tensor\.cpu\(\)"):
        convert(on())
    assert convert(on().cpu()) is not None


@pytest.mark.parametrize(("location", "device"), [(None, "cuda:1"), ("cpu", "cpu"), ("cuda", "cuda:0")])
def test_a_file_returns_tensors_to_where_map_location_says(location: str | None, device: str, record: Record) -> None:
    """Without it, to the device that they were saved from, which the next machine may not have."""
    file = io.BytesIO()
    torch.save({"weight": on(), "step": torch.tensor(3)}, file)
    file.seek(0)
    state = torch.load(file, map_location=location, weights_only=True)
    assert state["weight"].device == torch.device(device) and state["weight"].sum() == 15
    assert state["step"].device == torch.device(device if location else "cpu")


def test_a_file_of_the_device_is_a_plain_file_elsewhere(tmp_path: Path) -> None:
    with pretended_cuda():
        torch.save(nn.Linear(2, 1).to("cuda:1").state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True)["weight"].shape == (1, 2)
    if torch.cuda.device_count() < 2:  # else there is such a device
        with pytest.raises(RuntimeError):
            torch.load(tmp_path / "state.pt", weights_only=True)


def test_a_buffer_moves_with_its_module_and_an_attribute_does_not(record: Record) -> None:
    class Scaled(nn.Module):
        def __init__(self, *, registered: bool) -> None:
            super().__init__()
            scale = torch.ones(3)
            if registered:
                self.register_buffer("scale", scale)
            else:
                self.scale = scale

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    assert Scaled(registered=True).to("cuda:1")(on()).device.index == 1
    with pytest.raises(DeviceMismatch):
        Scaled(registered=False).to("cuda:1")(on())


def test_autocast_of_another_kind_of_device_is_refused(record: Record) -> None:
    layer = nn.Linear(3, 2).to("cuda:1")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert layer(on()).dtype == torch.bfloat16
        with torch.autocast("cuda", enabled=False):
            assert layer(on()).dtype == torch.float32
        assert layer(on()).dtype == torch.bfloat16 and on().softmax(-1).dtype == torch.float32
        with torch.autocast("cpu", enabled=False):
            assert layer(on()).dtype == torch.bfloat16, "which changes nothing on CUDA"
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(DeviceMismatch, match="autocast is on for the CPU"):
        layer(on())


WAITING: dict[str, tuple[int, Callable[[Tensor], object]]] = {
    "item": (1, lambda x: x.sum().item()),
    "a condition": (1, lambda x: bool(x.sum() > 0)),
    "cpu": (1, lambda x: x.cpu()),
    "tolist": (1, lambda x: x.tolist()),
    "nonzero": (1, lambda x: x.nonzero()),
    "a mask as an index": (1, lambda x: x[x > 2]),
    "a copy from pageable memory": (1, lambda x: torch.ones(3).to(x.device)),
    "item in a loop": (2, lambda x: [float(row.sum()) for row in x]),
    "a value of Python": (1, lambda x: torch.tensor([1.0], device=x.device)),
    "arithmetic": (0, lambda x: (x @ x.T).softmax(-1).sum()),
    "a copy of pinned memory": (0, lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True)),
}


@pytest.mark.parametrize("kind", WAITING)
def test_waits_of_the_host_are_counted(kind: str, record: Record) -> None:
    x = on()
    record.clear()
    WAITING[kind][1](x)
    assert sum(record.blocking().values()) == WAITING[kind][0]


def test_a_wait_has_the_file_and_the_function_of_the_project(record: Record) -> None:
    jitter([torch.rand(1, 3, 4, 4, device="cuda")], JitterConfig(), seeded("cuda"))
    assert record.waits == {("tolist", "training/augment.py:jitter"): 2}
    record.clear()
    on().tolist()
    assert set(record.blocking()) == {"elsewhere"}


def test_a_loader_that_pins_is_told_from_one_that_does_not(record: Record) -> None:
    for pin in (True, False):
        record.clear()
        for batch in DataLoader([torch.ones(2)], batch_size=None, pin_memory=pin):
            batch.to("cuda:1", non_blocking=True)
        assert {kind for kind, _ in record.copies} == {"pinned" if pin else "pageable"}


def test_products_that_tf32_would_round_are_counted(record: Record) -> None:
    conv, x = nn.Conv2d(1, 1, 3).to("cuda:1"), torch.rand(1, 1, 4, 4, device="cuda:1")
    conv(x)
    assert sum(record.rounded.values()) == 1, "PyTorch's default allows it for convolutions"
    record.clear()
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    try:
        conv(x)
    finally:
        torch.backends.cudnn.conv.fp32_precision = before
    on() @ on().T
    assert not record.rounded


def test_nccl_takes_tensors_of_this_device_alone(record: Record) -> None:
    with pytest.raises(DeviceMismatch, match="CPU tensor"):
        torch.distributed.all_reduce(torch.ones(2))
    with pytest.raises(DeviceMismatch, match="cuda:1"):
        torch.distributed.all_reduce(on("cuda:1"))
    with pytest.raises(DeviceMismatch, match="not dense"):
        torch.distributed.all_reduce(on("cuda:0").T)


def test_nothing_stays_behind() -> None:
    originals = torch.load, torch.autocast, torch.Generator, torch.cuda.is_available()
    with pretended_cuda():
        torch.cuda.set_device(1)
        assert torch.ones(1, device="cuda").device.index == 1
    assert originals == (torch.load, torch.autocast, torch.Generator, torch.cuda.is_available())
    with pretended_cuda():
        assert torch.ones(1, device="cuda").device.index == 0


def test_gradients_come_back_to_the_parameters_of_the_device(record: Record) -> None:
    layer = nn.Linear(3, 1).to("cuda:1")
    source = torch.ones(2, 3, requires_grad=True)
    layer(source.to("cuda:1")).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.device.index == 1
    assert source.grad is not None and source.grad.device.type == "cpu"
    torch.testing.assert_close(source.grad, layer.weight.detach().cpu().expand(2, 3))
