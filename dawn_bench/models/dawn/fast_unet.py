"""The U-Net for inference: the numbers of `unet.py`, several times faster, in memory linear in the frames.

What makes the difference: everything that does not change between diffusion steps is computed once a clip (the static
channels of the first convolution, the conditions' keys and values); temporal attention is banded; and each block walks
over chunks of frames that stay in the cache, group-norm statistics being gathered on the way.

Shape suffixes: F frames, n frames of a chunk, P pixels, C channels, H, W latent size, D condition width, M mask
channels. The working layout is frames, pixels, channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_bench.models.dawn import winograd
from dawn_bench.models.dawn.fast_attention import (
    Bands,
    CrossKeys,
    FastCross,
    FastTemporal,
    linear_attention_,
    spatial_attention_,
)
from dawn_bench.models.dawn.scratch import Scratch
from dawn_bench.models.dawn.unet import MOTION_CHANNELS, Level, UNet3D, unet_levels
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock

#: Pixels of one chunk of frames: about 1 MB at the first level of the released model.
CHUNK_PIXELS_CPU, CHUNK_PIXELS_GPU = 4096, 1 << 20
#: Pixels of a chunk of linear attention on a processor, whose queries and keys are four times as wide.
LINEAR_PIXELS_CPU = 1024

#: The U-Net's two outputs, flow and occlusion.
HEADS = ("final_conv", "occlusion_map")

#: The input of a block: frames -> [n, P, C].
Frames = Callable[[slice], Tensor]
#: A convolution over a chunk, [n, P, C] -> [n, P, C]: from the first tensor into the second, without its bias.
Convolution = Callable[[Tensor, Tensor], object]


def chunks(frames: int, pixels: int, *, gpu: bool, cpu_pixels: int | None = None) -> Iterator[slice]:
    """Slices of frames of about the chunk size."""
    step = max(1, (CHUNK_PIXELS_GPU if gpu else cpu_pixels or CHUNK_PIXELS_CPU) // pixels)
    for start in range(0, frames, step):
        yield slice(start, min(start + step, frames))


def convolve(x_nPC: Tensor, conv: nn.Conv3d | nn.ConvTranspose3d, hw: tuple[int, int], *, bias: bool = True) -> Tensor:
    """A spatial convolution in the working layout; `hw` is the picture's size before it."""
    summand = conv.bias if bias else None
    if conv.kernel_size == (1, 1, 1):
        return F.linear(x_nPC, conv.weight.flatten(1), summand)
    x = x_nPC.unflatten(1, hw).permute(0, 3, 1, 2)
    weight = conv.weight.squeeze(2)
    if isinstance(conv, nn.ConvTranspose3d):
        y = F.conv_transpose2d(x, weight, summand, conv.stride[1:], conv.padding[1:])  # type: ignore[arg-type]
    else:
        y = F.conv2d(x, weight, summand, conv.stride[1:], conv.padding[1:], groups=conv.groups)
    return y.permute(0, 2, 3, 1).flatten(1, 2)


class Convolutions:
    """3x3 convolutions over a whole clip, by Winograd's way where that is faster."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        # For the kernel of each group of channels: new memory for a wide one costs more than transforming it.
        self.rooms = [Scratch(largest=math.inf) for _ in HEADS]

    def over(self, frames: int, conv: nn.Conv3d, hw: tuple[int, int]) -> Convolution:
        """`conv`, but for its bias, for the chunks of a clip; use it before asking for the next."""
        weights = conv.weight.squeeze(2).chunk(conv.groups)
        if not winograd.serves(weights[0], frames, hw):
            return lambda x_nPC, out_nPC: out_nPC.copy_(convolve(x_nPC, conv, hw, bias=False))
        groups = [
            winograd.Winograd(weight, None, room=room, scratch=self.scratch)
            for weight, room in zip(weights, self.rooms, strict=False)
        ]

        def apply(x_nPC: Tensor, out_nPC: Tensor) -> None:
            parts = (tensor.unflatten(1, hw).chunk(len(groups), dim=-1) for tensor in (x_nPC, out_nPC))
            for group, x_nHWC, out_nHWC in zip(groups, *parts, strict=True):
                group(x_nHWC, out_nHWC)

        return apply


def side_by_side(blocks: Sequence[ConditionedBlock]) -> ConditionedBlock:
    """Blocks of the same input and no conditions as one, their channels one after the other."""
    one = copy.deepcopy(blocks[0])
    for name in ("block1.proj", "block1.norm", "block2.proj", "block2.norm", "res_conv"):
        parts = [block.get_submodule(name) for block in blocks]
        module = one.get_submodule(name)
        for value in ("weight", "bias"):
            setattr(module, value, nn.Parameter(torch.cat([getattr(part, value) for part in parts])))
    one.block2.proj.groups = len(blocks)
    for norm in (one.block1.norm, one.block2.norm):
        norm.num_groups, norm.num_channels = norm.num_groups * len(blocks), norm.num_channels * len(blocks)
    return one


def in_float32(like: Tensor) -> torch.autocast:
    """A block without autocast, for what needs the precision and is not where the time goes."""
    return torch.autocast(like.device.type, enabled=False)


class GroupStatistics:
    """Mean and variance of each group of channels over all frames, gathered chunk by chunk.

    `bias` [C] belongs to what is gathered but was never added to it: it only moves the means of channels.
    """

    def __init__(self, norm: nn.GroupNorm, bias: Tensor | None) -> None:
        self.norm, self.bias = norm, torch.zeros_like(norm.bias) if bias is None else bias
        self.count = 0
        self.first = self.second = norm.weight.new_zeros((), dtype=torch.float64)

    def add(self, y_nPC: Tensor) -> None:
        mean, variance = torch.batch_norm_update_stats(y_nPC.flatten(0, 1)[..., None].float(), None, None, 0.0)
        count = y_nPC.shape[0] * y_nPC.shape[1]
        mean, variance = mean.double() + self.bias, variance.double()
        self.count += count
        self.first = self.first + count * mean
        self.second = self.second + count * (variance + mean**2)

    def affine(self, scale_shift: Tensor | None) -> tuple[Tensor, Tensor]:
        """The bias, the norm, then the time's scale and shift, as one factor and one summand per channel."""
        norm = self.norm
        groups = (torch.stack((self.first, self.second)) / self.count).view(2, norm.num_groups, -1).mean(dim=-1)
        mean, variance = groups[0], groups[1] - groups[0] ** 2
        wide = norm.num_channels // norm.num_groups
        factor = (variance + norm.eps).rsqrt().repeat_interleave(wide) * norm.weight
        summand = norm.bias + (self.bias - mean.repeat_interleave(wide)) * factor
        if scale_shift is not None:
            scale, shift = scale_shift.chunk(2)
            factor, summand = factor * (scale + 1), summand * (scale + 1) + shift
        return factor.to(norm.weight.dtype), summand.to(norm.weight.dtype)


