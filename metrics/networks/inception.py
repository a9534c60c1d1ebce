"""The Inception network of FID: InceptionV3 as in TensorFlow's 2015 graph, which differs from torchvision's.

Source: Szegedy et al. 2016 for the architecture; mseitzer/pytorch-fid for the differences that the published number
depends on: no auxiliary head and 1,008 classes; the average pools inside the blocks do not count the zero padding; the
last block, Mixed_7c, has a max pool instead. Keys are those of
`pt_inception-2015-12-05-6726825d.pth` (566 entries; `fc` is loaded and never used).

Shapes: B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from dawn_bench.metrics.networks.inference import ConvUnit

#: Feature widths: after each of the two stem pools, after Mixed_6e, after Mixed_7c.
TAPS = (64, 192, 768, 2048)


class Conv(ConvUnit):
    """Convolution without bias, batch normalisation with eps 0.001, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int], *, stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,H,W) -> float32 (B,C_out,H',W')."""
        return F.relu_(self.bn(self.conv(x_BCHW)))


#: (name, channels out, kernel): one convolution of a branch. A list of them at a branch's end is a fork.
Step = tuple[str, int, tuple[int, int]]
Branch = Sequence[Step | list[Step]]
Pool = Literal["average", "max", "stride"]


class InceptionBlock(nn.Module):
    """Parallel branches over one input, concatenated; `pool` is the kind of pool in the last branch.

    With `stride` the last convolution of each branch and the pool halve the resolution without padding, and no
    convolution follows the pool.
    """

    def __init__(self, c_in: int, branches: Sequence[Branch], *, pool: Pool, c_pool: int = 0) -> None:
        super().__init__()
        self.pool, self.branches = pool, branches
        self.c_out = c_pool or c_in
        for branch in branches:
            c = c_in
            for step in branch:
                fork = step if isinstance(step, list) else [step]
                halve = pool == "stride" and step is branch[-1]
                for name, c_out, kernel in fork:
                    self.add_module(name, Conv(c, c_out, kernel, stride=2 if halve else 1, pad=not halve))
                c = sum(c_out for _, c_out, _ in fork)
            self.c_out += c
        if c_pool:
            self.branch_pool = Conv(c_in, c_pool, (1, 1))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,H,W) -> float32 (B,C_out,H',W')."""
        outputs = []
        for branch in self.branches:
            y = x_BCHW
            for step in branch:
                fork = step if isinstance(step, list) else [step]
                parts = [self.get_submodule(name)(y) for name, _, _ in fork]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            outputs.append(y)
        if self.pool == "stride":
            outputs.append(F.max_pool2d(x_BCHW, 3, stride=2))
        elif self.pool == "max":
            outputs.append(self.branch_pool(F.max_pool2d(x_BCHW, 3, stride=1, padding=1)))
        else:
            pooled = F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)
            outputs.append(self.branch_pool(pooled))
        return torch.cat(outputs, dim=1)


def _mixed_5(c_in: int, c_pool: int) -> InceptionBlock:
    return InceptionBlock(
        c_in,
        [
            [("branch1x1", 64, (1, 1))],
            [("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))],
            [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
        ],
        pool="average",
        c_pool=c_pool,
    )


def _mixed_6(c_in: int, c: int) -> InceptionBlock:
    row, column = (1, 7), (7, 1)
    return InceptionBlock(
        c_in,
        [
            [("branch1x1", 192, (1, 1))],
            [("branch7x7_1", c, (1, 1)), ("branch7x7_2", c, row), ("branch7x7_3", 192, column)],
            [
                ("branch7x7dbl_1", c, (1, 1)),
                ("branch7x7dbl_2", c, column),
                ("branch7x7dbl_3", c, row),
                ("branch7x7dbl_4", c, column),
                ("branch7x7dbl_5", 192, row),
            ],
        ],
        pool="average",
        c_pool=192,
    )


def _mixed_7(c_in: int, pool: Pool) -> InceptionBlock:
    row, column = (1, 3), (3, 1)
    return InceptionBlock(
        c_in,
        [
            [("branch1x1", 320, (1, 1))],
            [("branch3x3_1", 384, (1, 1)), [("branch3x3_2a", 384, row), ("branch3x3_2b", 384, column)]],
            [
                ("branch3x3dbl_1", 448, (1, 1)),
                ("branch3x3dbl_2", 384, (3, 3)),
                [("branch3x3dbl_3a", 384, row), ("branch3x3dbl_3b", 384, column)],
            ],
        ],
        pool=pool,
        c_pool=192,
    )


class FidInception(nn.Module):
    """Features of pictures of 299 x 299 pixels in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, (3, 3), stride=2, pad=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, (3, 3), pad=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Conv(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Conv(80, 192, (3, 3), pad=False)
        self.Mixed_5b = _mixed_5(192, 32)
        self.Mixed_5c = _mixed_5(256, 64)
        self.Mixed_5d = _mixed_5(288, 64)
        self.Mixed_6a = InceptionBlock(
            288,
            [
                [("branch3x3", 384, (3, 3))],
                [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
            ],
            pool="stride",
        )
        self.Mixed_6b = _mixed_6(768, 128)
        self.Mixed_6c = _mixed_6(768, 160)
        self.Mixed_6d = _mixed_6(768, 160)
        self.Mixed_6e = _mixed_6(768, 192)
        self.Mixed_7a = InceptionBlock(
            768,
            [
                [("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3))],
                [
                    ("branch7x7x3_1", 192, (1, 1)),
                    ("branch7x7x3_2", 192, (1, 7)),
                    ("branch7x7x3_3", 192, (7, 1)),
                    ("branch7x7x3_4", 192, (3, 3)),
                ],
            ],
            pool="stride",
        )
        self.Mixed_7b = _mixed_7(1280, "average")
        self.Mixed_7c = _mixed_7(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x_BCHW: torch.Tensor, *, tap: int = 2048) -> torch.Tensor:
        """float32 (B,3,299,299) in [-1, 1] -> float32 (B, tap): spatial mean after the stage with `tap` channels."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x_BCHW)))
        x = F.max_pool2d(x, 3, stride=2)
        if tap == 64:
            return x.mean(dim=(2, 3))
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)
        if tap == 192:
            return x.mean(dim=(2, 3))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        if tap == 768:
            return x.mean(dim=(2, 3))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))
