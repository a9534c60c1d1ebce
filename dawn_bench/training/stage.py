"""The interface of a training stage, and the settings of the loop. A model has one file per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol, Self, runtime_checkable

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from dawn_bench.config import Config

Batch = dict[str, Tensor]
Decay = Annotated[float, Field(ge=0, lt=1)]


class LoopConfig(Config):
    """Settings of the training loop; every preset has these for each stage."""

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(4, ge=1, description="items per step, over all processes")
    learning_rate: float = Field(2e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0, description="floor of the cosine schedule")
    decay_steps: int | None = Field(
        None, ge=1, description="steps at which the cosine reaches its floor, where the rate then stays; None: `steps`"
    )
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="maximum gradient norm")
    accumulate: int | None = Field(
        None,
        ge=1,
        description="micro-batches per step and process; None: one, on CUDA as many as the free memory asks for",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of the moving average of the weights, which is saved instead of the weights",
    )
    amp: bool = Field(False, description="bfloat16 autocast, on the CPU and on CUDA")
    tf32: bool = Field(False, description="round products of float32 to TF32 on CUDA: faster, eleven bits")
    log_every: int = Field(10, ge=1)
    save_every: int = Field(200, ge=1)
    validate_every: int | None = Field(
        None, ge=1, description="validate on held-out clips every so many steps and at the end; None: never"
    )
    validation_clips: int = Field(2, ge=1, description="number of held-out clips for validation")
    workers: int = Field(0, ge=0, description="processes that prefetch batches")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.accumulate is not None and self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        if self.decay_steps is not None and self.decay_steps < self.warmup:
            raise ValueError(f"decay_steps {self.decay_steps} is within the warmup of {self.warmup} steps")
        return self


class Stage(Protocol):
    """One training stage.

    `module` holds everything that is optimised and saved. `batch(step)` must depend only on (seed, step): this makes
    training independent of the number of loader workers, and resuming bit-identical. A batch is split along its first
    axis among processes and micro-batches, so random values that differ between items (noise, timesteps) belong to it.
    A loss that is a mean over items is then exactly that of the whole batch, however uneven the parts are; one that is
    a mean over a mask is, where the stage also is a `dawn_bench.training.masked_means.HasMaskedMeans`.

    A stage may have an `origin`, a mapping of texts: what its losses depend on besides its settings, such as the
    weights of a frozen network. A run is not resumed with another.
    """

    name: str
    module: nn.Module
    config: Any
    loop: LoopConfig
    ids: list[str]

    def batch(self, step: int) -> Batch:
        """The CPU tensors of one step, all with `batch_size` rows; `clip` (B,) are indices in `ids`."""

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a micro-batch on the device; `total` is differentiated.

        `generator` has the same state for every micro-batch of a step: it is for draws shared by the batch (colours).
        """

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser (PBNet has two); only the first is norm-clipped."""

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint that `dawn_bench.models.checkpoint` loads."""


@runtime_checkable
class KnowsItsMemory(Protocol):
    """A stage that knows what a micro-batch of it takes, so that the loop can fit micro-batches to a GPU."""

    def saved_bytes(self, batch: int) -> int | None:
        """Bytes that `losses` saves for the backward pass of `batch` rows, the longest there are; None: unknown."""
        ...
