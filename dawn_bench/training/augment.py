"""Augmentation on the device, as in the released training; related images share one random draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from dawn_bench.config import Config


class JitterConfig(Config):
    """Half-widths of uniform changes; 0 disables a change. Brightness, contrast and saturation are factors around 1."""

    brightness: float = Field(0.1, ge=0)
    contrast: float = Field(0.1, ge=0)
    saturation: float = Field(0.1, ge=0)
    hue: float = Field(0.1, ge=0, le=0.5)


def jitter(pictures: list[Tensor], config: JitterConfig, generator: torch.Generator) -> list[Tensor]:
    """The same colour change, in the same random order, on every tensor (…,3,S,S) in [0,1]."""
    device = generator.device
    draws = (torch.rand(4, generator=generator, device=device) * 2 - 1).tolist()
    order = torch.randperm(4, generator=generator, device=device).tolist()
    steps: list[tuple[float, Callable[[Tensor], Tensor]]] = [
        (config.brightness, lambda x: F.adjust_brightness(x, 1 + draws[0] * config.brightness)),
        (config.contrast, lambda x: F.adjust_contrast(x, 1 + draws[1] * config.contrast)),
        (config.saturation, lambda x: F.adjust_saturation(x, 1 + draws[2] * config.saturation)),
        (config.hue, lambda x: F.adjust_hue(x, draws[3] * config.hue)),
    ]
    for index in order:
        width, change = steps[index]
        if width > 0:
            pictures = [change(x) for x in pictures]
    return pictures


def flips(source: Tensor, driving: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """With probability ½ swap source and driving; else with probability ½ mirror both images (released code)."""
    swap, mirror = (torch.rand(2, generator=generator, device=generator.device) < 0.5).tolist()
    if swap:
        return driving, source
    return (source.flip(-1), driving.flip(-1)) if mirror else (source, driving)
