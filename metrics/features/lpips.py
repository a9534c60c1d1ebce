"""LPIPS of every frame of a generated clip against its true clip: version 0.1, values in [-1, 1].

The network is that of the `lpips` package (0.1.4, Zhang et al. 2018), the canonical implementation; torchmetrics' copy
gives the same bits in the same time. The linear weights are always the package's published ones; only the backbone,
torchvision's, can have stand-in weights.

AlexNet and the mean of the stages' maps, as the authors recommend. Papers also print VGG-16 or SqueezeNet
(`lpips_net`), and the mean of maps upsampled to the frame size (`lpips_spatial`, as in common_metrics: differs in the
fourth digit). Inputs in [0, 1], a common mistake, give distances 5 to 15 times smaller.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dawn_bench.ahead import ahead
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import sha256_file
from dawn_bench.metrics.networks.inference import beside, exact_inference, for_inference, uploaded
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, PairFeature
from dawn_bench.pixels import to_signed
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

BATCH = 16
#: Smaller frames have no pixel left after AlexNet's pools.
MIN_SIDE = 32


def lpips_per_frame(generated: np.ndarray, true: np.ndarray, network: torch.nn.Module) -> np.ndarray:
    """uint8 (T,H,W,3) twice -> the distance of each pair of frames, float64 (T,).

    A batch whose pairs are all equal is not run: its distances are exactly 0.
    """
    device = next(network.parameters()).device
    distances = np.zeros(len(generated))
    batches = _unequal(generated, true)
    with exact_inference():
        for part, pair in ahead(batches) if beside(device) else batches:
            x, y = (to_signed(uploaded(frames, device).permute(0, 3, 1, 2)) for frames in pair)
            distances[part] = network(x, y).double().mean(dim=(1, 2, 3)).cpu().numpy()
    return distances


def _unequal(generated: np.ndarray, true: np.ndarray) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray]]]:
    """Which frames, and both clips' frames uint8 (n,H,W,3), of each batch with a pair that is not equal."""
    for start in range(0, len(generated), BATCH):
        part = slice(start, start + BATCH)
        a, b = np.ascontiguousarray(generated[part]), np.ascontiguousarray(true[part])
        if not np.array_equal(a, b):
            yield part, (a, b)


def package_network(net: str, *, spatial: bool = False) -> torch.nn.Module:
    """The package's network with its linear weights; its backbone `net` has no weights yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision in a deprecated way
        from lpips import LPIPS

        return LPIPS(net=net, pnet_rand=True, spatial=spatial, verbose=False)


@lru_cache(maxsize=1)
def load_lpips(net: str, weights: Resolved, device: str, *, spatial: bool = False) -> torch.nn.Module:
    """The network with its weights, ready to score; cached for the next instance."""
    network = package_network(net, spatial=spatial)
    backbone = network.get_submodule("net")
    # the package splits torchvision's `features` into slices, keeping the numbers: slice2.3.weight is features.3.weight
    names = {key: f"features.{key.partition('.')[2]}" for key in backbone.state_dict()}
    load_into(backbone, weights, gain=2**0.5, adapt=lambda state: {key: state[name] for key, name in names.items()})
    return for_inference(network, device=device)


def package_lins(net: str) -> Path:
    """The file of linear weights inside the installed package."""
    spec = find_spec("lpips")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"


@FEATURES.register("lpips")
class LpipsFrames(PairFeature):
    """`lpips` float64 (T,)."""

    name, fields, version = "lpips", ("frames",), 2
    device_bound = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights(f"lpips-{protocol.lpips_net}")

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The backbone that the protocol names."""
        return ((f"lpips-{protocol.lpips_net}",),)

    def settings(self) -> Mapping[str, Any]:
        """The backbone, the linear weights and whether maps are upsampled."""
        p = self.protocol
        return {
            "net": p.lpips_net,
            "lins": sha256_file(package_lins(p.lpips_net))[:16],
            "spatial": p.lpips_spatial,
        }

    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """The distance of every frame."""
        p, a, b = self.protocol, generated["frames"], true["frames"]
        if min(a.shape[1:3]) < MIN_SIDE:
            raise ItemError(
                "too_small", f"LPIPS needs a side of {MIN_SIDE} pixels, the frames have {a.shape[2]} x {a.shape[1]}"
            )
        return {
            "lpips": lpips_per_frame(a, b, load_lpips(p.lpips_net, self.weights, self.device, spatial=p.lpips_spatial))
        }
