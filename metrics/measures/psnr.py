"""PSNR: peak signal to noise ratio against the true frames, in dB. Higher is better.

The mean over a clip's frames of 10 log10(255² / MSE), MSE over pixels and channels, then the mean over clips.
Identical frames get 100 dB (`psnr_cap`) and are counted in the note. torchmetrics' default is another number: the dB
of the error pooled over all frames.
"""

from __future__ import annotations

from dawn_bench.metrics.base import METRICS, Arrays, Part, RatioMetric
from dawn_bench.metrics.features.images import psnr_of_mse


@METRICS.register("psnr")
class Psnr(RatioMetric):
    """Mean over clips of the mean over frames."""

    name, title, unit, higher_is_better = "psnr", "PSNR", "dB", True
    needs = ("images",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's mean."""
        values = psnr_of_mse(generated["images.mse"], cap=self.protocol.psnr_cap)
        return Part(float(values.mean()), 1, len(values), n_identical=int((generated["images.mse"] == 0).sum()))
