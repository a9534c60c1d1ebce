"""The U-Net's blocks for training on a GPU: convolution, group norm, activation and conditions of a clip.

Shape suffixes: B batch, F frames, n = B·F pictures, P = H·W pixels, C channels, G groups, E time embedding. Activations
are pictures, pixels, channels, which is what convolutions take without a copy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_bench.models.dawn.fast.blocks import convolve, in_float32
from dawn_bench.models.dawn.fused import widened
from dawn_bench.models.dawn.fused.cross import add_cross_attention
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock, Conditions, NormedConv


class _Moments(torch.autograd.Function):
    """Mean and variance [B, G] of y_BLGc over positions and channels of a group, in float32; keeps nothing but y."""

    @staticmethod
    def forward(ctx: Any, y_BLGc: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(widened(y_BLGc), dim=(1, 3), unbiased=False)
        ctx.save_for_backward(y_BLGc, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        y_BLGc, mean = ctx.saved_tensors
        of_mean, of_variance = (gradient / (y_BLGc.shape[1] * y_BLGc.shape[3]) for gradient in gradients)
        slope, offset = 2 * of_variance, of_mean - 2 * of_variance * mean
        slope, offset = (part[:, None, :, None].to(y_BLGc.dtype) for part in (slope, offset))
        return torch.addcmul(offset, y_BLGc, slope)


def group_norm(y_BLC: Tensor, norm: nn.GroupNorm, scale_shift_BC: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Group norm over all positions of a clip, then scale and shift, in the type of `y_BLC`; statistics in float32."""
    mean_BG, variance_BG = _Moments.apply(y_BLC.unflatten(-1, (norm.num_groups, -1)))
    width = norm.num_channels // norm.num_groups
    factor_BC = (variance_BG + norm.eps).rsqrt().repeat_interleave(width, dim=1) * norm.weight
    summand_BC = norm.bias - mean_BG.repeat_interleave(width, dim=1) * factor_BC
    if scale_shift_BC is not None:
        scale, shift = (widened(part) for part in scale_shift_BC)
        factor_BC, summand_BC = factor_BC * (scale + 1), summand_BC * (scale + 1) + shift
    return torch.addcmul(summand_BC[:, None].to(y_BLC.dtype), y_BLC, factor_BC[:, None].to(y_BLC.dtype))


def normed_conv(
    module: NormedConv, x_nPC: Tensor, hw: tuple[int, int], batch: int, scale_shift_BC: Any = None
) -> Tensor:
    """As `NormedConv` for the pictures of `batch` clips."""
    y_nPC = convolve(x_nPC, module.proj, hw)
    with in_float32(y_nPC):
        y_BLC = y_nPC.unflatten(0, (batch, -1)).flatten(1, 2)
        return F.silu(group_norm(y_BLC, module.norm, scale_shift_BC)).view_as(y_nPC)


def conditioned_block(
    block: ConditionedBlock,
    x_nPC: Tensor,
    hw: tuple[int, int],
    batch: int,
    dtype: torch.dtype,
    time_BE: Tensor | None = None,
    conditions: Conditions | None = None,
) -> Tensor:
    """As `ConditionedBlock`, with activations in `dtype` between its parts."""
    working = x_nPC.to(dtype)  # once for all parts
    if block.time_mlp is None or conditions is None:
        h = normed_conv(block.block1, working, hw, batch)
    else:
        h = normed_conv(block.block1, working, hw, batch, block.time_mlp(time_BE).chunk(2, dim=1))
        h = add_cross_attention(h, working, block.contexts(conditions))
    h = normed_conv(block.block2, h, hw, batch)
    if isinstance(block.res_conv, nn.Conv3d):
        return convolve(working, block.res_conv, hw).to(x_nPC.dtype) + h
    return x_nPC + h
