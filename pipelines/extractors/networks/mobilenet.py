"""MobileNet v1 (Howard et al. 2017) as used by 3DDFA_V2: 120×120 images in, 62 face parameters out.

Module names match the keys of the published checkpoints. B images, C channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

#: By depthwise block: name, input and output channels at width 1, stride.
_BLOCKS = (
    ("dw2_1", 32, 64, 1), ("dw2_2", 64, 128, 2),
    ("dw3_1", 128, 128, 1), ("dw3_2", 128, 256, 2),
    ("dw4_1", 256, 256, 1), ("dw4_2", 256, 512, 2),
    *((f"dw5_{i}", 512, 512, 1) for i in range(1, 6)), ("dw5_6", 512, 1024, 2),
    ("dw6", 1024, 1024, 1),
)  # fmt: skip


class MobileNet(nn.Module):
    """MobileNet v1. `width` scales all channel counts: 1 for the files `mb1_*`, 0.5 for `mb05_*`."""

    def __init__(self, *, width: float = 1.0, outputs: int = 62) -> None:
        super().__init__()

        def wide(channels: int) -> int:
            return int(channels * width)

        self.conv1 = nn.Conv2d(3, wide(32), 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide(32))
        for name, before, after, stride in _BLOCKS:
            self.add_module(name, _Depthwise(wide(before), wide(after), stride=stride))
        self.fc = nn.Linear(wide(1024), outputs)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Parameters (B, outputs) from images (B,3,120,120)."""
        h_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        for name, *_ in _BLOCKS:
            h_BCHW = self.get_submodule(name)(h_BCHW)
        return self.fc(h_BCHW.mean(dim=(2, 3)))


class _Depthwise(nn.Module):
    """A 3×3 convolution of each channel, then a 1×1 convolution across them."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before, bias=False)
        self.bn_dw = nn.BatchNorm2d(before)
        self.conv_sep = nn.Conv2d(before, after, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(after)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        h_BCHW = F.relu(self.bn_dw(self.conv_dw(x_BCHW)))
        return F.relu(self.bn_sep(self.conv_sep(h_BCHW)))
