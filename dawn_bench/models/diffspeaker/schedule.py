"""The noise schedule of DiffSpeaker and its two samplers.

`official011` is the sampler of the released weights: DDIM in diffusers 0.11, which for a network that predicts x0 also
uses x0 as the noise direction. The noise is never re-estimated, and the last step scales the result by 1.0287.
`textbook` is DDIM as published (Song et al. 2021, Eq. 12 with eta 0): the noise direction is derived from x and x0, as
in later versions of diffusers. Released weights give badly wrong meshes with it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dawn_bench.models.diffspeaker.config import Sampler
from dawn_bench.models.diffusion import levels

TIMESTEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012


def alphas_cumprod() -> Tensor:
    """float32 (1000,): products of 1 - β, with √β linear from √0.00085 to √0.012."""
    return levels.scaled_linear_levels(TIMESTEPS, (BETA_START, BETA_END), dtype=torch.float32)


def add_noise(x0_BTV: Tensor, noise_BTV: Tensor, step_B: Tensor) -> Tensor:
    """`x0_BTV` noised to the timesteps `step_B` (int64)."""
    return levels.add_noise(x0_BTV, noise_BTV, alphas_cumprod().to(x0_BTV.device)[step_B])


def timesteps(steps: int) -> list[int]:
    """Evenly spaced, from high to low, the lowest 1: 981, 961, …, 1 for 50 steps."""
    stride = TIMESTEPS // steps
    return [min(k * stride + 1, TIMESTEPS - 1) for k in reversed(range(steps))]


def ddim_step(x: Tensor, x0: Tensor, *, step: int, steps: int, sampler: Sampler) -> Tensor:
    """From x at `step` and the predicted x0 to x at the next lower step, at least 0."""
    alphas = alphas_cumprod()
    before = step - TIMESTEPS // steps
    alpha, alpha_before = alphas[step].item(), alphas[max(before, 0)].item()
    direction = x0 if sampler == "official011" else (x - alpha**0.5 * x0) / (1 - alpha) ** 0.5
    return alpha_before**0.5 * x0 + (1 - alpha_before) ** 0.5 * direction


def sample(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, steps: int, sampler: Sampler) -> Tensor:
    """Denoise `noise` (B,...) with `predict(x, step_B) -> x0`."""
    x = noise
    for step in timesteps(steps):
        step_B = torch.full((len(x),), step, dtype=torch.long, device=x.device)
        x = ddim_step(x, predict(x, step_B), step=step, steps=steps, sampler=sampler)
    return x
