"""Data parallelism over processes: rank, world size, synchronisation and averaging."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def rank() -> int:
    """Rank of this process; 0 without `torchrun`."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes; 1 without `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def distributed(device: str) -> Iterator[str]:
    """Initialise the process group of `torchrun` (gloo on the CPU, nccl on CUDA); yields the device of this process."""
    if world_size() == 1:
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


def barrier() -> None:
    """Wait until all processes get here."""
    if world_size() > 1:
        torch.distributed.barrier()


def average(values: dict[str, Tensor]) -> None:
    """Average values over processes, in place."""
    if world_size() > 1:
        for value in values.values():
            torch.distributed.all_reduce(value)
            value /= world_size()


def average_gradients(module: nn.Module) -> None:
    """Average gradients over processes, in place: data parallelism in which every process holds the whole model."""
    if world_size() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
