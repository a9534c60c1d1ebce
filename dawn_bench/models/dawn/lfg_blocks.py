"""Convolution blocks of the latent flow generator (MRAA layout).

Shape letters: B batch, C channels, H height, W width. All tensors are float, channel-first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dawn.fast import winograd


def widths(expansion: int, depth: int, limit: int) -> list[int]:
    """Channels at each of `depth` + 1 resolutions: `expansion * 2**i`, at most `limit`."""
    return [min(limit, expansion * 2**i) for i in range(depth + 1)]


class ConvNorm(nn.Module):
    """Same-size convolution, batch norm, ReLU (`first` of the generator)."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H, W), non-negative."""
        return F.relu(self.norm(self.conv(x_BCHW)))


class Down(ConvNorm):
    """`ConvNorm`, then 2x2 average pooling."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H/2, W/2)."""
        return F.avg_pool2d(super().forward(x_BCHW), 2)


class Up(ConvNorm):
    """Nearest-neighbour upsampling by 2, then `ConvNorm`."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, 2H, 2W)."""
        return super().forward(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class MergedUp(Up):
    """`Up` with 4/9 of the multiplications: kernel taps that read equal neighbours after upsampling are merged.

    Upsampling by 2 and a 3-tap kernel (a, b, c) equal one transposed convolution of stride 2 with taps
    (c, b + c, a + b, a). This is faster where pixels outnumber channels, as in the generator; `Up` is faster on the
    coarse maps of the hourglasses.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, 2H, 2W), the numbers of `Up`."""
        kernel = self.conv.weight.transpose(0, 1)
        for axis in (2, 3):
            first, middle, last = kernel.split(1, dim=axis)
            kernel = torch.cat([last, middle + last, first + middle, first], dim=axis)
        return F.relu(self.norm(F.conv_transpose2d(x_BCHW, kernel, self.conv.bias, stride=2, padding=1)))


class FewOut(nn.Conv2d):
    """A convolution to few output channels, in two steps that use a CPU's vector units better than one.

    A vertical convolution computes separate channels for each kernel column; these are then shifted and summed.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H, W), the numbers of a same-padded `nn.Conv2d`."""
        c_out, c_in, taps, _ = self.weight.shape
        width, reach = x_BCHW.shape[3], taps // 2
        columns = self.weight.permute(3, 0, 1, 2).reshape(taps * c_out, c_in, taps, 1)
        parts = F.conv2d(F.pad(x_BCHW, (reach, reach, reach, reach)), columns).unflatten(1, (taps, c_out))
        shifted = [parts[:, i, :, :, i : i + width] for i in range(taps)]
        assert self.bias is not None
        return torch.stack(shifted).sum(dim=0) + self.bias.view(1, -1, 1, 1)


class ResidualBlock(nn.Module):
    """Pre-activation residual block: twice batch norm, ReLU and 3x3 convolution, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        hidden = _convolve(self.conv1, F.relu(self.norm1(x_BCHW)))
        return x_BCHW + _convolve(self.conv2, F.relu(self.norm2(hidden)))


def _convolve(conv: nn.Conv2d, x_BCHW: Tensor) -> Tensor:
    """Apply `conv`, by the Winograd algorithm where that is faster."""
    if not winograd.supports(conv.weight, x_BCHW.shape[0], (x_BCHW.shape[2], x_BCHW.shape[3])):
        return conv(x_BCHW)
    return winograd.Winograd(conv.weight, conv.bias)(x_BCHW.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)


class HourglassEncoder(nn.Module):
    """`depth` downsampling blocks; returns the input and each level, fine to coarse."""

    def __init__(self, c_in: int, *, expansion: int, depth: int, limit: int) -> None:
        super().__init__()
        sizes = widths(expansion, depth, limit)
        self.down_blocks = nn.ModuleList(Down(c_in if i == 0 else sizes[i], sizes[i + 1]) for i in range(depth))
        self.c_out = sizes[-1]

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """(B, c_in, H, W) -> `depth` + 1 maps; map i has size (H / 2**i, W / 2**i)."""
        levels = [x_BCHW]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """Upsampling blocks with skip connections: the encoder level of the same size is concatenated after each block."""

    def __init__(self, c_in: int, *, expansion: int, depth: int, limit: int) -> None:
        super().__init__()
        sizes = widths(expansion, depth, limit)
        self.up_blocks = nn.ModuleList(
            Up(sizes[i + 1] * (1 if i == depth - 1 else 2), sizes[i]) for i in reversed(range(depth))
        )
        self.c_out = expansion + c_in

    def forward(self, levels: list[Tensor]) -> Tensor:
        """The maps of `HourglassEncoder` -> (B, c_out, H, W)."""
        x_BCHW = levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            x_BCHW = torch.cat([block(x_BCHW), skip], dim=1)
        return x_BCHW


class Hourglass(nn.Module):
    """Encoder and decoder with skip connections; the last `c_in` of the `c_out` output channels are the input."""

    def __init__(self, c_in: int, *, expansion: int, depth: int, limit: int) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(c_in, expansion=expansion, depth=depth, limit=limit)
        self.decoder = HourglassDecoder(c_in, expansion=expansion, depth=depth, limit=limit)
        self.c_out = self.decoder.c_out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H, W); H and W are multiples of 2**depth."""
        return self.decoder(self.encoder(x_BCHW))


class AntiAliasDown(nn.Module):
    """Gaussian blur (zero padding), then subsampling by `factor` from the first pixel on.

    The blur has sigma (factor - 1) / 2 and 2 * round(4 sigma) + 1 taps; published checkpoints contain the kernel as
    the buffer `weight`. `factor` 1 is the identity.
    """

    weight: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        sigma = (factor - 1) / 2
        taps = 2 * round(4 * sigma) + 1
        at = torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2
        line = torch.exp(-(at**2) / (2 * sigma**2)) if factor > 1 else torch.ones(1)
        kernel = line[:, None] * line[None, :]
        self.register_buffer("weight", (kernel / kernel.sum()).expand(channels, 1, taps, taps).clone())
        self.factor = factor

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / factor, W / factor)."""
        if self.factor == 1:
            return x_BCHW
        # A strided convolution computes exactly the pixels that remain after blurring and subsampling.
        padding = self.weight.shape[-1] // 2
        return F.conv2d(x_BCHW, self.weight, stride=self.factor, padding=padding, groups=x_BCHW.shape[1])
