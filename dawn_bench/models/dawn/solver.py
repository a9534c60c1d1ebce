"""Samplers: from noise to motion in a few steps of the denoising network. Pure functions of tensors.

`Denoise` maps a noisy sample and its timestep to (predicted clean sample, predicted noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from dawn_bench.models.dawn.schedule import Step

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
    """Lu et al. 2022, "DPM-Solver++", Algorithm 2 (2M): deterministic, second order, one network call a step.

    The first step has no history, and at the last one the clean sample is the answer: both are of first order.
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


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))
