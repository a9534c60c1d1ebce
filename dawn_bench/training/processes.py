"""Data parallelism over the processes of `torchrun`: rank, devices, waiting, averages, and exchange of gradients."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from dawn_bench.training.stage import Batch, Stage

#: How long processes wait for one that validates or saves: NCCL's ten minutes are for processes that have died.
_PATIENCE = timedelta(days=365)


class _Group:
    """The process group in which processes wait; None in a single process."""

    waiting: Any = None


def rank() -> int:
    """Rank of this process; 0 without `torchrun`."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes; 1 without `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def distributed(device: str) -> Iterator[str]:
    """Initialise the process group of `torchrun` (gloo on the CPU, nccl on CUDA); yields the device of this process.

    The device becomes the current one before anything is loaded, so that no process takes memory of another's. Waits
    have a gloo group of their own: they may last, and keep no GPU busy.
    """
    if world_size() == 1:
        with _current(device):
            yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        _Group.waiting = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
        yield device
    finally:
        _Group.waiting = None
        torch.distributed.destroy_process_group()


@contextmanager
def _current(device: str) -> Iterator[None]:
    """A block in which `device` is the current one, if it is a GPU with an index: batches are pinned for that one."""
    if not device.startswith("cuda:"):
        yield
        return
    before = torch.cuda.current_device()
    torch.cuda.set_device(device)
    try:
        yield
    finally:
        torch.cuda.set_device(before)


def barrier() -> None:
    """Wait until all processes get here, however long that takes."""
    if world_size() > 1:
        torch.distributed.barrier(group=_Group.waiting)


def largest(number: int) -> int:
    """The largest of a number over processes."""
    if world_size() == 1:
        return number
    shared = torch.tensor(number, device="cpu")
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX, group=_Group.waiting)
    return int(shared)


def average(values: Tensor) -> None:
    """Average a tensor over processes, in place."""
    if world_size() > 1:
        torch.distributed.all_reduce(values)
        values /= world_size()


class Losses(nn.Module):
    """The losses of a stage as the forward pass of its module, whose gradients processes exchange.

    With several processes, PyTorch's DistributedDataParallel averages gradients in buckets while the backward pass
    goes on. Which parameters a step leaves without gradient may change: a discriminator joins later. Buffers are not
    exchanged: batch norm does not read them in training, and those of rank 0 are saved.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.module = stage.module
        self._stage = stage

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """`Stage.losses`, of which only `total` is differentiated."""
        losses = self._stage.losses(batch, generator)
        return {name: value if name == "total" else value.detach() for name, value in losses.items()}


def parallel(stage: Stage) -> Losses | nn.parallel.DistributedDataParallel:
    """The losses of a stage, (batch, generator) -> named scalars, whose backward pass averages over processes."""
    losses = Losses(stage)
    if world_size() == 1:
        return losses
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of axes of length 1, which have none
    engine = nn.parallel.DistributedDataParallel
    known = inspect.signature(engine.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before PyTorch 2.14
    buffers: dict[str, Any] = {name: False}
    return engine(losses, find_unused_parameters=True, gradient_as_bucket_view=True, **buffers)


def without_exchange(losses: Losses | nn.parallel.DistributedDataParallel) -> AbstractContextManager[Any]:
    """A block in which backward passes only add to this process's gradients: all micro-batches but the last."""
    return nullcontext() if isinstance(losses, Losses) else losses.no_sync()
