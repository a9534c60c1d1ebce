"""The loudness of the sound in every video frame."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.metrics.functional.av_offset import envelope
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature


@FEATURES.register("envelope")
class Envelope(Feature):
    """`envelope` float64 (ceil(n / 640),): root mean square of the samples of each frame, 1 for full scale."""

    name, fields, version = "envelope", ("audio",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The envelope of the clip's sound."""
        sound = np.asarray(clip["audio"])
        return {self.name: envelope(sound, n_frames=-(-len(sound) // SAMPLES_PER_FRAME))}
