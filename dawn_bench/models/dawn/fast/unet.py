"""The U-Net for inference: the numbers of `unet.py`, several times faster, in memory linear in the frames.

Everything that is constant over the diffusion steps is computed once per clip (static channels of the first
convolution, keys and values of the conditions). Temporal attention is banded. Blocks process chunks of frames that stay
in the cache, and accumulate their group-norm statistics over them.

Shape suffixes: F frames, n frames of a chunk, P pixels, C channels, H, W latent size, D condition width, M mask
channels. The working layout is frames, pixels, channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dawn_bench.models.dawn.fast.attention import (
    Bands,
    CrossKeys,
    FastTemporal,
    linear_attention_,
    spatial_attention_,
)
from dawn_bench.models.dawn.fast.blocks import Convolutions, FastBlock, chunks, convolve, in_float32, side_by_side
from dawn_bench.models.dawn.fast.scratch import Workspace
from dawn_bench.models.dawn.unet import MOTION_CHANNELS, Level, UNet3D, unet_levels
from dawn_bench.models.dawn.unet_blocks import ConditionedBlock

#: Pixels per chunk of linear attention on a CPU, whose queries and keys are four times as wide.
LINEAR_PIXELS_CPU = 1024
#: The U-Net's two outputs, flow and occlusion.
HEADS = ("final_conv", "occlusion_map")


class FastUNet:
    """Inference for a `UNet3D`, whose weights it shares. Not differentiable."""

    def __init__(self, unet: UNet3D) -> None:
        self.unet = unet
        self.work = Workspace()
        convolutions = self.convolutions = Convolutions(self.work.inner)
        self.blocks = {
            name: FastBlock(module, convolutions, self.work)
            for name, module in unet.named_modules()
            if isinstance(module, ConditionedBlock) and module.time_mlp is not None
        }
        heads = [unet.get_submodule(f"{name}.0") for name in HEADS]
        self.heads = FastBlock(side_by_side(heads), convolutions, self.work)  # type: ignore[arg-type]

    @torch.no_grad()
    def prepare(
        self,
        *,
        source_CHW: Tensor,
        mask_MHW: Tensor,
        cond_FD: Tensor,
        win_width: int | None,
        real: int | None = None,
    ) -> FastClip:
        """Precompute what the diffusion steps of a clip share; returns a noise predictor.

        Frames from `real` on are padding, which changes nothing in those before.
        """
        kind = source_CHW.device.type
        half = (
            source_CHW.is_cuda and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        )
        with in_float32(source_CHW):
            clip = FastClip(self, source_CHW, mask_MHW, cond_FD, win_width, real)
            if half:
                clip.static_1PC = clip.static_1PC.bfloat16()  # all activations follow it
            return clip


class FastClip:
    """The U-Net for one clip: call it once per diffusion step with the noisy motion and the timestep."""

    def __init__(
        self,
        fast: FastUNet,
        source_CHW: Tensor,
        mask_MHW: Tensor,
        cond_FD: Tensor,
        win_width: int | None,
        real: int | None,
    ) -> None:
        unet = self.unet = fast.unet
        self.blocks, self.heads, self.work, self.convolutions = fast.blocks, fast.heads, fast.work, fast.convolutions
        self.frames, self.hw = len(cond_FD), (source_CHW.shape[1], source_CHW.shape[2])
        self.bands = Bands(unet.time_rel_pos_bias, self.frames, win_width, real)
        #: 1 for frames of the clip, 0 for padding.
        self.real_F = None if real is None else (torch.arange(self.frames, device=cond_FD.device) < real).float()
        weight = unet.init_conv.weight.squeeze(2)[:, MOTION_CHANNELS:]
        static = F.conv2d(torch.cat((source_CHW, mask_MHW))[None], weight, unet.init_conv.bias, padding=3)
        self.static_1PC = static.flatten(2).transpose(1, 2).contiguous()
        audio, pose, eye = unet.split_conditions(cond_FD[None])
        self.cross = {
            name: CrossKeys(fast.cross, (audio, pose, eye)) for name, fast in self.blocks.items() if fast.cross
        }

    @torch.no_grad()
    def __call__(self, x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        """The predicted noise at a timestep [1], with the shape of `x_3FHW`."""
        unet, hw = self.unet, self.hw
        self.time_E = unet.time_mlp(t_B)[0].float()
        x = self._first(x_3FHW)
        first = x.clone()
        FastTemporal(unet.init_temporal_attn, self.work.inner)(x, self.bands)
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
        FastTemporal(unet.mid_temporal_attn, self.work.inner)(x, self.bands)
        x = self._block("mid_block2", x, None, hw)
        for i, level in enumerate(unet_levels(unet.ups)):
            x = self._block(f"ups.{i}.0", x, skips.pop(), hw)
            x = self._block(f"ups.{i}.1", x, None, hw)
            if i == 0:  # the largest kernels are done, and memory peaks at the last level
                self.convolutions.release()
            self._attend(x, level)
            if not isinstance(level.resample, nn.Identity):
                x, hw = self._resample(x, level.resample, hw)
        return self._output(x, first).float().permute(2, 0, 1).unflatten(-1, hw)

    def _chunks(self, x: Tensor) -> Iterator[slice]:
        return chunks(self.frames, x.shape[1], gpu=x.is_cuda)

    def _first(self, x_3FHW: Tensor) -> Tensor:
        """The first convolution: motion channels, added to the precomputed static channels."""
        weight = self.unet.init_conv.weight.squeeze(2)[:, :MOTION_CHANNELS]
        out = self.static_1PC.new_empty(self.frames, *self.static_1PC.shape[1:])
        for frames in self._chunks(out):
            y = F.conv2d(x_3FHW[:, frames].transpose(0, 1), weight, padding=3)
            torch.add(self.static_1PC, y.flatten(2).transpose(1, 2), out=out[frames])
        return out

    def _attend(self, x: Tensor, level: Level) -> None:
        """x += the level's spatial attention, then its temporal attention."""
        for frames in chunks(self.frames, x.shape[1], gpu=x.is_cuda, cpu_pixels=LINEAR_PIXELS_CPU):
            linear_attention_(x[frames], level.spatial, self.work.inner)
        FastTemporal(level.temporal, self.work.inner)(x, self.bands)

    def _block(self, name: str, x: Tensor, skip: Tensor | None, hw: tuple[int, int]) -> Tensor:
        """A conditioned block on x, or on x concatenated with its skip; neither is modified."""

        def source(frames: slice) -> Tensor:
            return x[frames] if skip is None else self._joined(x[frames], skip[frames])

        slices = list(self._chunks(x))
        if name.endswith(".1"):  # the first block of the level ended with the last frames
            slices.reverse()
        given = {"time_E": self.time_E, "clip": self.cross[name], "real_F": self.real_F}
        return self.blocks[name](source, slices, hw, dtype=x.dtype, **given)

    def _output(self, x: Tensor, first: Tensor) -> Tensor:
        def source(frames: slice) -> Tensor:
            return self._joined(x[frames], first[frames])

        y = self.heads(source, list(self._chunks(x)), self.hw, real_F=self.real_F, dtype=x.dtype)
        last = [self.unet.get_submodule(f"{name}.1") for name in HEADS]
        parts = zip(y.chunk(len(last), dim=-1), last, strict=True)
        return torch.cat([convolve(y_FPC, conv, self.hw) for y_FPC, conv in parts], dim=-1)  # type: ignore[arg-type]

    def _joined(self, *parts: Tensor) -> Tensor:
        """The concatenated channels of a chunk's parts; valid until the next call."""
        (memory,) = self.work.inputs.carve(parts[0], sum(part.numel() for part in parts))
        return torch.cat(parts, dim=-1, out=memory.view(*parts[0].shape[:-1], -1))

    def _resample(self, x: Tensor, conv: nn.Module, hw: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        assert isinstance(conv, nn.Conv3d | nn.ConvTranspose3d)
        up = isinstance(conv, nn.ConvTranspose3d)
        after = (hw[0] * 2, hw[1] * 2) if up else (hw[0] // 2, hw[1] // 2)
        out = x.new_empty(len(x), after[0] * after[1], conv.out_channels)
        for frames in self._chunks(out):
            out[frames] = convolve(x[frames], conv, hw)
        return out, after
