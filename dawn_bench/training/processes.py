"""The processes that train together: who this one is, and what they do at once. Plain data parallelism."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def rank() -> int:
    """This process's number among those that train together; 0 when there is one."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def distributed(device: str) -> Iterator[str]:
    """Join the processes that `torchrun` started (gloo on the CPU, nccl on CUDA); yields this process's device."""
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


def together() -> None:
    """Wait for the other processes."""
    if world_size() > 1:
        torch.distributed.barrier()


def average(values: dict[str, Tensor]) -> None:
    """Mean over processes, in place."""
    if world_size() > 1:
        for value in values.values():
            torch.distributed.all_reduce(value)
            value /= world_size()


def average_gradients(module: nn.Module) -> None:
    """Mean of the gradients over processes: plain data parallelism for models that fit one device many times over."""
    if world_size() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
