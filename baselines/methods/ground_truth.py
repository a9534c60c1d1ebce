"""The true clip itself: the ceiling of every metric that compares with the truth."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass


class GroundTruth:
    """Frames and sound as they are in the cache."""

    name = "ground-truth"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("truth",)
    fingerprint = "ground-truth/1"

    def generate(self, item: Item) -> Generated:
        return Generated(np.asarray(item.clip["frames"]), np.asarray(item.clip["audio"]))


@METHODS.register("ground-truth")
def build(context: Context) -> GroundTruth:
    return GroundTruth()
