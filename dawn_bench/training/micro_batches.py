"""The number of micro-batches of a step, where the settings leave it open: as few as fit the free memory of a GPU.

The published batch is kept. Of a stage that does not know what it takes, and on the CPU, there is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dawn_bench.progress import console
from dawn_bench.training.memory import free_bytes
from dawn_bench.training.processes import largest, rank, world_size
from dawn_bench.training.shares import largest_part
from dawn_bench.training.stage import KnowsItsMemory, Stage

#: The share of the free memory that a micro-batch may save for its backward pass; the rest is for temporary results.
USABLE = 0.8


def micro_batches(stage: Stage, optimizers: Sequence[torch.optim.Optimizer], *, device: str) -> int:
    """Micro-batches per step and process: those of the settings, else as few as fit. More than one are announced."""
    loop = stage.loop
    if loop.accumulate is not None:
        return loop.accumulate
    if not device.startswith("cuda") or not isinstance(stage, KnowsItsMemory):
        return 1
    share = largest_part(loop.batch_size, processes=world_size(), accumulate=1)
    whole, free = stage.saved_bytes(share), free_bytes(device) - _to_come(optimizers)
    if whole is None:
        return 1
    number = largest(fewest(stage, share, free=free))
    if number > 1 and rank() == 0:
        rows = largest_part(loop.batch_size, processes=world_size(), accumulate=number)
        console().print(
            f"{stage.name}: {number} micro-batches of up to {rows} items a step on {device}: a batch of {share} saves "
            f"{whole / 2**30:.1f} GiB for the backward pass, and {max(free, 0) / 2**30:.1f} GiB are free",
            markup=False,
        )
    return number


def fewest(stage: KnowsItsMemory, share: int, *, free: float) -> int:
    """The smallest number of parts of `share` rows that fit `USABLE` of the free bytes; single rows if none does."""

    def fits(number: int) -> bool:
        saved = stage.saved_bytes(math.ceil(share / number))
        return saved is None or saved <= USABLE * free

    return next((number for number in range(1, share) if fits(number)), share)


def _to_come(optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Bytes that the first step adds: gradients, and AdamW's two moments where they are not restored."""
    total = 0
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.requires_grad):
            total += parameter.nbytes * (1 if optimizer.state.get(parameter) else 3)
    return total
