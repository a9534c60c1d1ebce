"""The U-Net's blocks for inference: the numbers of `unet_blocks.py`, computed in chunks of frames.

Chunks stay in the CPU cache. The statistics of the group norms, which span all frames, are accumulated over the chunks.

Shape suffixes: n frames of a chunk, P = H·W pixels, C channels. The working layout is frames, pixels, channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_bench.models.dawn.fast import winograd
from dawn_bench.models.dawn.fast.attention import CrossKeys, FastCross
from dawn_bench.models.dawn.fast.scratch import Scratch, Workspace
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock

#: Pixels per chunk of frames: about 1 MB at the first level of the released model.
CHUNK_PIXELS_CPU, CHUNK_PIXELS_GPU = 4096, 1 << 20

#: The input of a block: slice of frames -> [n, P, C].
Frames = Callable[[slice], Tensor]
#: A convolution of a chunk [n, P, C] without bias, from the first tensor into the second.
Convolution = Callable[[Tensor, Tensor], object]


def chunks(frames: int, pixels: int, *, gpu: bool, cpu_pixels: int | None = None) -> Iterator[slice]:
    """Slices of frames with about the chunk size in pixels."""
    step = max(1, (CHUNK_PIXELS_GPU if gpu else cpu_pixels or CHUNK_PIXELS_CPU) // pixels)
    for start in range(0, frames, step):
        yield slice(start, min(start + step, frames))


def convolve(x_nPC: Tensor, conv: nn.Conv3d | nn.ConvTranspose3d, hw: tuple[int, int], *, bias: bool = True) -> Tensor:
    """Apply a spatial convolution in the working layout; `hw` is the input resolution (height, width)."""
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
    """3x3 convolutions over a clip, by the Winograd algorithm where that is faster."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        # Memory for the transformed kernel of each channel group: allocating a large one costs more than the transform.
        self.memories: list[Scratch] = []

    def release(self) -> None:
        """Free the memory of the transformed kernels."""
        self.memories.clear()

    def over(self, frames: int, conv: nn.Conv3d, hw: tuple[int, int]) -> Convolution:
        """`conv` without bias as a function of a clip's chunks; valid until the next call of `over`."""
        weights = conv.weight.squeeze(2).chunk(conv.groups)
        if not winograd.supports(weights[0], frames, hw):
            return lambda x_nPC, out_nPC: out_nPC.copy_(convolve(x_nPC, conv, hw, bias=False))
        self.memories += [Scratch(largest=math.inf) for _ in weights[len(self.memories) :]]
        groups = [
            winograd.Winograd(weight, None, memory=self.memories[i], scratch=self.scratch)
            for i, weight in enumerate(weights)
        ]

        def apply(x_nPC: Tensor, out_nPC: Tensor) -> None:
            parts = (tensor.unflatten(1, hw).chunk(len(groups), dim=-1) for tensor in (x_nPC, out_nPC))
            for group, x_nHWC, out_nHWC in zip(groups, *parts, strict=True):
                group(x_nHWC, out_nHWC)

        return apply


def side_by_side(blocks: Sequence[ConditionedBlock]) -> ConditionedBlock:
    """Fuse unconditioned blocks with the same input into one, with concatenated channels."""
    fused = copy.deepcopy(blocks[0])
    for name in ("block1.proj", "block1.norm", "block2.proj", "block2.norm", "res_conv"):
        parts = [block.get_submodule(name) for block in blocks]
        module = fused.get_submodule(name)
        for value in ("weight", "bias"):
            setattr(module, value, nn.Parameter(torch.cat([getattr(part, value) for part in parts])))
    fused.block2.proj.groups = len(blocks)
    for norm in (fused.block1.norm, fused.block2.norm):
        norm.num_groups, norm.num_channels = norm.num_groups * len(blocks), norm.num_channels * len(blocks)
    return fused


def in_float32(like: Tensor) -> torch.autocast:
    """A context without autocast, for operations that need float32 and take little of the time."""
    return torch.autocast(like.device.type, enabled=False)


