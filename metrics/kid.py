"""KID and KVD16: the unbiased kernel distance on Inception features of frames, and on I3D logits of 16-frame windows.

Source: Binkowski et al. 2018; KVD is the same on video features (Unterthiner et al. 2018). The cubic MMD² with the
kernel (x·y/D + 1)³ over all frames or windows of both sides, without subsets: its expectation does not depend on their
number, so it serves where a Fréchet distance needs more of them. Papers print the mean over 100 random subsets of 1,000
(`functional.kernel.kid`, torch-fidelity's and clean-fid's), whose expectation is the same, and some print it times 100
or 1,000. It may be negative: of equal sets it is.

Sets of more than 4,096 are cut at random into groups of whole clips, whose values are averaged: unbiased too, and the
cost grows with their number. The interval is the jackknife over clips.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from dawn_bench.metrics.fid import Pair, finite_pair
from dawn_bench.metrics.functional.frechet import interval
from dawn_bench.metrics.functional.kernel import mmd_by_clip
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Score, join_notes


class KernelMetric(Metric):
    """Common part of kernel distances: the distance over the features of all clips."""

    higher_is_better = False
    optional = True
    unpaired = True
    interval = "one distance over the frames of all clips together; 95 % jackknife interval over clips"
    #: Frames that one feature stands for, to count frames.
    frames_each: ClassVar[int] = 1

    @property
    @abstractmethod
    def array(self) -> str:
        """Name of the array of features."""

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's features; raises `ItemError("not_finite")` where they contain NaN."""
        return finite_pair(self.array, generated, true)

    def fold(self, records: Mapping[str, Pair]) -> Score:
        """The distance over all clips together."""
        pairs = list(records.values())
        n_frames = sum(len(pair.generated) for pair in pairs) * self.frames_each
        distance = mmd_by_clip([p.generated for p in pairs], [p.true for p in pairs])
        if distance is None:
            return Score(None, None, None, len(pairs), n_frames, note="a single frame or window has no pair")
        low, high = interval(distance.value, distance.influence, floor=-np.inf)
        grouped = f"mean of {distance.groups} groups of clips" if distance.groups > 1 else ""
        return Score(distance.value, low, high, len(pairs), n_frames, join_notes(grouped, self.imprecise(len(pairs))))


@METRICS.register("kid")
class Kid(KernelMetric):
    """Over every frame."""

    name, title, order = "kid", "KID", 11
    description = (
        "Unbiased cubic kernel distance between Inception features of generated and true frames: picture quality, at "
        "any number of frames. Equal sets are slightly below zero."
    )
    needs, array = ("inception",), "inception"


@METRICS.register("kvd16")
class Kvd16(KernelMetric):
    """Over windows of 16 frames."""

    name, title, order = "kvd16", "KVD16", 21
    description = (
        "Unbiased cubic kernel distance between I3D logits of 16-frame windows of generated and true videos: picture "
        "quality and motion together, at any number of windows. Equal sets are slightly below zero."
    )
    needs, array, frames_each = ("i3d.16",), "i3d.16", 16
    interval = "one distance over the windows of all clips together; 95 % jackknife interval over clips"
