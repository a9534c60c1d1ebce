"""The onset envelope of the sound, at the rate of the picture."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.base import FEATURES, Arrays, Feature
from dawn_bench.metrics.beats import onset_envelope


@FEATURES.register("onset")
class Onset(Feature):
    """`onset` float32 (1 + n // 640,): see `dawn_bench.metrics.beats.onset_envelope`."""

    name, fields, version = "onset", ("audio",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        return {self.name: onset_envelope(np.asarray(clip["audio"]))}