class FastBlock:
    """A residual block over a clip: three passes over chunks of frames, parted by the two group norms."""

    def __init__(self, block: ConditionedBlock, convolutions: Convolutions) -> None:
        self.block = block
        self.convolutions = convolutions
        self.cross = FastCross(block, convolutions.scratch) if block.time_mlp is not None else None

    def __call__(
        self,
        source: Frames,
        slices: list[slice],
        hw: tuple[int, int],
        *,
        time_E: Tensor | None = None,
        clip: CrossKeys | None = None,
    ) -> Tensor:
        """The output [F, P, C]. One tensor of its size holds what is between the passes, and the output in the end."""
        block = self.block
        scale_shift = None if block.time_mlp is None else block.time_mlp(time_E)
        width = block.block1.norm.num_channels
        middle = block.block1.norm.weight.new_empty(slices[-1].stop, hw[0] * hw[1], width)
        stats = GroupStatistics(block.block1.norm, block.block1.proj.bias)
        conv = self.convolutions.over(len(middle), block.block1.proj, hw)
        for frames in slices:
            conv(source(frames), middle[frames])
            stats.add(middle[frames])
        factor, summand = stats.affine(scale_shift)
        stats = GroupStatistics(block.block2.norm, block.block2.proj.bias)
        conv = self.convolutions.over(len(middle), block.block2.proj, hw)
        for frames in reversed(slices):  # what was just written may still be in the cache
            h = F.silu(torch.addcmul(summand, middle[frames], factor), inplace=True)
            if self.cross is not None and clip is not None:
                with in_float32(h):
                    self.cross(h, source(frames), clip, frames)
            conv(h, middle[frames])
            stats.add(middle[frames])
        factor, summand = stats.affine(None)
        for frames in slices:
            h = F.silu(torch.addcmul(summand, middle[frames], factor), inplace=True)
            x = source(frames)
            residual = x if isinstance(block.res_conv, nn.Identity) else convolve(x, block.res_conv, hw)
            torch.add(h, residual, out=middle[frames])
        return middle


class FastUNet:
    """Inference for a `UNet3D`, whose weights it reads in place. Not differentiable."""

    def __init__(self, unet: UNet3D) -> None:
        self.unet = unet
        self.scratch = Scratch()
        convolutions = Convolutions(self.scratch)
        self.blocks = {
            name: FastBlock(module, convolutions)
            for name, module in unet.named_modules()
            if isinstance(module, ConditionedBlock) and module.time_mlp is not None
        }
        heads = [unet.get_submodule(f"{name}.0") for name in HEADS]
        self.heads = FastBlock(side_by_side(heads), convolutions)  # type: ignore[arg-type]

    @torch.no_grad()
    def prepare(self, *, source_CHW: Tensor, mask_MHW: Tensor, cond_FD: Tensor, win_width: int | None) -> FastClip:
        """Everything about a clip that its diffusion steps share; the result predicts noise."""
        with in_float32(source_CHW):
            return FastClip(self, source_CHW, mask_MHW, cond_FD, win_width)


