"""I3D, the network of FVD: an inflated Inception over space and time, trained on Kinetics-400.

Source: Carreira and Zisserman 2017; the TF-Hub graph `i3d-kinetics-400/1`, ported to torch by piergiaj/pytorch-i3d:
every convolution and pool has TensorFlow's SAME padding, batch normalisation has eps 0.001 (some copies have 1e-5,
which gives other numbers), the 400 logits before the softmax are averaged over time. Keys are piergiaj's.

Shapes: B batch, C channels, T frames, H, W pixels.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import nn

from dawn_bench.metrics.networks.inference import ConvUnit

Triple = tuple[int, int, int]


def same_padding(size: tuple[int, ...], kernel: Triple, stride: Triple) -> list[int]:
    """TensorFlow's SAME padding of the last three axes, in the order of `F.pad`: last axis first."""
    pads: list[int] = []
    for n, k, s in zip(size[::-1], kernel[::-1], stride[::-1], strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return pads


class Unit(ConvUnit):
    """3D convolution without bias, batch normalisation, ReLU."""

    conv_name = "conv3d"

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1, eps: float) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(c_in, c_out, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(c_out, eps=eps)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,T,H,W) -> float32 (B,C_out,T',H',W'), SAME padding."""
        conv = self.conv3d
        kernel, stride = conv.kernel_size, conv.stride
        if kernel[0] == 1:  # one matrix product over all positions; torch's own 1x1x1 path is slower on CPUs
            weight = conv.weight.reshape(conv.out_channels, conv.in_channels)
            y_BTHWC = F.linear(x_BCTHW.permute(0, 2, 3, 4, 1), weight, conv.bias)
            return F.relu_(self.bn(y_BTHWC.permute(0, 4, 1, 2, 3)))
        pads = same_padding(tuple(x_BCTHW.shape[2:]), kernel, stride)  # type: ignore[arg-type]
        if pads[0::2] == pads[1::2]:  # equal on both sides: the convolution pads by itself, without a copy
            y = F.conv3d(x_BCTHW, conv.weight, conv.bias, stride, (pads[4], pads[2], pads[0]))
        else:
            y = F.conv3d(F.pad(x_BCTHW, pads), conv.weight, conv.bias, stride)
        return F.relu_(self.bn(y))


class MaxPool(nn.Module):
    """Max pool with SAME padding. Inputs follow a ReLU and are not negative, so padding with 0 is exact."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C,T,H,W), not negative -> float32 (B,C,T',H',W')."""
        # Space and time separately: torch's 2D pool is vectorised over channels, its 3D pool is not.
        n, _, t = x_BCTHW.shape[:3]
        left, right, top, bottom, front, back = same_padding(tuple(x_BCTHW.shape[2:]), self.kernel, self.stride)
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        if (left, top) == (right, bottom):
            y_NCHW = F.max_pool2d(x_NCHW, self.kernel[1:], self.stride[1:], padding=(top, left))
        else:
            y_NCHW = F.max_pool2d(F.pad(x_NCHW, (left, right, top, bottom)), self.kernel[1:], self.stride[1:])
        y_BCTHW = y_NCHW.unflatten(0, (n, t)).transpose(1, 2)
        if self.kernel[0] == 1:
            return y_BCTHW
        y_BCTHW = F.pad(y_BCTHW, (0, 0, 0, 0, front, back))
        windows = y_BCTHW.unfold(2, self.kernel[0], self.stride[0])
        return reduce(torch.maximum, windows.unbind(-1))


class InceptionBlock3d(nn.Module):
    """The inception block: 1x1, two 1x1-3x3, pool-1x1, concatenated."""

    def __init__(self, c_in: int, widths: tuple[int, int, int, int, int, int], *, eps: float) -> None:
        super().__init__()
        self.b0 = Unit(c_in, widths[0], eps=eps)
        self.b1a = Unit(c_in, widths[1], eps=eps)
        self.b1b = Unit(widths[1], widths[2], 3, eps=eps)
        self.b2a = Unit(c_in, widths[3], eps=eps)
        self.b2b = Unit(widths[3], widths[4], 3, eps=eps)
        self.b3a = MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(c_in, widths[5], eps=eps)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,C_in,T,H,W) -> float32 (B,C_out,T,H,W)."""
        x = x_BCTHW
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Logits(nn.Module):
    """The 1x1x1 convolution with bias that gives the 400 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, 400, 1)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,1024,T,1,1) -> float32 (B,400,T,1,1)."""
        return self.conv3d(x_BCTHW)


class I3D(nn.Module):
    """Logits of videos of 224 x 224 pixels in [-1, 1], 9 frames or more."""

    MIN_FRAMES = 9

    def __init__(self, *, eps: float = 1e-3) -> None:
        super().__init__()
        half, double = (1, 2, 2), (2, 2, 2)
        layers: list[tuple[str, nn.Module]] = [
            ("Conv3d_1a_7x7", Unit(3, 64, 7, stride=2, eps=eps)),
            ("MaxPool3d_2a_3x3", MaxPool((1, 3, 3), half)),
            ("Conv3d_2b_1x1", Unit(64, 64, eps=eps)),
            ("Conv3d_2c_3x3", Unit(64, 192, 3, eps=eps)),
            ("MaxPool3d_3a_3x3", MaxPool((1, 3, 3), half)),
            ("Mixed_3b", InceptionBlock3d(192, (64, 96, 128, 16, 32, 32), eps=eps)),
            ("Mixed_3c", InceptionBlock3d(256, (128, 128, 192, 32, 96, 64), eps=eps)),
            ("MaxPool3d_4a_3x3", MaxPool((3, 3, 3), double)),
            ("Mixed_4b", InceptionBlock3d(480, (192, 96, 208, 16, 48, 64), eps=eps)),
            ("Mixed_4c", InceptionBlock3d(512, (160, 112, 224, 24, 64, 64), eps=eps)),
            ("Mixed_4d", InceptionBlock3d(512, (128, 128, 256, 24, 64, 64), eps=eps)),
            ("Mixed_4e", InceptionBlock3d(512, (112, 144, 288, 32, 64, 64), eps=eps)),
            ("Mixed_4f", InceptionBlock3d(528, (256, 160, 320, 32, 128, 128), eps=eps)),
            ("MaxPool3d_5a_2x2", MaxPool(double, double)),
            ("Mixed_5b", InceptionBlock3d(832, (256, 160, 320, 32, 128, 128), eps=eps)),
            ("Mixed_5c", InceptionBlock3d(832, (384, 192, 384, 48, 128, 128), eps=eps)),
        ]
        self.names = [name for name, _ in layers]
        for name, layer in layers:
            self.add_module(name, layer)
        self.logits = Logits()

    def pooled(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,3,T,224,224) in [-1, 1] -> (B,1024,T',1,1), before the logits."""
        x = x_BCTHW
        for name in self.names:
            x = self.get_submodule(name)(x)
        return F.avg_pool3d(x, (2, 7, 7), stride=1)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """float32 (B,3,T,224,224) in [-1, 1], T >= 9 -> float32 (B,400), the logits averaged over time."""
        return self.logits(self.pooled(x_BCTHW)).squeeze((3, 4)).mean(dim=2)
