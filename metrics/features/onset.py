"""The onset envelope of the sound, at the frame rate or slightly above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.functional.beats import HOP, onset_envelope
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature


@FEATURES.register("onset")
class Onset(Feature):
    """`onset` float32 (1 + n // hop,): see `dawn_bench.metrics.functional.beats.onset_envelope`."""

    name, fields, version = "onset", ("audio",), 1

    def settings(self) -> Mapping[str, Any]:
        """The hop and the average over bands, where they are not the defaults."""
        return {} if self.protocol.bas_hop == HOP else {"hop": self.protocol.bas_hop, "median": self.median}

    @property
    def median(self) -> bool:
        """Whether bands are averaged by the median, as librosa's beat tracker does at its own hop."""
        return self.protocol.bas_hop != HOP and self.protocol.bas_audio == "beat"

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The envelope of the clip's sound."""
        return {self.name: onset_envelope(np.asarray(clip["audio"]), hop=self.protocol.bas_hop, median=self.median)}
