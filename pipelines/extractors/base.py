"""What an extractor is: arrays of one clip in, named arrays of the same clip out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from dawn_bench.registry import Registry


class Extractor(Protocol):
    """Field names, dtypes and shapes are those of `dawn_bench.clip`."""

    name: str
    #: Fields that `run` reads.
    needs: tuple[str, ...]

    def fingerprint(self) -> str:
        """Identifies code, settings and weights: equal fingerprints give equal numbers."""

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """Fields computed from `needs` for a clip of `n_frames` frames of `size` pixels a side."""


#: Extractors by name: classes, or functions without argument that make one; one file each in this package.
EXTRACTORS: Registry[Callable[[], Extractor]] = Registry(
    "extractor", group="dawn_bench.extractor", package="dawn_bench.pipelines.extractors"
)
