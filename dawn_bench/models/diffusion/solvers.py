"""Samplers: from noise to a sample in a few steps of the denoising network. Pure functions of tensors.

`Denoise` maps a noisy sample and its timestep to (predicted clean sample, predicted noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from dawn_bench.models.diffusion.levels import Step

Denoise = Callable[[Tensor, int], tuple[Tensor, Tensor]]
SolverName = Literal["ddim", "dpm2m"]


def ddim(denoise: Denoise, x: Tensor, steps: Sequence[Step], *, eta: float, noise: Callable[[int], Tensor]) -> Tensor:
    """Song et al. 2020, "Denoising Diffusion Implicit Models", Eq. 12 and 16.

    `x` is the initial noise; `eta` 0 is deterministic, 1 has the ancestral sampler's variance; `noise(i)` gives the
    fresh noise after step i = 1, 2, ... (never after the last).
    """
    for i, (t, now, to) in enumerate(steps, start=1):
        x0, eps = denoise(x, t)
        sigma = eta * math.sqrt((1 - now / to) * (1 - to) / (1 - now)) if now < 1 else 0.0
        x = math.sqrt(to) * x0 + math.sqrt(max(1 - to - sigma**2, 0.0)) * eps
        if i < len(steps) and sigma > 0:
            x = x + sigma * noise(i)
    return x


def dpm_solver_2m(denoise: Denoise, x: Tensor, steps: Sequence[Step]) -> Tensor:
    """Lu et al. 2022, "DPM-Solver++", Algorithm 2 (2M): deterministic, second order, one network call per step.

    The first step has no history and the last step returns the clean sample: both are first order.
    """
    x0_before, h_before = None, 0.0
    for t, now, to in steps:
        x0, _ = denoise(x, t)
        if to >= 1:
            return x0
        h = _half_log_snr(to) - _half_log_snr(now)
        direction = x0
        if x0_before is not None:
            ratio = h_before / h
            direction = x0 + (x0 - x0_before) / (2 * ratio)
        x = math.sqrt((1 - to) / (1 - now)) * x - math.sqrt(to) * math.expm1(-h) * direction
        x0_before, h_before = x0, h
    return x


def with_fixed_frames(denoise: Denoise, frames: Tensor, z_B3nHW: Tensor, steps: Sequence[Step]) -> Denoise:
    """`denoise` with known clean motion of some `frames` [n]: the sampler ends with exactly that motion there.

    Their noise is the remainder of the noisy sample. They therefore stay at the noise level of every step, and the
    network sees them together with the sampled frames.
    """
    levels = {step.t: step.now for step in steps}

    def known(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0, eps = (prediction.clone() for prediction in denoise(x, t))
        now = levels[t]
        x0[:, :, frames] = z_B3nHW
        eps[:, :, frames] = (x[:, :, frames] - math.sqrt(now) * z_B3nHW) / math.sqrt(1 - now)
        return x0, eps

    return known


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))
