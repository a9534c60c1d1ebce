"""Fréchet distances on EfficientNet-Lite0: of frames, and of how they change. Lower is better, no unit.

The same arithmetic as FID on another network, so never comparable with it. The network comes with a Python package: the
numbers are real without a download. Below 1,281 frames the covariances are singular, which the note states.

*Fréchet motion (Lite0)* compares the differences of the features of one frame and the next. In 1,280 dimensions a few
hundred differences span other directions in any two clips, and a still picture would then beat true motion: they are
projected first to 16 numbers by one fixed random matrix. On six real clips of 64 px, over the variance of the true
motion: holding every 2nd, 3rd, 5th frame .04, .1, .2; half the speed .16; a still picture 1.0; one half of a clip
against its other half .25, and 1.0 where the first half stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from dawn_bench.metrics.fid import FrechetMetric, Pair, Running
from dawn_bench.metrics.functional.frechet import Samples
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Score

#: Features of a picture (`dawn_bench.metrics.networks.efficientnet_lite`), without importing PyTorch to list metrics.
FEATURES = 1280
#: Numbers that a difference of two frames is projected to.
PROJECTED = 16


@METRICS.register("frechet-lite0")
class FrechetLite0(FrechetMetric):
    """Over every frame."""

    name, title, order, optional = "frechet-lite0", "Fréchet (Lite0)", 12, True
    description = (
        "Fréchet distance between EfficientNet-Lite0 features of generated and true frames: picture quality, by a "
        "network that needs no download. Blur, noise, compression, another person and other colours raise it; the "
        "order of the frames does not move it. Not FID. Biased upwards for few frames, so compare only scores with "
        "equal frame counts."
    )
    needs, array = ("lite0",), "lite0"
    minimum, minimum_of = FEATURES + 1, "frames"


class Steps:
    """Differences of each two successive rows (n,D), projected: float32 (n-1,16), computed when they are read."""

    def __init__(self, rows: Samples) -> None:
        self.rows = rows
        self.shape: tuple[int, ...] = (max(len(rows) - 1, 0), PROJECTED)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Steps:
        first, last, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("only consecutive rows")
        return Steps(self.rows[first : max(first, last) + 1])

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Differences `first` to `last` (exclusive)."""
        stop = len(self) if last is None else min(last, len(self))
        rows = self.rows[first : stop + 1] if isinstance(self.rows, np.ndarray) else self.rows.read(first, stop + 1)
        return (np.diff(rows.astype(np.float64), axis=0) @ projection(rows.shape[1])).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or np.float32, copy=False)


@lru_cache(maxsize=2)
def projection(width: int) -> np.ndarray:
    """The fixed random matrix float64 (width,16), which keeps the squares of lengths on average."""
    return np.random.default_rng(0).standard_normal((width, PROJECTED)) / np.sqrt(PROJECTED)


@METRICS.register("frechet-motion-lite0")
class FrechetMotionLite0(FrechetMetric):
    """Over the differences of each two successive frames."""

    name, title, order, optional = "frechet-motion-lite0", "Fréchet motion (Lite0)", 16, True
    description = (
        "Fréchet distance between the changes of EfficientNet-Lite0 features from frame to frame, projected to 16 "
        "numbers: how much and what moves. Still, frozen, slow and jerky motion raise it, and flicker and noise most: "
        "those can exceed a still picture. Not FVD. A steady fault of the picture hardly moves it, and neither does "
        "playing backwards."
    )
    needs, array = ("lite0",), "lite0"
    shows = ("motion",)
    minimum, minimum_of = 10 * PROJECTED, "frames"
    interval = "one distance over the frame differences of all clips together; 95 % jackknife interval over clips"

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's differences; raises `ItemError("not_finite")` where its features contain NaN."""
        return Pair(*map(Steps, super().measure(generated, true)))

    def fold(self, records: Mapping[str, Pair | Running]) -> Score:
        """The distance over all differences; the score counts frames."""
        score = super().fold(records)
        first = sum(len(r.generated) > 0 for r in records.values() if isinstance(r, Pair))
        return replace(score, n_frames=score.n_frames + first)
