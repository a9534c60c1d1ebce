"""Signal levels ᾱ of a diffusion, the timesteps of a sampler, and noising to a level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Step(NamedTuple):
    """One step of a sampler: call the network at timestep `t`, go from signal level ᾱ `now` to `next` (1: the end)."""

    t: int
    now: float
    next: float


def sampling_steps(alphas_cumprod: Tensor, steps: int, *, off_by_one: bool) -> list[Step]:
    """The steps of a sampler, first to last, for the levels [timesteps] of a schedule.

    Timesteps are evenly spaced and exclude the noisiest, where the predicted noise carries no information on the
    sample: 20 of 1000 start at 952. The released DAWN (`off_by_one`) uses the level of the timestep before each.
    """
    bar = alphas_cumprod.double().cpu().numpy()
    times = np.linspace(0, len(bar), steps + 2)[:-1].astype(int)[::-1]
    levels = np.concatenate(([1.0], bar[:-1])) if off_by_one else bar
    ends = [*levels[times[1:-1]], 1.0]
    return [Step(int(t), float(levels[t]), float(end)) for t, end in zip(times[:-1], ends, strict=True)]


def scaled_linear_levels(timesteps: int, betas: tuple[float, float], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """ᾱ of every timestep, float32 [timesteps]: noise variances whose square roots grow linearly (latent diffusion).

    `betas` are the first and the last variance; products are taken in `dtype`.
    """
    first, last = betas
    variance = torch.linspace(first**0.5, last**0.5, timesteps, dtype=dtype).square()
    return torch.cumprod(1 - variance, dim=0).float()


def add_noise(clean: Tensor, noise: Tensor, level_B: Tensor) -> Tensor:
    """Samples [B, ...] at signal level ᾱ: √ᾱ · clean + √(1 − ᾱ) · noise."""
    level = level_B.view(-1, *(1,) * (clean.dim() - 1))
    return level.sqrt() * clean + (1 - level).sqrt() * noise
