"""Prepares networks for scoring: batch normalisation folded into convolutions, memory layout, exact float32."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dawn_bench.exact import exact_inference

__all__ = ["ConvUnit", "beside", "exact_inference", "for_inference", "uploaded"]


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU; `conv_name` is the convolution's name in the published keys."""

    conv_name = "conv"
    bn: nn.Module

    def fold(self) -> None:
        """Fold the normalisation into the convolution's weight and bias. Only for inference; the keys change."""
        conv, bn = getattr(self, self.conv_name), self.bn
        assert isinstance(bn, nn.BatchNorm2d | nn.BatchNorm3d)
        assert bn.running_var is not None and bn.running_mean is not None
        with torch.no_grad():
            scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
            bias = bn.bias.double() - bn.running_mean.double() * scale
            weight = conv.weight.double() * scale.reshape(-1, *[1] * (conv.weight.dim() - 1))
            conv.weight.copy_(weight.to(conv.weight.dtype))
            conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        self.bn = nn.Identity()


def uploaded(array: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """An array as a tensor on the device; for a GPU it is copied while the processor goes on."""
    tensor = torch.tensor(array) if not array.flags.writeable else torch.from_numpy(array)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def beside(device: torch.device | str) -> bool:
    """Whether a network on this device runs beside the processor, which then prepares what it is given next."""
    return torch.device(device).type != "cpu"


def for_inference(network: nn.Module, *, device: str) -> nn.Module:
    """The network on `device`, in evaluation mode, folded and in the channels-last layout of its convolutions."""
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.fold()
    network.to(device)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
    return network
