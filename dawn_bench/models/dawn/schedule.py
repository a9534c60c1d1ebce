"""The cosine noise schedule of the A2V-FDM (paper Eq. 1)."""

from __future__ import annotations

import math

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
