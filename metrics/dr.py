"""DR25 and DR50, degradation rate: how much worse the end of a clip is than its start. Nearer to 0 is better; no unit.

DR_n = FID_ed / FID_st - 1, with the FIDs of the last and of the first n generated frames (DAWN, Section 4). The paper
does not state the reference set: by default the same n frames of the true clips (`dr_reference=all`: every true
frame). Frames of all clips are pooled, since n frames of one clip are too few; clips of fewer than 2n frames are
excluded and counted. The ratio of two biased FIDs: compare only values with the same number of clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from dawn_bench.errors import ItemError
from dawn_bench.metrics.functional.frechet import Samples, frechet_by_clip, interval
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Score, join_notes
from dawn_bench.metrics.scoring.feature_cache import stored_rows
from dawn_bench.text import counted


class Ends(NamedTuple):
    """Features (n,D) of the first and last generated frames, and of the true frames they are compared with."""

    first: Samples
    last: Samples
    true_first: Samples
    true_last: Samples


class _Dr(Metric):
    group = "drift"
    unit, higher_is_better, target = "", False, "zero"
    needs = ("inception",)
    minimum, minimum_of = 2049, "frames"
    interval = (
        "one ratio of two distances, each over the frames of all clips together; 95 % jackknife interval over clips"
    )
    whole = True
    shows = ("face", "motion")
    length: ClassVar[int]

    def measure(self, generated: Arrays, true: Arrays) -> Ends:
        """Both ends of the clip; raises `ItemError("too_short")` below 2n frames."""
        n, ours, theirs = self.length, generated["inception"], true["inception"]
        if min(len(ours), len(theirs)) < 2 * n:
            raise ItemError("too_short", f"{counted(min(len(ours), len(theirs)), 'frame')}, {self.title} needs {2 * n}")
        if not all(np.isfinite(part).all() for part in self._ends(ours, theirs)):
            raise ItemError("not_finite", "inception features are not finite numbers")
        return self._ends(stored_rows(ours), stored_rows(theirs))

    def _ends(self, ours: Samples, theirs: Samples) -> Ends:
        n = self.length
        ends = Ends(ours[:n], ours[-n:], theirs[:n], theirs[-n:])
        if self.protocol.dr_reference == "all":
            ends = ends._replace(true_first=theirs, true_last=theirs)
        return ends

    def fold(self, records: Mapping[str, Ends]) -> Score:
        """The ratio over all clips together, with both FIDs in the note."""
        ends = list(records.values())
        first = frechet_by_clip([e.first for e in ends], [e.true_first for e in ends])
        last = frechet_by_clip([e.last for e in ends], [e.true_last for e in ends])
        n = self.length * len(ends)
        scale = sum(float(np.square(e.true_first, dtype=np.float64).sum()) for e in ends) / sum(
            len(e.true_first) for e in ends
        )
        if first.value <= 1e-9 * scale:
            return Score(None, None, None, len(ends), 2 * n, note="the first frames equal the true ones: FID_st is 0")
        value = last.value / first.value - 1
        low, high = interval(value, (last.influence - (1 + value) * first.influence) / first.value, floor=-1.0)
        note = f"FID_st {first.value:.4g}, FID_ed {last.value:.4g} over {n} frames each"
        return Score(value, low, high, len(ends), 2 * n, join_notes(note, self.imprecise(n)))


_DESCRIPTION = (
    "Degradation rate: FID of the last {n} frames over FID of the first {n}, minus one. Shows errors that accumulate "
    "along a clip. Only clips of at least {m} frames count."
)


@METRICS.register("dr25")
class Dr25(_Dr):
    """Ends of 25 frames."""

    name, title, length, order = "dr25", "DR25", 25, 100
    description = _DESCRIPTION.format(n=25, m=50)


@METRICS.register("dr50")
class Dr50(_Dr):
    """Ends of 50 frames."""

    name, title, length, order = "dr50", "DR50", 50, 110
    description = _DESCRIPTION.format(n=50, m=100)
