"""LPIPS version 0.1: a perceptual distance between pictures from the stages of a classifier.

Source: Zhang et al. 2018; richzhang/PerceptualSimilarity (the `lpips` package 0.1.4, whose linear weights are read
from the installed package). The backbones are torchvision's, with its keys.

Shapes: B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from dawn_bench.errors import InputError
from dawn_bench.weights import read_state_dict

Net = Literal["alex", "vgg"]

#: Index of the ReLU that ends each stage in torchvision's `features`.
STAGES: dict[Net, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
CHANNELS: dict[Net, tuple[int, ...]] = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


class Lpips(nn.Module):
    """Distance of two batches of pictures. `features` has torchvision's keys, `lins` the weights of each channel."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        from torchvision.models import alexnet, vgg16

        self.stages = STAGES[net]
        whole = alexnet(weights=None) if net == "alex" else vgg16(weights=None)
        self.features = whole.features[: self.stages[-1] + 1]
        self.lins = nn.ParameterList([nn.Parameter(torch.zeros(c), requires_grad=False) for c in CHANNELS[net]])
        # ImageNet's mean and deviation for values in [-1, 1], in the package's rounding
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1), persistent=False)

    def load_lins(self, path: Path) -> None:
        """Fill the channel weights from a file with the package's keys (`lin0.model.1.weight`, ...)."""
        state = read_state_dict(path)
        with torch.no_grad():
            for i, lin in enumerate(self.lins):
                lin.copy_(state[f"lin{i}.model.1.weight"].flatten())

    def forward(self, x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,3,H,W) in [-1, 1] twice -> float32 (B,), 0 for equal pictures."""
        both = (torch.cat([x_BCHW, y_BCHW]) - self.shift) / self.scale
        total = both.new_zeros(len(x_BCHW))
        for i, layer in enumerate(self.features):
            both = layer(both)
            if i in self.stages:
                unit = both / (both.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
                a, b = unit.chunk(2)
                lin = self.lins[self.stages.index(i)]
                total = total + torch.einsum("bchw,c->bhw", (a - b).square(), lin).mean(dim=(1, 2))
        return total


def package_lins(net: Net) -> Path:
    """The file of linear weights inside the installed `lpips` package, found without importing it."""
    spec = find_spec("lpips")
    if spec is None or spec.origin is None:
        raise InputError("LPIPS needs the linear weights of the lpips package.", mend="Install it: pip install lpips")
    return Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
