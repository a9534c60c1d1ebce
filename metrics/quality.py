"""CPBD and PIQE: sharpness and distortion of the generated frames, without a reference and without a network.

Both are means over a clip's frames, then over clips; `dawn_bench.metrics.functional.sharpness` has the definitions,
equal to the packages cpbd and pypiqe. They know nothing of faces. Against people's votes on the picture (900 votes),
the side that CPBD prefers got .56 of them (.51 to .62) where .81 is possible.

One core takes 9 ms a frame of 128 px for CPBD and 1.3 ms for PIQE, 36 and 4 ms at 256 px.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.metrics.functional.sharpness import SIDE
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second


class _OfFrames(RatioMetric):
    optional = True
    compares = False
    array: ClassVar[str]

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The mean over the clip's frames. Raises `ItemError("too_small")` for CPBD below 64 x 64 px."""
        values = generated[self.array]
        if np.isnan(values).any():
            raise ItemError("too_small", f"{self.title} needs frames of {SIDE} x {SIDE} pixels")
        return Part(float(values.mean()), 1, len(values), seconds=by_second(values))


@METRICS.register("cpbd")
class Sharpness(_OfFrames):
    """Mean over clips of the mean over frames, 0 to 1."""

    name, title, higher_is_better, order = "cpbd", "CPBD", True, 140
    needs, array = ("cpbd",), "cpbd"
    description = (
        "Share of edges that are too sharp for people to notice blur, mean over the generated frames, 0 to 1. Blur "
        "lowers it. Noise raises it, and block artefacts, motion, identity and the sound hardly move it."
    )


@METRICS.register("piqe")
class Distortion(_OfFrames):
    """Mean over clips of the mean over frames, 0 to 100."""

    name, title, higher_is_better, order = "piqe", "PIQE", False, 142
    needs, array = ("piqe",), "piqe"
    description = (
        "Distortion of the blocks of 16 px that have structure, mean over the generated frames, 0 to 100. Blur "
        "raises it, at 256 px noise and block artefacts too; at 128 px these may lower it. Motion, identity and the "
        "sound do not move it, nor does a wrong but clean face."
    )
