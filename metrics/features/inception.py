"""Inception features of every frame, for FID and DR.

Default is pytorch-fid's arithmetic: frames / 255, bilinear resize to 299 x 299 without antialias (even to shrink),
2x - 1. `fid_resize=clean` is clean-fid's: PIL's bicubic with antialias on float values, no rounding, (x - 128) / 128,
here with pytorch-fid's network. `fid_resize=torch-fidelity` is torch-fidelity's, also used by torchmetrics: TensorFlow
1's bilinear, (x - 128) / 128. clean-fid's mode `legacy_pytorch` is pytorch-fid's arithmetic with another rounding.

With the same weights (largest difference over the largest feature, frames of 128 px, stand-in weights of gain 1.8)
clean differs by 1.1e-2 and torch-fidelity by 6.0e-3 from pytorch-fid. torchmetrics' FrechetInceptionDistance, which
wraps torch-fidelity's network, therefore gives another number and is not used; the tests check parity with all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.functional.distinct import known_rows, rows_of_distinct
from dawn_bench.metrics.networks.inception import FidInception
from dawn_bench.metrics.networks.inference import beside, exact_inference, for_inference, uploaded
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, KNOWN_FRAMES, KNOWN_ROWS, Arrays, Feature
from dawn_bench.pixels import to_unit
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

SIDE = 299
BATCH = 16
#: Gain of the stand-in weights; with 1 the features would hardly depend on the frame.
SEEDED_GAIN = 1.8


def resize_pytorch_fid(frames_THWC: torch.Tensor) -> torch.Tensor:
    """uint8 (T,H,W,3) -> float32 (T,3,299,299) in [-1, 1], as pytorch-fid does."""
    x = to_unit(frames_THWC.permute(0, 3, 1, 2))
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1


def resize_clean(frames_THWC: torch.Tensor) -> torch.Tensor:
    """uint8 (T,H,W,3) -> float32 (T,3,299,299) in 0..255, as clean-fid's `clean` mode does."""
    x = frames_THWC.permute(0, 3, 1, 2).float()
    if x.shape[2:] == (SIDE, SIDE):
        return x
    return F.interpolate(x, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)


def resize_torch_fidelity(frames_THWC: torch.Tensor) -> torch.Tensor:
    """uint8 (T,H,W,3) -> float32 (T,3,299,299) in 0..255: pixel i is sampled at i * in / out."""
    x = frames_THWC.permute(0, 3, 1, 2).float()
    for axis in (2, 3):
        place = torch.arange(SIDE, dtype=torch.float32, device=x.device) * (x.shape[axis] / SIDE)
        low = place.floor().long()
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        share = (place - low).reshape(-1, *[1] * (3 - axis))
        one = x.index_select(axis, low)
        x = one + (x.index_select(axis, high) - one) * share
    return x


def inception_features(
    frames: np.ndarray,
    network: torch.nn.Module,
    *,
    resize: str = "pytorch-fid",
    tap: int = 2048,
    batch: int = BATCH,
    known: Mapping[bytes, np.ndarray] | None = None,
) -> np.ndarray:
    """uint8 (T,H,W,3) RGB -> float32 (T,tap). Repeated frames are computed once, those with `known` rows not at all."""
    device = next(network.parameters()).device

    def run(pictures: np.ndarray) -> np.ndarray:
        x = _RESIZES[resize](uploaded(pictures, device))
        return network(x.contiguous(memory_format=torch.channels_last), tap=tap).cpu().numpy()

    with exact_inference():
        return rows_of_distinct(
            each_row(frames), run, size=batch, count=len(frames), overlap=beside(device), known=known or {}
        )


_RESIZES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "pytorch-fid": resize_pytorch_fid,
    "clean": lambda x: (resize_clean(x) - 128) / 128,
    "torch-fidelity": lambda x: (resize_torch_fidelity(x) - 128) / 128,
}


@lru_cache(maxsize=1)
def load_inception(weights: Resolved, device: str) -> torch.nn.Module:
    """The network with its weights, ready to score; cached for the next instance."""
    network = FidInception()
    load_into(network, weights, gain=SEEDED_GAIN)
    return for_inference(network, device=device)


@FEATURES.register("inception")
class Inception(Feature):
    """`inception` float32 (T,2048)."""

    name, fields, reuses = "inception", ("frames",), "inception"
    device_bound = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights("inception-fid")

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The FID Inception network."""
        return (("inception-fid",),)

    def settings(self) -> Mapping[str, Any]:
        """The kind of resize."""
        return {"resize": self.protocol.fid_resize}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Features of every frame."""
        network = load_inception(self.weights, self.device)
        batch = BATCH if self.device == "cpu" else 8 * BATCH
        known = known_rows(each_row(given[KNOWN_FRAMES]), given[KNOWN_ROWS]) if KNOWN_ROWS in given else None
        resize = self.protocol.fid_resize
        return {"inception": inception_features(clip["frames"], network, resize=resize, batch=batch, known=known)}