class FastClip:
    """One clip's U-Net: call it with the noisy motion and the timestep, as often as there are steps."""

    def __init__(
        self, fast: FastUNet, source_CHW: Tensor, mask_MHW: Tensor, cond_FD: Tensor, win_width: int | None
    ) -> None:
        unet = self.unet = fast.unet
        self.blocks, self.heads, self.scratch = fast.blocks, fast.heads, fast.scratch
        self.frames, self.hw = len(cond_FD), (source_CHW.shape[1], source_CHW.shape[2])
        self.bands = Bands(unet.time_rel_pos_bias, self.frames, win_width)
        weight = unet.init_conv.weight.squeeze(2)[:, MOTION_CHANNELS:]
        static = F.conv2d(torch.cat((source_CHW, mask_MHW))[None], weight, unet.init_conv.bias, padding=3)
        self.static_1PC = static.flatten(2).transpose(1, 2).contiguous()
        audio, pose, eye = unet.split_conditions(cond_FD[None])
        self.cross = {
            name: CrossKeys(fast.cross, (audio, pose, eye)) for name, fast in self.blocks.items() if fast.cross
        }

    @torch.no_grad()
    def __call__(self, x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        """The predicted noise, like `x_3FHW`, at a timestep [1]."""
        unet, hw = self.unet, self.hw
        self.time_E = unet.time_mlp(t_B)[0].float()
        x = self._first(x_3FHW)
        first = x.clone()
        FastTemporal(unet.init_temporal_attn, self.scratch)(x, self.bands)
        skips = []
        for i, level in enumerate(unet_levels(unet.downs)):
            x = self._block(f"downs.{i}.0", x, None, hw)
            x = self._block(f"downs.{i}.1", x, None, hw)
            self._attend(x, level)
            skips.append(x)
            if not isinstance(level.resample, nn.Identity):
                x, hw = self._resample(x, level.resample, hw)
        x = self._block("mid_block1", x, None, hw)
        for frames in self._chunks(x):
            spatial_attention_(x[frames], unet.mid_spatial_attn)
        FastTemporal(unet.mid_temporal_attn, self.scratch)(x, self.bands)
        x = self._block("mid_block2", x, None, hw)
        for i, level in enumerate(unet_levels(unet.ups)):
            x = self._block(f"ups.{i}.0", x, skips.pop(), hw)
            x = self._block(f"ups.{i}.1", x, None, hw)
            self._attend(x, level)
            if not isinstance(level.resample, nn.Identity):
                x, hw = self._resample(x, level.resample, hw)
        return self._output(x, first).float().permute(2, 0, 1).unflatten(-1, hw)

    def _chunks(self, x: Tensor) -> Iterator[slice]:
        return chunks(self.frames, x.shape[1], gpu=x.is_cuda)

    def _first(self, x_3FHW: Tensor) -> Tensor:
        """The first convolution: its static channels are done, only the motion's are left."""
        weight = self.unet.init_conv.weight.squeeze(2)[:, :MOTION_CHANNELS]
        out = self.static_1PC.expand(self.frames, -1, -1).clone()
        for frames in self._chunks(out):
            y = F.conv2d(x_3FHW[:, frames].transpose(0, 1), weight, padding=3)
            out[frames] += y.flatten(2).transpose(1, 2)
        return out

    def _attend(self, x: Tensor, level: Level) -> None:
        """x += the level's attention over pixels, then over frames."""
        for frames in chunks(self.frames, x.shape[1], gpu=x.is_cuda, cpu_pixels=LINEAR_PIXELS_CPU):
            linear_attention_(x[frames], level.spatial, self.scratch)
        FastTemporal(level.temporal, self.scratch)(x, self.bands)

    def _block(self, name: str, x: Tensor, skip: Tensor | None, hw: tuple[int, int]) -> Tensor:
        """A conditioned block on x, or on x beside its skip; neither changes."""

        def source(frames: slice) -> Tensor:
            return x[frames] if skip is None else torch.cat((x[frames], skip[frames]), dim=-1)

        return self.blocks[name](source, list(self._chunks(x)), hw, time_E=self.time_E, clip=self.cross[name])

    def _output(self, x: Tensor, first: Tensor) -> Tensor:
        def source(frames: slice) -> Tensor:
            return torch.cat((x[frames], first[frames]), dim=-1)

        y = self.heads(source, list(self._chunks(x)), self.hw)
        last = [self.unet.get_submodule(f"{name}.1") for name in HEADS]
        parts = zip(y.chunk(len(last), dim=-1), last, strict=True)
        return torch.cat([convolve(y_FPC, conv, self.hw) for y_FPC, conv in parts], dim=-1)  # type: ignore[arg-type]

    def _resample(self, x: Tensor, conv: nn.Module, hw: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        assert isinstance(conv, nn.Conv3d | nn.ConvTranspose3d)
        up = isinstance(conv, nn.ConvTranspose3d)
        after = (hw[0] * 2, hw[1] * 2) if up else (hw[0] // 2, hw[1] // 2)
        out = x.new_empty(len(x), after[0] * after[1], conv.out_channels)
        for frames in self._chunks(x):
            out[frames] = convolve(x[frames], conv, hw)
        return out, after
