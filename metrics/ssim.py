"""SSIM: structural similarity to the true frames, at most 1. Higher is better, no unit.

The mean over a clip's frames, then over clips, with Wang et al.'s Gaussian window on RGB, valid region only.
`dawn_bench.metrics.features.images` has the details, and the defaults of libraries that give other numbers.
"""

from __future__ import annotations

from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second


@METRICS.register("ssim")
class Ssim(RatioMetric):
    """Mean over clips of the mean over frames."""

    name, title, unit, higher_is_better, order = "ssim", "SSIM", "", True, 130
    description = "Structural similarity to the true frame (Gaussian window, RGB), mean over frames."
    needs = ("images",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's mean."""
        values = generated["images.ssim"]
        return Part(float(values.mean()), 1, len(values), seconds=by_second(values))
