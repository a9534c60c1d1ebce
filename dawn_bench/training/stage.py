"""What the training loop asks of a stage: LFG, A2V-FDM stage 1 and 2, PBNet each answer it in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.registry import Registry

Batch = dict[str, Tensor]


class LoopConfig(Config):
    """How long and how a stage trains; every preset fills one of these for each stage."""

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(4, ge=1, description="items a step, over all processes")
    learning_rate: float = Field(2e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0, description="floor of the cosine schedule")
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="gradient norm is clipped to this")
    accumulate: int = Field(1, ge=1, description="gradient accumulation: micro-batches a step")
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the weights' moving average, saved instead of them"
    )
    amp: bool = Field(False, description="bfloat16 autocast on CUDA")
    log_every: int = Field(10, ge=1)
    save_every: int = Field(200, ge=1)
    workers: int = Field(0, ge=0, description="processes that read batches ahead")


class Stage(Protocol):
    """One thing to train.

    `module` holds everything that is optimised and saved. `batch(step, generator)` must depend on its arguments alone:
    that makes training independent of the number of loader workers, and resuming bit-identical.
    """

    name: str
    module: nn.Module
    config: Any
    loop: LoopConfig

    def batch(self, step: int) -> Batch:
        """The CPU tensors of one step (all micro-batches), drawn from (seed, step) alone."""

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a batch on the device; `total` is what is differentiated."""

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser (PBNet has two); only the first is norm-clipped."""

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint that `dawn_bench.models.dawn.checkpoint` loads."""


#: Stages by command-line name: functions (cache, settings, *, run, seed, device) -> Stage.
StageFactory = Callable[..., Stage]
STAGES: Registry[StageFactory] = Registry("training stage", "dawn_bench.training.stages")


def clip_ids(cache: Cache, split: str = "train") -> list[str]:
    """Ids to train on; a cache without that split trains on everything (and the caller says so)."""
    return cache.ids(split) or cache.ids()
