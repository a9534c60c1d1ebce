"""EfficientNet-Lite0: a small classifier of pictures, whose pooled features are the suite's own picture features.

Source: Tan and Le 2019 (table 1) for the stages; Google's Lite variants, made for phones, for what differs: no
squeeze-and-excitation, ReLU6 instead of Swish, a stem and a head of fixed width. TensorFlow's padding: where a stride
of 2 leaves an odd number of pixels to pad, the right and the lower side get the greater part.

The published keys (`_blocks.3._bn1.weight`, ...) are renamed by `own_keys`. Shapes: B batch, C channels, H, W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from dawn_bench.metrics.networks.inference import ConvUnit

#: Width of the pooled features, and number of ImageNet's classes.
FEATURES, CLASSES = 1280, 1000
#: Stages: blocks, channels out, kernel, stride of the first block, expansion of the channels inside a block.
STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
STEM = 32


class Conv(ConvUnit):
    """Convolution without bias, batch normalisation with eps 0.001, ReLU6 unless `linear`."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        total = kernel - stride
        self.uneven = (total // 2, total - total // 2) * 2 if total % 2 else ()
        padding = 0 if self.uneven else total // 2
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)
        self.linear = linear

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,H,W) -> float32 (B,C_out,H',W'); H and W are even where the stride is 2."""
        x = self.bn(self.conv(F.pad(x_BCHW, self.uneven) if self.uneven else x_BCHW))
        return x if self.linear else F.relu6(x, inplace=True)


class Block(nn.Module):
    """Inverted bottleneck: expand the channels, filter each of them, project; added to its input where shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        c = c_in * expansion
        self.expand = Conv(c_in, c, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Conv(c, c, kernel, stride=stride, groups=c)
        self.project = Conv(c, c_out, 1, linear=True)
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,H,W) -> float32 (B,C_out,H',W')."""
        y = self.project(self.depthwise(self.expand(x_BCHW)))
        return y + x_BCHW if self.adds else y


class EfficientNetLite0(nn.Module):
    """Features and classes of pictures in [-1, 1], trained on 224 x 224 pixels; the sides are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, stride=2)
        blocks, c = [], STEM
        for count, c_out, kernel, stride, expansion in STAGES:
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(Block(c, c_out, kernel, stride=first, expansion=expansion))
                c = c_out
        self.blocks = nn.Sequential(*blocks)
        self.head = Conv(c, FEATURES, 1)
        self.classes = nn.Linear(FEATURES, CLASSES)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,3,H,W) in [-1, 1] -> float32 (B,1280): the spatial mean behind the last convolution."""
        return self.head(self.blocks(self.stem(x_BCHW))).mean(dim=(2, 3))

    def scores(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,3,H,W) in [-1, 1] -> float32 (B,1000): the scores of ImageNet's classes, before the softmax."""
        return self.classes(self(x_BCHW))


#: Published names of a convolution and its normalisation: in a block, and outside.
_IN_BLOCK = {"expand_conv": "expand", "bn0": "expand", "depthwise_conv": "depthwise", "bn1": "depthwise",
             "project_conv": "project", "bn2": "project"}  # fmt: skip
_OUTSIDE = {"conv_stem": "stem", "bn0": "stem", "conv_head": "head", "bn1": "head"}


def own_keys(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published state dict under the keys of `EfficientNetLite0`; other keys stay as they are."""
    return {_own_key(key): tensor for key, tensor in published.items()}


def _own_key(key: str) -> str:
    parts = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+)\.(\w+)", key)
    if parts is None:
        return key
    block, layer, tensor = parts.groups()
    if layer == "fc" and block is None:
        return f"classes.{tensor}"
    unit = (_OUTSIDE if block is None else _IN_BLOCK).get(layer)
    if unit is None:
        return key
    kind = "bn" if layer.startswith("bn") else "conv"
    return ".".join([*([f"blocks.{block}"] if block is not None else []), unit, kind, tensor])
