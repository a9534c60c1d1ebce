"""FID: the Fréchet distance between Inception features of generated and of true frames. Lower is better, no unit.

Source: Heusel et al. 2017; mseitzer/pytorch-fid, whose number this is (the root is taken by a symmetric route, equal
where the original is defined). All generated frames against all frames of the paired true clips, decoded frames in
memory, covariance by N-1. FID is biased upwards for few frames: only values with the same number of frames compare,
and below 2,048 frames the covariances are singular, which the note says.

The interval is the infinitesimal jackknife over clips. A clip's record is its features, float32 (T,2048); those that
the scorer hands over are views of files, so that memory does not grow with the number of clips.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.metrics.base import METRICS, Arrays, Metric, Score
from dawn_bench.metrics.frechet import frechet_by_clip, interval


class Pair(NamedTuple):
    """Features of one clip: generated (n,D) and true (m,D)."""

    generated: np.ndarray
    true: np.ndarray


class FrechetMetric(Metric):
    """What FID and FVD share: the distance over the features of all clips."""

    unit, higher_is_better = "", False
    #: Frames that one feature stands for, to count frames.
    frames_each: ClassVar[int] = 1
    biased = False

    @property
    @abstractmethod
    def array(self) -> str:
        """Name of the array of features."""

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's features; `ItemError("not_finite")` where they hold NaN."""
        pair = Pair(generated[self.array], true[self.array])
        if not all(np.isfinite(part).all() for part in pair):
            raise ItemError("not_finite", f"{self.array} features are not finite numbers")
        return pair

    def fold(self, records: Mapping[str, Pair]) -> Score:
        """The distance over all clips together."""
        one, two = [p.generated for p in records.values()], [p.true for p in records.values()]
        n = sum(map(len, one))
        if n < 2 or sum(map(len, two)) < 2:
            return Score(
                None,
                None,
                None,
                len(records),
                n * self.frames_each,
                note=f"a single {self.minimum_of[:-1]} has no covariance",
            )
        found = frechet_by_clip(one, two, biased=self.biased)
        low, high = interval(found.value, found.influence, floor=0.0)
        return Score(found.value, low, high, len(records), n * self.frames_each, self.too_few(n))


@METRICS.register("fid")
class Fid(FrechetMetric):
    """Over every frame."""

    name, title = "fid", "FID"
    needs, array = ("inception",), "inception"
    minimum, minimum_of = 2049, "frames"
