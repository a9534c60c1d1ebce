"""Blocks of the A2V-FDM's 3D U-Net, with the names of the published state dict.

Shape suffixes: B batch, F frames, C channels, H, W latent size, E time embedding, K width of a condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.attention import ChannelLayerNorm, CrossAttention

#: Conditions of a clip: audio, pose and eyes, each [B, F, K].
Conditions = tuple[Tensor, Tensor, Tensor]


def spatial_conv(in_dim: int, out_dim: int, size: int, *, stride: int = 1, padding: int = 0) -> nn.Conv3d:
    """A size x size convolution within each frame, with channels-last weights, which are faster on CPUs."""
    conv = nn.Conv3d(in_dim, out_dim, (1, size, size), (1, stride, stride), (0, padding, padding))
    return conv.to(memory_format=torch.channels_last_3d)


def downsample(dim: int) -> nn.Conv3d:
    """Strided convolution that halves the resolution."""
    return spatial_conv(dim, dim, 4, stride=2, padding=1)


def upsample(dim: int) -> nn.ConvTranspose3d:
    """Transposed convolution that doubles the resolution."""
    conv = nn.ConvTranspose3d(dim, dim, (1, 4, 4), (1, 2, 2), (0, 1, 1))
    return conv.to(memory_format=torch.channels_last_3d)


class PreNorm(nn.Module):
    """fn(norm(x))."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """fn(norm(x), *more) for x_BCFHW."""
        return self.fn(self.norm(x), *more)


class Residual(nn.Module):
    """x + fn(norm(x)), for x_BCFHW."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = PreNorm(dim, fn)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """x + fn(norm(x), *more) for x_BCFHW."""
        return x + self.fn(x, *more)


class SinusoidalEmbedding(nn.Module):
    """Sinusoidal timestep embedding [B] -> [B, dim]: sines, then cosines."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t_B: Tensor) -> Tensor:
        """Timesteps [B] -> [B, dim]."""
        half = self.dim // 2
        frequency = torch.exp(torch.arange(half, device=t_B.device) * (-math.log(10_000) / (half - 1)))
        angle = t_B[:, None] * frequency
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class NormedConv(nn.Module):
    """3x3 convolution, group norm with statistics over all frames and pixels, scale and shift, SiLU."""

    def __init__(self, in_dim: int, out_dim: int, groups: int) -> None:
        super().__init__()
        self.proj = spatial_conv(in_dim, out_dim, 3, padding=1)
        self.norm = nn.GroupNorm(groups, out_dim)
        self.act = nn.SiLU()

    def forward(self, x_BCFHW: Tensor, scale_shift: Sequence[Tensor] | None = None) -> Tensor:
        """x_BCFHW -> [B, out_dim, F, H, W]; `scale_shift` are two [B, out_dim, 1, 1, 1]."""
        x = self.norm(self.proj(x_BCFHW))
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return self.act(x)


class ConditionedBlock(nn.Module):
    """Residual block of two normed convolutions; timestep and cross-attention to the conditions modulate the first.

    Without `conditioned` (the two output heads) the cross-attentions exist only because the published files contain
    them; they are unused and never trained.
    """

    def __init__(self, in_dim: int, out_dim: int, config: A2VConfig, *, conditioned: bool = True) -> None:
        super().__init__()
        width = 2 * out_dim
        self.time_mlp: nn.Module | None = None
        if conditioned:
            self.time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.dim, width))
            self.audio_mlp = _condition_mlp(config.audio_dim, width, config)
            self.pose_mlp = _condition_mlp(config.pose_dim, width, config)
            self.eye_mlp = _condition_mlp(config.eye_dim, width, config)

        def cross_attention() -> CrossAttention:
            return CrossAttention(
                in_dim, context_dim=width, out_dim=out_dim, heads=config.cross_heads, head_dim=config.cross_head_dim
            ).requires_grad_(conditioned)

        self.cross_attn_aud = cross_attention()
        self.cross_attn_pose = cross_attention()
        self.cross_attn_eye = cross_attention()
        self.block1 = NormedConv(in_dim, out_dim, config.norm_groups)
        self.block2 = NormedConv(out_dim, out_dim, config.norm_groups)
        self.res_conv = spatial_conv(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()

    def contexts(self, conditions: Conditions) -> list[tuple[CrossAttention, Tensor]]:
        """Each cross-attention with its context vectors [B, F, K]."""
        audio, pose, eye = conditions
        return [
            (self.cross_attn_aud, self.audio_mlp(audio)),
            (self.cross_attn_pose, self.pose_mlp(pose)),
            (self.cross_attn_eye, self.eye_mlp(eye)),
        ]

    def forward(self, x_BCFHW: Tensor, time_BE: Tensor | None = None, conditions: Conditions | None = None) -> Tensor:
        """x_BCFHW -> [B, out_dim, F, H, W]; the two output heads take neither time nor conditions."""
        if self.time_mlp is None or conditions is None:
            h = self.block1(x_BCFHW)
        else:
            h = self.block1(x_BCFHW, self.time_mlp(time_BE)[..., None, None, None].chunk(2, dim=1))
            for attention, context_BFK in self.contexts(conditions):
                h = h + attention(x_BCFHW, context_BFK)
        return self.block2(h) + self.res_conv(x_BCFHW)


def _condition_mlp(in_dim: int, out_dim: int, config: A2VConfig) -> nn.Sequential:
    return nn.Sequential(nn.SiLU() if config.silu_on_conditions else nn.Identity(), nn.Linear(in_dim, out_dim))
