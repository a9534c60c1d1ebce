"""LPIPS of every frame of a generated clip against its true clip: AlexNet, version 0.1, values in [-1, 1], not spatial.

Feeding [0, 1] gives distances 5 to 15 times smaller; the spatial variant differs in the fourth digit. `lpips_net=vgg`
is what some papers take. The linear weights are always the published ones; only the backbone can be a stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.base import FEATURES, PairFeature
from dawn_bench.metrics.networks.inference import exact_inference, for_inference
from dawn_bench.metrics.networks.lpips import Lpips, Net, package_lins
from dawn_bench.metrics.protocols import PAPER_DAWN, Protocol
from dawn_bench.provenance import sha256_file
from dawn_bench.weights import Policy, Resolved, load_into

BATCH = 16
#: Smaller pictures have no pixel left after AlexNet's pools.
MIN_SIDE = 32


def lpips_per_frame(generated: np.ndarray, true: np.ndarray, network: torch.nn.Module) -> np.ndarray:
    """uint8 (T,H,W,3) twice -> float64 (T,)."""
    device = next(network.parameters()).device
    rows = []
    with exact_inference():
        for start in range(0, len(generated), BATCH):
            x, y = (
                torch.tensor(frames[start : start + BATCH], device=device).permute(0, 3, 1, 2).float() / 127.5 - 1
                for frames in (np.ascontiguousarray(generated), np.ascontiguousarray(true))
            )
            rows.append(network(x, y).double().cpu().numpy())
    return np.concatenate(rows)


@lru_cache(maxsize=1)
def load_lpips(net: Net, weights: Resolved, device: str) -> torch.nn.Module:
    """The network with its weights, ready to score; kept for the next feature instance."""
    network = Lpips(net)
    load_into(network.features, weights, gain=2**0.5, adapt=_features_only)
    network.load_lins(package_lins(net))
    return for_inference(network, device=device)


def _features_only(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}


@FEATURES.register("lpips")
class LpipsFrames(PairFeature):
    """`lpips` float64 (T,)."""

    name, fields = "lpips", ("frames",)

    def __init__(self, protocol: Protocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu") -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights(f"lpips-{protocol.lpips_net}")

    def settings(self) -> Mapping[str, Any]:
        """The backbone and the linear weights."""
        return {"net": self.protocol.lpips_net, "lins": sha256_file(package_lins(self.protocol.lpips_net))[:16]}

    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """The distance of every frame."""
        a, b = generated["frames"], true["frames"]
        if min(a.shape[1:3]) < MIN_SIDE:
            raise ItemError(
                "too_small", f"LPIPS needs a side of {MIN_SIDE} pixels, the frames have {a.shape[2]} x {a.shape[1]}"
            )
        return {"lpips": lpips_per_frame(a, b, load_lpips(self.protocol.lpips_net, self.weights, self.device))}