class GroupStatistics:
    """Mean and variance of each channel group over all frames, accumulated chunk by chunk.

    `bias` [C] is the convolution's bias, which the chunks do not contain: it only shifts the channel means.
    """

    def __init__(self, norm: nn.GroupNorm, bias: Tensor | None) -> None:
        self.norm, self.bias = norm, torch.zeros_like(norm.bias) if bias is None else bias
        self.count: float | Tensor = 0
        self.first = self.second = norm.weight.new_zeros((), dtype=torch.float64)
        self.parts: list[tuple[int, Tensor, Tensor]] = []

    def add(self, y_nPC: Tensor, real_n: Tensor | None = None) -> None:
        """Accumulate a chunk, in float64, without frames where `real_n` is 0.

        On a GPU, whose chunks are few, their moments are kept as they are: each operation on a handful of numbers costs
        a launch.
        """
        count: float | Tensor = y_nPC.shape[0] * y_nPC.shape[1]
        if real_n is not None:
            mean, variance = _masked_statistics(y_nPC.float(), real_n)
            count = real_n.sum().double() * y_nPC.shape[1]
        elif y_nPC.is_cuda:
            variance, mean = torch.var_mean(y_nPC.float(), dim=(0, 1), unbiased=False)
            self.parts.append((y_nPC.shape[0] * y_nPC.shape[1], mean.double() + self.bias, variance.double()))
            return
        else:
            mean, variance = torch.batch_norm_update_stats(y_nPC.flatten(0, 1)[..., None].float(), None, None, 0.0)
        mean, variance = mean.double() + self.bias, variance.double()
        self.count += count
        self.first = self.first + count * mean
        self.second = self.second + count * (variance + mean**2)

    def affine(self, scale_shift: Tensor | None) -> tuple[Tensor, Tensor]:
        """Bias, group norm, and scale and shift by the timestep, as one factor and one summand [C]."""
        norm = self.norm
        mean, variance = self._of_parts() if self.parts else self._of_sums()
        weight_Gc, bias_Gc, own_Gc = (part.view(norm.num_groups, -1) for part in (norm.weight, norm.bias, self.bias))
        factor_Gc = (variance + norm.eps).rsqrt()[:, None] * weight_Gc
        summand_Gc = bias_Gc + (own_Gc - mean[:, None]) * factor_Gc
        factor, summand = factor_Gc.flatten(), summand_Gc.flatten()
        if scale_shift is not None:
            scale, shift = scale_shift.chunk(2)
            factor, summand = factor * (scale + 1), summand * (scale + 1) + shift
        return factor.to(norm.weight.dtype), summand.to(norm.weight.dtype)

    def _of_sums(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each group in float64."""
        sums = (torch.stack((self.first, self.second)) / self.count).view(2, self.norm.num_groups, -1).mean(dim=-1)
        return sums[0], sums[1] - sums[0] ** 2

    def _of_parts(self) -> tuple[Tensor, Tensor]:
        """The same from the moments of chunks."""
        _, mean, variance = self.parts[0]
        if len(self.parts) > 1:
            total = sum(count for count, _, _ in self.parts)
            mean = torch.stack([part * (count / total) for count, part, _ in self.parts]).sum(dim=0)
            around = [(own + (part - mean).square()) * (count / total) for count, part, own in self.parts]
            variance = torch.stack(around).sum(dim=0)
        mean_Gc, variance_Gc = (part.view(self.norm.num_groups, -1) for part in (mean, variance))
        between, mean_G = torch.var_mean(mean_Gc, dim=1, unbiased=False)
        return mean_G, variance_Gc.mean(dim=1) + between


def _masked_statistics(y_nPC: Tensor, real_n: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] over the pixels of the frames where `real_n` is 1; zeros if there are none."""
    real_n11 = real_n[:, None, None]
    count = (real_n.sum() * y_nPC.shape[1]).clamp(min=1)
    mean = (y_nPC * real_n11).sum(dim=(0, 1)) / count
    return mean, ((y_nPC - mean).square() * real_n11).sum(dim=(0, 1)) / count


def activated(y: Tensor, factor: Tensor, summand: Tensor, memory: Tensor) -> Tensor:
    """SiLU(y · factor + summand), written to `memory`."""
    return F.silu(torch.addcmul(summand, y, factor, out=memory.view_as(y)), inplace=True)


class FastBlock:
    """A residual block over a clip: three passes over chunks of frames, separated by the two group norms."""

    def __init__(self, block: ConditionedBlock, convolutions: Convolutions, work: Workspace) -> None:
        self.block = block
        self.convolutions = convolutions
        self.values, self.inner = work.values, work.inner
        self.cross = FastCross(block, work.inner) if block.time_mlp is not None else None

    def __call__(
        self,
        source: Frames,
        slices: list[slice],
        hw: tuple[int, int],
        *,
        time_E: Tensor | None = None,
        clip: CrossKeys | None = None,
        real_F: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """The output [F, P, C] in `dtype`: a tensor that also holds the intermediates between passes.

        Passes alternate the direction through `slices`, since the latest chunks may still be in the cache. Frames where
        `real_F` is 0 do not enter the norms.
        """
        block = self.block
        scale_shift = None if block.time_mlp is None else block.time_mlp(time_E)
        width = block.block1.norm.num_channels
        size = (max(part.stop for part in slices), hw[0] * hw[1], width)
        middle = block.block1.norm.weight.new_empty(size, dtype=dtype)
        stats = GroupStatistics(block.block1.norm, block.block1.proj.bias)
        conv = self.convolutions.over(len(middle), block.block1.proj, hw)
        for frames in slices:
            conv(source(frames), middle[frames])
            stats.add(middle[frames], None if real_F is None else real_F[frames])
        factor, summand = stats.affine(scale_shift)
        stats = GroupStatistics(block.block2.norm, block.block2.proj.bias)
        conv = self.convolutions.over(len(middle), block.block2.proj, hw)
        for frames in reversed(slices):
            y = middle[frames]
            (memory,) = self.values.carve(y, y.numel())
            h = activated(y, factor, summand, memory)
            if self.cross is not None and clip is not None:
                with in_float32(h):
                    self.cross(h, source(frames), clip, frames)
            conv(h, y)
            stats.add(y, None if real_F is None else real_F[frames])
        factor, summand = stats.affine(None)
        for frames in slices:
            y = middle[frames]
            (memory,) = self.values.carve(y, y.numel())
            h = activated(y, factor, summand, memory)
            x, last = source(frames), block.res_conv
            if isinstance(last, nn.Conv3d):
                (x,) = self.inner.products(x, last.weight.flatten(1), bias=last.bias)
            torch.add(h, x, out=y)
        return middle
