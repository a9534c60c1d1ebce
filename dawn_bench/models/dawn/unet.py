"""The 3D U-Net that denoises motion (paper section 3.3, following Ho et al. 2022b).

Shape suffixes: B batch, F frames (queries), J frames (keys), C channels, H, W latent size, N heads, D condition width,
M face-mask channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dawn_bench.models.dawn import fused
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.attention import (
    RelativePositionBias,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
)
from dawn_bench.models.dawn.unet_blocks import (
    ConditionedBlock,
    Residual,
    SinusoidalEmbedding,
    downsample,
    spatial_conv,
    upsample,
)

FLOW_CHANNELS, OCCLUSION_CHANNELS = 2, 1
MOTION_CHANNELS = FLOW_CHANNELS + OCCLUSION_CHANNELS


class UNet3D(nn.Module):
    """Predicts the noise in a noisy motion clip from source features and per-frame conditions.

    All convolutions act within a frame. Frames interact in the temporal attention and in the group norms, whose
    statistics span the whole clip. This is the reference form; `fused.unet` trains on a GPU, and everywhere with
    `fused`, and `fast.unet.FastUNet` is used at inference. With `recompute` the backward pass computes the inside of
    blocks again.
    """

    def __init__(self, config: A2VConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = self.fused = False
        dim = config.dim
        widths = [dim, *(dim * mult for mult in config.dim_mults)]
        levels = list(pairwise(widths))
        attention = {"heads": config.heads, "head_dim": config.head_dim}

        self.time_rel_pos_bias = RelativePositionBias(config.heads)
        self.init_conv = spatial_conv(MOTION_CHANNELS + config.source_dim + config.mask_dims[1], dim, 7, padding=3)
        self.init_temporal_attn = Residual(dim, TemporalAttention(dim, **attention))
        self.time_mlp = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim)
        )

        def level(in_dim: int, out_dim: int, resample: nn.Module) -> nn.ModuleList:
            return nn.ModuleList(
                [
                    ConditionedBlock(in_dim, out_dim, config),
                    ConditionedBlock(out_dim, out_dim, config),
                    Residual(out_dim, SpatialLinearAttention(out_dim, **attention)),
                    Residual(out_dim, TemporalAttention(out_dim, **attention)),
                    resample,
                ]
            )

        last = len(levels) - 1
        self.downs = nn.ModuleList(
            level(low, high, downsample(high) if i < last else nn.Identity()) for i, (low, high) in enumerate(levels)
        )
        middle = widths[-1]
        self.mid_block1 = ConditionedBlock(middle, middle, config)
        self.mid_spatial_attn = Residual(middle, SpatialAttention(middle, **attention))
        self.mid_temporal_attn = Residual(middle, TemporalAttention(middle, **attention))
        self.mid_block2 = ConditionedBlock(middle, middle, config)
        self.ups = nn.ModuleList(
            level(2 * high, low, upsample(low) if i < last else nn.Identity())
            for i, (low, high) in enumerate(reversed(levels))
        )
        self.final_conv = self._head(FLOW_CHANNELS)
        self.occlusion_map = self._head(OCCLUSION_CHANNELS)

    def _head(self, out_dim: int) -> nn.Sequential:
        dim = self.config.dim
        block = ConditionedBlock(2 * dim, dim, self.config, conditioned=False)
        return nn.Sequential(block, spatial_conv(dim, out_dim, 1))

    def forward(
        self,
        x_B3FHW: Tensor,
        t_B: Tensor,
        *,
        source_BCHW: Tensor,
        mask_BMHW: Tensor,
        cond_BFD: Tensor,
        win_width: int | None = None,
    ) -> Tensor:
        """The predicted noise, with the shape of `x_B3FHW`.

        `t_B`: timesteps; `source_BCHW`: source features; `mask_BMHW`: encoded face mask; `cond_BFD`: audio, pose and
        eyes of each frame (all zero: unconditional); `win_width`: number of frames that each frame attends to in either
        direction (None: all, as in training).
        """
        if win_width is None and (fused.suits(x_B3FHW) or (self.fused and torch.is_grad_enabled())):
            from dawn_bench.models.dawn.fused.unet import predict

            inputs = {"source_BCHW": source_BCHW, "mask_BMHW": mask_BMHW, "cond_BFD": cond_BFD}
            return predict(self, x_B3FHW, t_B, **inputs, call=self._call)
        frames = x_B3FHW.shape[2]
        bias = windowed_bias(self.time_rel_pos_bias(frames), win_width)
        time = self.time_mlp(t_B)
        audio, pose, eye = self.split_conditions(cond_BFD)
        conditions, call = (audio, pose, eye), self._call
        static = torch.cat((source_BCHW, mask_BMHW), dim=1)[:, :, None].expand(-1, -1, frames, -1, -1)

        x = self.init_conv(torch.cat((x_B3FHW, static), dim=1))
        first = x
        x = call(self.init_temporal_attn, x, bias)
        skips = []
        for block1, block2, spatial, temporal, resample in unet_levels(self.downs):
            x = call(block2, call(block1, x, time, conditions), time, conditions)
            x = call(temporal, call(spatial, x), bias)
            skips.append(x)
            x = resample(x)
        x = call(self.mid_block1, x, time, conditions)
        x = call(self.mid_temporal_attn, call(self.mid_spatial_attn, x), bias)
        x = call(self.mid_block2, x, time, conditions)
        for block1, block2, spatial, temporal, resample in unet_levels(self.ups):
            x = torch.cat((x, skips.pop()), dim=1)
            x = call(block2, call(block1, x, time, conditions), time, conditions)
            x = resample(call(temporal, call(spatial, x), bias))
        x = torch.cat((x, first), dim=1)
        return torch.cat((self.final_conv(x), self.occlusion_map(x)), dim=1)

    def _call(self, part: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`part(*inputs)`, whose inside backward computes again where `recompute` is set."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def split_conditions(self, cond: Tensor) -> tuple[Tensor, ...]:
        """Split conditions [..., D] into audio, pose and eyes."""
        return cond.split([self.config.audio_dim, self.config.pose_dim, self.config.eye_dim], dim=-1)


class Level(NamedTuple):
    """The modules of one level, in the order of the published keys."""

    block1: ConditionedBlock
    block2: ConditionedBlock
    spatial: Residual
    temporal: Residual
    resample: nn.Module


def unet_levels(levels: nn.ModuleList) -> Iterator[Level]:
    """The levels of `downs` or `ups`."""
    for level in levels:
        yield Level(*cast(nn.ModuleList, level))


def windowed_bias(bias_NFJ: Tensor, win_width: int | None) -> Tensor:
    """`bias_NFJ` with −∞ where query and key are more than `win_width` frames apart (None: unchanged)."""
    if win_width is None:
        return bias_NFJ
    position = torch.arange(bias_NFJ.shape[-1], device=bias_NFJ.device)
    far = (position[:, None] - position[None, :]).abs() > win_width
    return bias_NFJ.masked_fill(far, float("-inf"))
