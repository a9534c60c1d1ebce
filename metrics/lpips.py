"""LPIPS: perceptual distance to the true frames (Zhang et al. 2018, version 0.1, AlexNet). Lower is better, no unit.

The mean over a clip's frames, then over clips. `lpips_net=vgg` gives the number that some papers print; the two are
never comparable. The network is the `lpips` package's own.
"""

from __future__ import annotations

from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second


@METRICS.register("lpips")
class LpipsMean(RatioMetric):
    """Mean over clips of the mean over frames."""

    name, title, unit, higher_is_better, order = "lpips", "LPIPS", "", False, 140
    description = "Distance between deep features of generated and true frame, mean over frames."
    needs = ("lpips",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's mean."""
        values = generated["lpips"]
        return Part(float(values.mean()), 1, len(values), seconds=by_second(values))
