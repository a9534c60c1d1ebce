"""The networks of the metrics: milliseconds a call with TF32 off, as scores are computed, and on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from world import Lease, say

from dawn_bench.exact import float32_products
from dawn_bench.weights import seeded_fill

#: Builds a network with seeded weights on the device, and its inputs.
Build = Callable[[Lease], tuple[nn.Module, tuple[Tensor, ...]]]


def _built(network: nn.Module, lease: Lease, *shapes: tuple[int, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    seeded_fill(network, salt="lease/")
    rng = np.random.default_rng(0)
    inputs = (torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(lease.device) for shape in shapes)
    return network.to(lease.device).eval(), tuple(inputs)


def inception(lease: Lease) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """FID's Inception on 16 pictures."""
    from dawn_bench.metrics.features.inception import FidInception

    return _built(FidInception(), lease, (1 if lease.tiny else 16, 3, 299, 299))


def i3d(lease: Lease) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """FVD's I3D on windows of 16 frames."""
    from dawn_bench.metrics.networks.i3d import I3D

    return _built(I3D(), lease, (1 if lease.tiny else 4, 3, 16, 224, 224))


def s3fd(lease: Lease) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """SyncNet's face detector on four pictures."""
    from dawn_bench.metrics.networks.s3fd import S3FD

    side = 64 if lease.tiny else 256
    return _built(S3FD(), lease, (1 if lease.tiny else 4, 3, side, side))


class _Lips(nn.Module):
    """SyncNet's tower of lips."""

    def __init__(self) -> None:
        super().__init__()
        from dawn_bench.metrics.networks.syncnet import SyncNet

        network = SyncNet()
        self.convolutions, self.last = network.netcnnlip, network.netfclip

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B,3,5,224,224) -> (B,1024)."""
        return self.last(self.convolutions(windows).flatten(1))


def syncnet(lease: Lease) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """SyncNet on 20 windows of five frames."""
    return _built(_Lips(), lease, (1 if lease.tiny else 20, 3, 5, 224, 224))


def arcface(lease: Lease) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """ArcFace's IResNet-50 on 16 faces."""
    from dawn_bench.metrics.networks.iresnet import IResNet

    return _built(IResNet(50), lease, (1 if lease.tiny else 16, 3, 112, 112))


def networks(lease: Lease) -> dict[str, Build]:
    """The networks by name; a tiny run leaves out I3D, which takes seconds at its only size."""
    chosen = {"Inception": inception, "S3FD": s3fd, "SyncNet, lips": syncnet, "ArcFace": arcface}
    return chosen if lease.tiny else {**chosen, "I3D": i3d}


def main(lease: Lease) -> int:
    """One line for each network; the number of those that failed."""
    failed = 0
    for name, build in networks(lease).items():
        try:
            network, inputs = build(lease)
            with torch.inference_mode():
                exact, plain = _timed(network, inputs, "ieee", lease)
                rounded, fast = _timed(network, inputs, "tf32", lease)
            pairs = zip(exact, rounded, strict=True)
            off = max(float((a - b).abs().max() / a.std().clamp(min=1e-12)) for a, b in pairs)
            say(f"{name:16} TF32 off {plain:8.2f} ms  on {fast:8.2f} ms  {plain / fast:.2f}x  differs by {off:.1e}")
        except Exception as error:  # the other networks must still be seen
            failed += 1
            say(f"{name:16} failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    return failed


def _timed(network: nn.Module, inputs: tuple[Tensor, ...], rounding: Any, lease: Lease) -> tuple[list[Tensor], float]:
    """What the network gives, and the milliseconds of a call: the mean of several after a first."""
    calls = 1 if lease.tiny else 10
    with float32_products(rounding):
        out = tensors(network(*inputs))
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            network(*inputs)
        torch.cuda.synchronize()
    return out, (time.perf_counter() - began) * 1e3 / calls


def tensors(value: Any) -> list[Tensor]:
    """The tensors of what a network returns, which may be nested lists."""
    return [value] if isinstance(value, Tensor) else [t for each in value for t in tensors(each)]
