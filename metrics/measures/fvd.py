"""FVD16 and FVD32: the Fréchet distance between I3D logits of windows of 16 and of 32 frames. Lower is better, no unit.

Source: Unterthiner et al. 2018; the StyleGAN-V port of TF-Hub's `i3d-kinetics-400`. DAWN says "window sizes of 16 and
32 frames": each clip is cut into consecutive windows that do not overlap, from frame 0, and the windows of all clips
are pooled; a clip shorter than a window is left out and counted. Covariance by N-1 (`fvd_covariance=biased` is
StyleGAN-V's 1/N, lower by 11 % at 8 windows). Biased upwards for few windows: with the same clips FVD32 has half the
windows of FVD16 and is larger for that alone.
"""

from __future__ import annotations

from dawn_bench.metrics.base import METRICS
from dawn_bench.metrics.measures.fid import FrechetMetric
from dawn_bench.metrics.protocols import PAPER_DAWN, Protocol


class _Fvd(FrechetMetric):
    minimum, minimum_of = 401, "windows"

    def __init__(self, protocol: Protocol = PAPER_DAWN, *, seed: int = 0) -> None:
        super().__init__(protocol, seed=seed)
        self.biased = protocol.fvd_covariance == "biased"


@METRICS.register("fvd16")
class Fvd16(_Fvd):
    """Over windows of 16 frames."""

    name, title = "fvd16", "FVD16"
    needs, array, frames_each = ("i3d.16",), "i3d.16", 16


@METRICS.register("fvd32")
class Fvd32(_Fvd):
    """Over windows of 32 frames."""

    name, title = "fvd32", "FVD32"
    needs, array, frames_each = ("i3d.32",), "i3d.32", 32
