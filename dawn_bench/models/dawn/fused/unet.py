"""One forward pass of the U-Net for training on a GPU.

Shape suffixes: B batch, F frames, n = B·F pictures, P = H·W pixels, C channels, D condition width, M mask channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_bench.models.dawn.fast.blocks import convolve
from dawn_bench.models.dawn.fused import attention
from dawn_bench.models.dawn.fused.blocks import conditioned_block
from dawn_bench.models.dawn.unet import MOTION_CHANNELS, UNet3D, unet_levels

#: Calls a function of tensors: directly, or so that backward computes its inside again.
Call = Callable[..., Tensor]


def predict(
    unet: UNet3D,
    x_B3FHW: Tensor,
    t_B: Tensor,
    *,
    source_BCHW: Tensor,
    mask_BMHW: Tensor,
    cond_BFD: Tensor,
    call: Call,
) -> Tensor:
    """As `UNet3D.forward` without a window. Each block and each attention is one `call`."""
    batch, _, frames, *hw = x_B3FHW.shape
    bias_NFJ = unet.time_rel_pos_bias(frames)
    time_BE = unet.time_mlp(t_B)
    conditions = unet.split_conditions(cond_BFD)
    x = _first(unet, x_B3FHW, torch.cat((source_BCHW, mask_BMHW), dim=1))
    dtype = x.dtype  # bfloat16 under autocast

    def block(module: nn.Module, x: Tensor) -> Tensor:
        return call(conditioned_block, module, x, (hw[0], hw[1]), batch, dtype, time_BE, conditions)

    def attend(level: list[nn.Module], x: Tensor) -> Tensor:
        x = call(attention.linear, level[0], x, dtype)
        return call(attention.temporal, level[1], x, batch, dtype, bias_NFJ)

    first = x
    x = call(attention.temporal, unet.init_temporal_attn, x, batch, dtype, bias_NFJ)
    skips = []
    for level in unet_levels(unet.downs):
        x = attend([level.spatial, level.temporal], block(level.block2, block(level.block1, x)))
        skips.append(x)
        x, hw = _resampled(x, level.resample, hw)
    x = block(unet.mid_block1, x)
    x = call(attention.spatial, unet.mid_spatial_attn, x, dtype)
    x = call(attention.temporal, unet.mid_temporal_attn, x, batch, dtype, bias_NFJ)
    x = block(unet.mid_block2, x)
    for level in unet_levels(unet.ups):
        x = torch.cat((x, skips.pop()), dim=-1)
        x = attend([level.spatial, level.temporal], block(level.block2, block(level.block1, x)))
        x, hw = _resampled(x, level.resample, hw)
    x = torch.cat((x, first), dim=-1)
    outputs = []
    for head in (unet.final_conv, unet.occlusion_map):
        h = call(conditioned_block, head[0], x, (hw[0], hw[1]), batch, dtype)
        assert isinstance(head[1], nn.Conv3d)
        outputs.append(convolve(h.to(dtype), head[1], (hw[0], hw[1])))
    out_BFPC = torch.cat(outputs, dim=-1).unflatten(0, (batch, frames))
    return out_BFPC.permute(0, 3, 1, 2).unflatten(-1, tuple(hw))


def _first(unet: UNet3D, x_B3FHW: Tensor, static_BCHW: Tensor) -> Tensor:
    """The first convolution, [n, P, C]: what is the same in all frames of a clip is convolved once."""
    weight = unet.init_conv.weight.squeeze(2)
    still = F.conv2d(static_BCHW, weight[:, MOTION_CHANNELS:], unet.init_conv.bias, padding=3)
    moving = F.conv2d(x_B3FHW.transpose(1, 2).flatten(0, 1), weight[:, :MOTION_CHANNELS], padding=3)
    still, moving = (part.permute(0, 2, 3, 1).flatten(1, 2) for part in (still, moving))
    return (moving.unflatten(0, (len(still), -1)) + still[:, None]).flatten(0, 1)


def _resampled(x_nPC: Tensor, conv: nn.Module, hw: list[int]) -> tuple[Tensor, list[int]]:
    if not isinstance(conv, nn.Conv3d | nn.ConvTranspose3d):
        return x_nPC, hw
    after = [side * 2 for side in hw] if isinstance(conv, nn.ConvTranspose3d) else [side // 2 for side in hw]
    return convolve(x_nPC, conv, (hw[0], hw[1])), after
