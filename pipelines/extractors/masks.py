"""Face and lip masks: the pixels of each frame that the face box and the box around the lips touch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from dawn_bench.masks import MASKS, ClipMask
from dawn_bench.pipelines.extractors.base import EXTRACTORS, Extractor


@EXTRACTORS.register("masks")
class Masks(Extractor):
    """`face_mask` and `lip_mask` bool (T,S,S), as `dawn_bench.masks` defines them; stored as bits."""

    name = "masks"
    needs = ("landmarks", "bbox")

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return "masks-1"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """Both masks, computed for the frames that are read: a long clip's do not fit into memory."""
        return {name: cast(np.ndarray, ClipMask(name, arrays[source], size)) for name, (source, _) in MASKS.items()}
