"""The diffusion around the transformer: its training target, and sampling by DDIM.

Shape letters: B frames (each one sample), Z latent channels, h latent side, W audio window, A audio features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dawn_bench.models.diffusion.levels import sampling_steps
from dawn_bench.models.diffusion.solvers import ddim
from dawn_bench.models.dit_head.config import DiTConfig

#: The network as the sampler sees it: (noisy latents, timesteps (B,)) -> prediction.
Predict = Callable[[Tensor, Tensor], Tensor]


def target(z_BZhh: Tensor, noise_BZhh: Tensor, level_B: Tensor, prediction: str) -> Tensor:
    """The training target: the noise, or the velocity."""
    level = level_B.view(-1, 1, 1, 1)
    return noise_BZhh if prediction == "noise" else level.sqrt() * noise_BZhh - (1 - level).sqrt() * z_BZhh


def clean_and_noise(x: Tensor, predicted: Tensor, level: float, prediction: str) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise that a prediction implies at one signal level."""
    signal, spread = level**0.5, (1 - level) ** 0.5
    if prediction == "velocity":
        return signal * x - spread * predicted, spread * x + signal * predicted
    return (x - spread * predicted) / signal, predicted


def sample(
    predict: Predict, x_BZhh: Tensor, levels: Tensor, config: DiTConfig, *, steps: int, eta: float, seed: int
) -> Tensor:
    """Clean latents from noise `x_BZhh` in `steps` steps; `eta` 0 is deterministic (Song et al. 2020)."""
    generator = torch.Generator(device=x_BZhh.device).manual_seed(seed)

    def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x),), t, device=x.device)
        return clean_and_noise(x, predict(x, times), float(levels[t]), config.prediction)

    def fresh(_: int) -> Tensor:  # all frames share their noise, so that they differ only by the audio
        frame = torch.randn(x_BZhh.shape[1:], generator=generator, device=x_BZhh.device)
        return frame.expand_as(x_BZhh)

    return ddim(denoise, x_BZhh, sampling_steps(levels, steps, off_by_one=False), eta=eta, noise=fresh)
