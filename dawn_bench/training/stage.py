"""The contract between the training loop and a stage, and the settings of the loop. A model has one file per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from dawn_bench.config import Config

Batch = dict[str, Tensor]
Decay = Annotated[float, Field(ge=0, lt=1)]


class LoopConfig(Config):
    """How long and how a stage trains; every preset fills one of these for each stage."""

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(4, ge=1, description="items a step, over all processes")
    learning_rate: float = Field(2e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0, description="floor of the cosine schedule")
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="gradient norm is clipped to this")
    accumulate: int = Field(1, ge=1, description="gradient accumulation: micro-batches a step")
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the weights' moving average, saved instead of them"
    )
    amp: bool = Field(False, description="bfloat16 autocast, on the CPU and on CUDA")
    log_every: int = Field(10, ge=1)
    save_every: int = Field(200, ge=1)
    validate_every: int | None = Field(
        None, ge=1, description="steps between looks at held-out clips (and at the end); None: never"
    )
    validation_clips: int = Field(2, ge=1, description="how many held-out clips are looked at")
    workers: int = Field(0, ge=0, description="processes that read batches ahead")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulate {self.accumulate}")
        return self


class Stage(Protocol):
    """One thing to train.

    `module` holds everything that is optimised and saved. `batch(step)` must depend on (seed, step) alone: that makes
    training independent of the number of loader workers, and resuming bit-identical. A batch is cut along its first
    axis among processes and micro-batches, so whatever differs between items (noise, timesteps) is drawn there.
    """

    name: str
    module: nn.Module
    config: Any
    loop: LoopConfig
    ids: list[str]

    def batch(self, step: int) -> Batch:
        """The CPU tensors of one step, all with `batch_size` rows; `clip` (B,) counts in `ids`."""

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch on the device; `total` is what is differentiated.

        `generator` starts alike for every part of a step: it is for draws that hold for the whole batch (colours).
        """

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser (PBNet has two); only the first is norm-clipped."""

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint that `dawn_bench.models.checkpoint` loads."""
