"""The noise schedule of the A2V-FDM and the timesteps at which samplers visit it (paper Eq. 1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Offset of the cosine schedule (Nichol & Dhariwal 2021, Eq. 17) and the largest noise variance of one step.
COSINE_OFFSET, LARGEST_BETA = 0.008, 0.9999


def cosine_schedule(timesteps: int) -> dict[str, Tensor]:
    """The buffers of the diffusion by their published names, float32 [timesteps], computed in float64."""
    position = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64) / timesteps
    signal = torch.cos((position + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    betas = (1 - signal[1:] / signal[:-1]).clamp(0, LARGEST_BETA)
    alphas = 1 - betas
    bar = torch.cumprod(alphas, dim=0)  # ᾱ_t of Eq. 1
    before = torch.cat((torch.ones(1, dtype=torch.float64), bar[:-1]))
    variance = betas * (1 - before) / (1 - bar)
    buffers = {
        "betas": betas,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": bar.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - bar).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - bar).log(),
        "sqrt_recip_alphas_cumprod": (1 / bar).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / bar - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - bar),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - bar),
    }
    return {name: value.float() for name, value in buffers.items()}


class Step(NamedTuple):
    """One step of a sampler: ask the network at timestep `t`, go from signal level ᾱ `now` to `next` (1: the end)."""

    t: int
    now: float
    next: float


def sampling_steps(alphas_cumprod: Tensor, steps: int, *, off_by_one: bool) -> list[Step]:
    """The steps of a sampler, first to last.

    Timesteps are evenly spaced and leave out the noisiest, where a predicted noise tells nothing about the motion: 952
    is the first of 20 of 1000. The released code (`off_by_one`) takes the levels of the timestep before each.
    """
    bar = alphas_cumprod.double().cpu().numpy()
    times = np.linspace(0, len(bar), steps + 2)[:-1].astype(int)[::-1]
    levels = np.concatenate(([1.0], bar[:-1])) if off_by_one else bar
    ends = [*levels[times[1:-1]], 1.0]
    return [Step(int(t), float(levels[t]), float(end)) for t, end in zip(times[:-1], ends, strict=True)]
