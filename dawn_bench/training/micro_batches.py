"""The number of micro-batches of a step, where the settings leave it open: as few as fit the free memory of a GPU.

The published batch is kept. Of a stage that does not know what it takes, and on the CPU, there is one. A run that goes
on keeps its number where that fits: batch norm and dropout see micro-batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from dawn_bench.progress import console
from dawn_bench.training.memory import free_bytes
from dawn_bench.training.processes import largest, rank, world_size
from dawn_bench.training.shares import largest_part
from dawn_bench.training.stage import KnowsItsMemory, Stage

#: The share of the free memory that a micro-batch may save for its backward pass; the rest is for temporary results.
USABLE = 0.8


def micro_batches(
    stage: Stage,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    device: str,
    before: Mapping[str, int] | None = None,
) -> int:
    """Micro-batches per step and process: those of the settings, else as few as fit. More than one are announced.

    `before` is the division of a run that goes on (`saved_division`), which is kept where the number of processes is
    the same and it fits. Another division is announced.
    """
    number = _chosen(stage, optimizers, device=device, before=before or {})
    division = {"processes": world_size(), "accumulate": number}
    if before and before != division and rank() == 0:
        earlier, now = (f"{d['processes']} x {d['accumulate']}" for d in (before, division))
        console().print(
            f"{stage.name}: processes x micro-batches: {earlier} before, {now} now; batch norm and dropout see other "
            "parts of a batch",
            markup=False,
        )
    return number


def _chosen(
    stage: Stage, optimizers: Sequence[torch.optim.Optimizer], *, device: str, before: Mapping[str, int]
) -> int:
    loop = stage.loop
    if loop.accumulate is not None:
        return loop.accumulate
    kept = before["accumulate"] if before.get("processes") == world_size() else 1
    if not device.startswith("cuda") or not isinstance(stage, KnowsItsMemory):
        return kept
    share = largest_part(loop.batch_size, processes=world_size(), accumulate=1)
    whole, free = stage.saved_bytes(share), free_bytes(device) - _to_come(optimizers)
    if whole is None:
        return kept
    number = largest(fewest(stage, share, free=free))
    if number <= kept:
        return kept
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
