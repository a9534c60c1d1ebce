"""Kernel distance on EfficientNet-Lite0: KID's estimate on the suite's own features. Lower is better, no unit.

The unbiased cubic MMD² over all frames of both sides, as `metrics/kid.py` takes it on Inception's. The network comes
with a Python package: the number is real without a download.

Motion has no such number: of differences, whose mean is zero, the cubic kernel says nothing (a still clip scores as
true motion does).
"""

from __future__ import annotations

from dawn_bench.metrics.kid import KernelMetric
from dawn_bench.metrics.scoring.base import METRICS


@METRICS.register("kernel-lite0")
class KernelLite0(KernelMetric):
    """Over every frame."""

    name, title, order = "kernel-lite0", "Kernel (Lite0)", 14
    description = (
        "Unbiased cubic kernel distance between EfficientNet-Lite0 features of generated and true frames: picture "
        "quality, at any number of frames. Blur, noise, compression, another person and other colours raise it; the "
        "order of the frames does not move it. Not KID. Equal sets are slightly below zero."
    )
    needs, array = ("lite0",), "lite0"
