"""Which pictures of a clip are the picture before them once more."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature


@FEATURES.register("repeated")
class Repeated(Feature):
    """`repeated` bool (T,): whether a frame equals the one before it. The first one never does."""

    name, fields, version = "repeated", ("frames",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The flag of every frame."""
        flags, before = [], None
        for frame in each_row(clip["frames"]):
            flags.append(before is not None and np.array_equal(frame, before))
            before = np.array(frame)
        return {self.name: np.array(flags, bool)}
