"""The first stage, a VQGAN (paper, Section 3; Esser et al. 2021): images to quantised latents and back.

Shape letters: B batch, C channels, H height, W width, S image side, h latent side, Z latent channels, K codes.
Images are RGB in [-1, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dit_head.config import VQGANConfig


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(groups, channels // 4), channels, eps=1e-6)


class VQGANResidual(nn.Module):
    """Pre-activation residual block: twice group norm, SiLU and 3x3 convolution, added to the input."""

    def __init__(self, c_in: int, c_out: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(c_in, groups), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out, groups), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B,c_in,H,W) -> (B,c_out,H,W)."""
        hidden = self.conv1(F.silu(self.norm1(x_BCHW)))
        return self.skip(x_BCHW) + self.conv2(F.silu(self.norm2(hidden)))


class VQGANEncoder(nn.Module):
    """Convolutional encoder (B,3,S,S) -> (B,Z,h,h)."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        c_in = widths[0]
        for level, width in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(c_in, c_in, 3, stride=2, padding=1))
            for _ in range(config.blocks):
                layers.append(VQGANResidual(c_in, width, config.groups))
                c_in = width
        layers += [VQGANResidual(c_in, c_in, config.groups), _norm(c_in, config.groups), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(c_in, config.latent_channels, 3, padding=1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images (B,3,S,S) in [-1, 1] -> latents (B,Z,h,h)."""
        return self.layers(x_BCHW)


class VQGANDecoder(nn.Module):
    """Convolutional decoder (B,Z,h,h) -> (B,3,S,S)."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)]
        layers.append(VQGANResidual(widths[0], widths[0], config.groups))
        c_in = widths[0]
        for level, width in enumerate(widths):
            if level:
                layers += [nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(c_in, c_in, 3, padding=1)]
            for _ in range(config.blocks):
                layers.append(VQGANResidual(c_in, width, config.groups))
                c_in = width
        self.layers = nn.Sequential(*layers, _norm(c_in, config.groups), nn.SiLU())
        self.out = nn.Conv2d(c_in, 3, 3, padding=1)

    def forward(self, z_BZhh: Tensor) -> Tensor:
        """Latents (B,Z,h,h) -> images (B,3,S,S)."""
        return self.out(self.layers(z_BZhh))


class Quantised(NamedTuple):
    """Codes (B,Z,h,h) with straight-through gradient, code indices (B,h,h), and the scalar codebook and commitment
    losses."""

    codes_BZhh: Tensor
    index_Bhh: Tensor
    codebook: Tensor
    commitment: Tensor


class Quantiser(nn.Module):
    """Nearest-neighbour quantisation of each latent pixel; codes are initialised from a standard normal [ours]."""

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, channels))

    def forward(self, z_BZhh: Tensor) -> Quantised:
        """Quantise latents (B,Z,h,h)."""
        z_NZ = z_BZhh.permute(0, 2, 3, 1).flatten(0, 2)
        with torch.no_grad():
            index_N = torch.cdist(z_NZ.float(), self.codebook.float()).argmin(dim=1)
        chosen_NZ = self.codebook[index_N]
        codebook_loss, commitment = F.mse_loss(chosen_NZ, z_NZ.detach()), F.mse_loss(z_NZ, chosen_NZ.detach())
        through_NZ = z_NZ + (chosen_NZ - z_NZ).detach()
        batch, _, height, width = z_BZhh.shape
        codes = through_NZ.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return Quantised(codes, index_N.view(batch, height, width), codebook_loss, commitment)


class VQGAN(nn.Module):
    """Encoder, codebook, decoder. The diffusion uses the encoder's output before quantisation, as in LDM."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = VQGANEncoder(config), VQGANDecoder(config)
        self.quantiser = Quantiser(config.codes, config.latent_channels)

    def encode(self, picture_B3SS: Tensor) -> Tensor:
        """Latents (B,Z,h,h) before quantisation; S must be a multiple of `config.factor`."""
        return self.encoder(picture_B3SS)

    def decode(self, z_BZhh: Tensor) -> Tensor:
        """Images (B,3,S,S) from latents, which are quantised first."""
        return self.decoder(self.quantiser(z_BZhh).codes_BZhh)

    def forward(self, picture_B3SS: Tensor) -> tuple[Tensor, Quantised]:
        """The reconstructed images, and the quantiser's output."""
        quantised = self.quantiser(self.encode(picture_B3SS))
        return self.decoder(quantised.codes_BZhh), quantised
