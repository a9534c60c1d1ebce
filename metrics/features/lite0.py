"""EfficientNet-Lite0 features of every frame, for the suite's own Fréchet and kernel distances.

The network comes with a Python package, so that the features are real without a download. They are the 1,280 numbers
behind its last convolution, averaged over the picture. Frames enter as (x - 127) / 128, resized (bilinear, antialias)
to 128 x 128 where neither side is above 128 pixels, else to 224 x 224, on which the network was trained. One core takes
6 ms a frame of 128 pixels and 22 ms of 224. The smaller input orders blur, noise, compression and a blurred mouth of
frames of 64 and 128 pixels as the larger one does, and still knows the cat and the cup.

Scores of frames of different sizes do not compare, which they do under no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.functional.distinct import known_rows, rows_of_distinct
from dawn_bench.metrics.networks.efficientnet_lite import EfficientNetLite0, own_keys
from dawn_bench.metrics.networks.inference import beside, exact_inference, for_inference, uploaded
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, KNOWN_FRAMES, KNOWN_ROWS, Arrays, Feature
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

#: Sides of the input for small frames, and for those with a side above the first.
SIDES = (128, 224)
BATCH = 16


def prepared(frames_THWC: torch.Tensor) -> torch.Tensor:
    """uint8 (T,H,W,3) -> float32 (T,3,S,S) in [-1, 1]; S is 128 or 224, see above."""
    x = frames_THWC.permute(0, 3, 1, 2).float()
    side = SIDES[0] if max(x.shape[2:]) <= SIDES[0] else SIDES[1]
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (x - 127) / 128


def lite0_features(
    frames: np.ndarray,
    network: torch.nn.Module,
    *,
    batch: int = BATCH,
    known: Mapping[bytes, np.ndarray] | None = None,
) -> np.ndarray:
    """uint8 (T,H,W,3) RGB -> float32 (T,1280). Equal frames are computed once, those with `known` rows not at all."""
    device = next(network.parameters()).device

    def run(pictures: np.ndarray) -> np.ndarray:
        x = prepared(uploaded(pictures, device))
        return network(x.contiguous(memory_format=torch.channels_last)).cpu().numpy()

    with exact_inference():
        return rows_of_distinct(
            each_row(frames), run, size=batch, count=len(frames), overlap=beside(device), known=known or {}
        )


@lru_cache(maxsize=1)
def load_lite0(weights: Resolved, device: str) -> torch.nn.Module:
    """The network with its weights, ready to score; cached for the next instance."""
    network = EfficientNetLite0()
    load_into(network, weights, adapt=own_keys)
    return for_inference(network, device=device)


@FEATURES.register("lite0")
class Lite0(Feature):
    """`lite0` float32 (T,1280)."""

    name, fields, reuses = "lite0", ("frames",), "lite0"
    device_bound = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights("efficientnet-lite0")

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The network of its package."""
        return (("efficientnet-lite0",),)

    def settings(self) -> Mapping[str, Any]:
        """The sides of the input."""
        return {"sides": list(SIDES)}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Features of every frame."""
        network = load_lite0(self.weights, self.device)
        batch = BATCH if self.device == "cpu" else 8 * BATCH
        known = known_rows(each_row(given[KNOWN_FRAMES]), given[KNOWN_ROWS]) if KNOWN_ROWS in given else None
        return {"lite0": lite0_features(clip["frames"], network, batch=batch, known=known)}
