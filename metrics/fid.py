"""FID: the Fréchet distance between Inception features of generated and of true frames. Lower is better, no unit.

Source: Heusel et al. 2017. The number is that of mseitzer/pytorch-fid (the matrix root is computed from a symmetric
product, equal where the original is defined). All generated frames are compared with all frames of the paired true
clips, as decoded frames in memory; covariance by N-1. FID is biased upwards for few frames: compare only values with
the same number of frames. Below 2,049 frames the covariances are singular, which the note states.

The interval is the infinitesimal jackknife over clips. A clip's record is its features, float32 (T,2048); of those from
`Extraction` it is their place in a file. 1,024 frames are in memory at once, and 0.8 GB of matrices, for any number of
clips. The moments of the true side are kept beside its features, for the other methods that are compared with it.
`running=True` keeps sums instead, 64 MB for any number of clips, for features from elsewhere: the same number without
an interval.

torchmetrics' FrechetInceptionDistance is not used: it preprocesses frames differently (`fid_resize`), and it takes the
eigenvalues of the product of both covariances, which is not symmetric: the same distance, computed more slowly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar, NamedTuple
from uuid import uuid4

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.lazy import row_blocks
from dawn_bench.metrics.functional.frechet import (
    Moments,
    Samples,
    Sums,
    frechet_by_clip,
    frechet_of_moments,
    interval,
    moments,
)
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Score, join_notes
from dawn_bench.metrics.scoring.feature_cache import StoredRows, stored_rows
from dawn_bench.provenance import fingerprint
from dawn_bench.text import counted


class Pair(NamedTuple):
    """Features of one clip, or where they are: generated (n,D) and true (m,D)."""

    generated: Samples
    true: Samples


@dataclass(frozen=True)
class Running:
    """Sums over the clips of one process, in float64: counts, sums (D,) and products (D,D), generated and true."""

    clips: frozenset[str]
    generated: Sums
    true: Sums


def finite_pair(array: str, generated: Arrays, true: Arrays) -> Pair:
    """One clip's features of both sides; raises `ItemError("not_finite")` where they contain NaN."""
    sides = generated[array], true[array]
    if not all(np.isfinite(rows).all() for side in sides for rows in row_blocks(side)):
        raise ItemError("not_finite", f"{array} features are not finite numbers")
    return Pair(*map(stored_rows, sides))


class FrechetMetric(Metric):
    """Common part of FID and FVD: the distance over the features of all clips.

    With `running` a clip with a known id is skipped instead of replaced, and a clip that two processes measured counts
    twice, which the note states.
    """

    unit, higher_is_better = "", False
    unpaired = True
    interval = "one distance over the frames of all clips together; 95 % jackknife interval over clips"
    #: Frames that one feature stands for, to count frames.
    frames_each: ClassVar[int] = 1
    biased = False

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0, running: bool = False) -> None:
        super().__init__(protocol, seed=seed)
        self.running = running
        self._process = uuid4().hex

    @property
    @abstractmethod
    def array(self) -> str:
        """Name of the array of features."""

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's features; raises `ItemError("not_finite")` where they contain NaN."""
        return finite_pair(self.array, generated, true)

    def update(self, generated: Arrays, true: Arrays, *, clip_id: str) -> None:
        """Add one clip."""
        if not self.running:
            return super().update(generated, true, clip_id=clip_id)
        before = self.records.get(self._process)
        if before is not None and clip_id in before.clips:
            return
        pair = self.measure(generated, true)
        ours, theirs = Sums.of(pair.generated), Sums.of(pair.true)
        if before is not None:
            ours, theirs = before.generated + ours, before.true + theirs
        self.records[self._process] = Running((before.clips if before else frozenset()) | {clip_id}, ours, theirs)

    def fold(self, records: Mapping[str, Pair | Running]) -> Score:
        """The distance over all clips together."""
        sums = [r for r in records.values() if isinstance(r, Running)]
        if sums:
            return self._from_sums(sums)
        return self._from_features({clip: r for clip, r in records.items() if isinstance(r, Pair)})

    def _from_sums(self, records: Sequence[Running]) -> Score:
        ours, theirs = (reduce(add, (getattr(r, side) for r in records)) for side in ("generated", "true"))
        clips = frozenset[str]().union(*(r.clips for r in records))
        twice = sum(len(r.clips) for r in records) - len(clips)
        if min(ours.n, theirs.n) < 2:
            return self._single(len(clips), ours.n)
        value = frechet_of_moments(ours.moments(biased=self.biased), theirs.moments(biased=self.biased))
        repeated = f"{counted(twice, 'clip')} counted twice" if twice else ""
        note = join_notes("no interval: only sums were kept", repeated, self.imprecise(ours.n))
        return Score(value, None, None, len(clips), ours.n * self.frames_each, note)

    def _single(self, n_clips: int, n: int) -> Score:
        note = f"a single {self.minimum_of[:-1]} has no covariance"
        return Score(None, None, None, n_clips, n * self.frames_each, note=note)

    def _from_features(self, records: Mapping[str, Pair]) -> Score:
        one, two = [p.generated for p in records.values()], [p.true for p in records.values()]
        n, n_true = sum(map(len, one)), sum(map(len, two))
        if min(n, n_true) < 2:
            return self._single(len(records), n)
        distance = frechet_by_clip(one, two, biased=self.biased, known=self._true_moments)
        low, high = interval(distance.value, distance.influence, floor=0.0)
        return Score(distance.value, low, high, len(records), n * self.frames_each, self.imprecise(min(n, n_true)))

    def _true_moments(self, parts: Sequence[Samples]) -> Moments:
        """The moments of the true side, kept in the cache that its features came from."""
        rows = [part for part in parts if isinstance(part, StoredRows)]
        sources = {(id(part.cache), *part.source) for part in rows}
        if len(rows) < len(parts) or len(sources) != 1:
            return moments(parts, biased=self.biased)
        cache, (feature, print_) = rows[0].cache, rows[0].source
        place = (
            f"{feature}.moments",
            print_,
            fingerprint([self.biased, [part.identity for part in rows]], length=64),
        )
        if (known := cache.get(*place)) is not None:
            return Moments(int(known["n"][0]), known["mean"], known["covariance"])
        fresh = moments(parts, biased=self.biased)
        cache.put(*place, {"n": np.array([fresh.n]), "mean": fresh.mean, "covariance": fresh.covariance})
        cache.flush()
        return fresh


@METRICS.register("fid")
class Fid(FrechetMetric):
    """Over every frame."""

    name, title, order = "fid", "FID", 10
    description = (
        "Fréchet distance between Inception features of generated and true frames: picture quality. Biased upwards "
        "for few frames, so compare only scores with equal frame counts."
    )
    needs, array = ("inception",), "inception"
    minimum, minimum_of = 2049, "frames"
