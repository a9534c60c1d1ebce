"""Kernel distance on EfficientNet-Lite0: KID's estimate on the suite's own features. Lower is better, no unit.

The unbiased cubic MMD² over all frames of both sides, without subsets: its expectation does not depend on the number of
frames, so it serves where a Fréchet distance needs more of them. It may be negative: equal sets are. Sets of more than
4,096 frames are cut at random into groups of whole clips, whose values are averaged: unbiased too, and its cost grows
with the number of frames. The interval is the jackknife over clips.

Motion has no such number: of differences, whose mean is zero, the cubic kernel says nothing (a still clip scores as
true motion does).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.lazy import row_blocks
from dawn_bench.metrics.fid import Pair
from dawn_bench.metrics.functional.frechet import interval
from dawn_bench.metrics.functional.kernel import mmd_by_clip
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Score, join_notes
from dawn_bench.metrics.scoring.feature_cache import stored_rows


@METRICS.register("kernel-lite0")
class KernelLite0(Metric):
    """Over every frame."""

    name, title, order, optional = "kernel-lite0", "Kernel (Lite0)", 14, True
    higher_is_better = False
    description = (
        "Unbiased cubic kernel distance between EfficientNet-Lite0 features of generated and true frames: picture "
        "quality, at any number of frames. Blur, noise, compression, another person and other colours raise it; the "
        "order of the frames does not move it. Not KID. Equal sets are slightly below zero."
    )
    needs, array = ("lite0",), "lite0"
    unpaired = True
    interval = "one distance over the frames of all clips together; 95 % jackknife interval over clips"

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's features; raises `ItemError("not_finite")` where they contain NaN."""
        sides = generated[self.array], true[self.array]
        if not all(np.isfinite(rows).all() for side in sides for rows in row_blocks(side)):
            raise ItemError("not_finite", f"{self.array} features are not finite numbers")
        return Pair(*map(stored_rows, sides))

    def fold(self, records: Mapping[str, Pair]) -> Score:
        """The distance over all clips together."""
        pairs = list(records.values())
        n_frames = sum(len(pair.generated) for pair in pairs)
        distance = mmd_by_clip([p.generated for p in pairs], [p.true for p in pairs])
        if distance is None:
            return Score(None, None, None, len(pairs), n_frames, note="a single frame has no pair")
        low, high = interval(distance.value, distance.influence, floor=-np.inf)
        grouped = f"mean of {distance.groups} groups of clips" if distance.groups > 1 else ""
        return Score(distance.value, low, high, len(pairs), n_frames, join_notes(grouped, self.too_few(len(pairs))))
