"""SyncNet: embeddings of five lip frames and of the 0.2 s of sound during them.

Canonical implementation: joonson/syncnet_python (`SyncNetModel.py`), weights `syncnet_v2.model`; module names follow
its state dict. There every window of five frames is copied and run separately. Only the first convolution spans time,
so here a whole clip runs at once and every frame is read once: the same embeddings without copies.

Shapes: T frames, N = T-4 windows, W audio windows, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

LIP_WINDOW = 5  # frames in one lip window
AUDIO_WINDOW = 20  # MFCC columns in one audio window
MFCC_PER_FRAME = 4
EMBEDDING = 1024
SIDE = 224  # pixels of a side of the lip input


def _audio_trunk() -> nn.Sequential:
    """13 x 20 MFCC to 512 channels."""

    def unit(inside: int, outside: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inside, outside, kernel, padding=padding), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *unit(1, 64), nn.Identity(),  # the original has a pool of size 1 here, which keeps the numbering
        *unit(64, 192), nn.MaxPool2d(3, stride=(1, 2)),
        *unit(192, 384), *unit(384, 256), *unit(256, 256), nn.MaxPool2d(3, stride=2),
        *unit(256, 512, (5, 4), 0),
    )  # fmt: skip


def _lip_trunk() -> nn.Sequential:
    """224 x 224 frames to 512 channels per window."""

    def unit(
        inside: int, outside: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        conv = nn.Conv3d(inside, outside, kernel, stride=(1, stride, stride), padding=(0, padding, padding))
        return [conv, nn.BatchNorm3d(outside), nn.ReLU(inplace=True)]

    def pool(padding: int) -> nn.MaxPool3d:
        return nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, padding, padding))

    return nn.Sequential(
        *unit(3, 96, (5, 7, 7), stride=2), pool(0),
        *unit(96, 256, (1, 5, 5), stride=2, padding=1), pool(1),
        *unit(256, 256, (1, 3, 3), padding=1), *unit(256, 256, (1, 3, 3), padding=1),
        *unit(256, 256, (1, 3, 3), padding=1), pool(0),
        *unit(256, 512, (1, 6, 6)),
    )  # fmt: skip


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """Lip and audio towers into one 1,024-dimensional space; state dict keys are those of `syncnet_v2.model`."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud, self.netfcaud = _audio_trunk(), _head()
        self.netcnnlip, self.netfclip = _lip_trunk(), _head()

    def lips(self, frames_TCHW: Tensor, *, batch: int = 4) -> Tensor:
        """Embed all windows of five consecutive frames.

        Args:
            frames_TCHW: float32 (T,3,224,224), channels in the order blue, green, red, values 0..255, T >= 5.
            batch: windows at a time; on a CPU a small number keeps activations in its cache.

        Returns:
            float32 (T-4,1024); row i belongs to frames i..i+4.
        """
        steps = _as_pictures(self.netcnnlip)
        parts = []
        for start in range(0, len(frames_TCHW) - LIP_WINDOW + 1, batch):
            part_TCHW = frames_TCHW[start : start + batch + LIP_WINDOW - 1]
            count = len(part_TCHW) - LIP_WINDOW + 1
            # Five frames' channels side by side turn the 5 x 7 x 7 convolution into a 7 x 7 one.
            h_NCHW = torch.stack([part_TCHW[k : k + count] for k in range(LIP_WINDOW)], dim=2).flatten(1, 2)
            h_NCHW = h_NCHW.contiguous(memory_format=torch.channels_last)
            for step in steps:
                h_NCHW = step(h_NCHW)
            parts.append(h_NCHW.flatten(1))
        return self.netfclip(torch.cat(parts))

    def audio(self, mfcc_W1CT: Tensor) -> Tensor:
        """Embed audio windows: float32 (W,1,13,20) MFCC to float32 (W,1024)."""
        h_WCHW = mfcc_W1CT
        for step in _as_pictures(self.netcnnaud):
            h_WCHW = step(h_WCHW)
        return self.netfcaud(h_WCHW.flatten(1))


def _as_pictures(trunk: nn.Sequential) -> list[Callable[[Tensor], Tensor]]:
    """A trunk as 2D steps, each normalisation folded into the convolution before it.

    The channels-last layout makes the first lip convolution 1.4 times and the pools 15 times as fast on a CPU.
    """
    steps: list[Callable[[Tensor], Tensor]] = []
    for layer in trunk:
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            conv = layer
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            assert layer.running_mean is not None and layer.running_var is not None
            fused, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, layer.running_mean, layer.running_var, layer.eps, layer.weight, layer.bias
            )
            weight = fused.flatten(1, -3).contiguous(memory_format=torch.channels_last)
            stride, padding = conv.stride[-2:], conv.padding[-2:]
            steps.append(partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=padding))
        elif isinstance(layer, nn.MaxPool3d):
            kernel, stride, padding = (_triple(v)[1:] for v in (layer.kernel_size, layer.stride, layer.padding))
            steps.append(nn.MaxPool2d(kernel, stride, padding))
        else:
            steps.append(layer)
    return steps


def _triple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """A pooling size as three numbers; PyTorch stores one or three."""
    return value if isinstance(value, tuple) else (value,) * 3
