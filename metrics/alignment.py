"""Mouths compared after alignment in time: how unlike they are apart from their timing, and how far off the timing is.

* `m-lmd-sdtw`: the soft-DTW divergence of the mouth's 20 points, which are those of M-LMD. The cost of two frames is
  the squared distance of the points over its median between the true clip's own frames; gamma is 0.1, the band 0.2 s
  (5 frames), and the divergence is divided by the number of frames. A method that is late by a few frames loses in
  M-LMD, and little here. Soft-DTW as a measure beside the rigid one: Cuturi and Blondel 2017, Blondel et al. 2021.
* `mtm`: mean temporal misalignment, the distance in frames between the extrema of both mouths' openings that a DTW of
  their derivatives joins (after kaist-ami/Perceptual-3D-Talking-Head, with its smoothing of 2 frames).

Both work on stretches of 10 s, each aligned by itself, over the frames that show both faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.metrics.features.landmarks import seen_landmarks, seen_opening
from dawn_bench.metrics.functional.av_offset import MIN_PAIRS, STILL
from dawn_bench.metrics.functional.dtw import mean_temporal_misalignment, soft_dtw_divergence, squared_distances
from dawn_bench.metrics.functional.landmark_distance import MOUTH, in_eye_distances
from dawn_bench.metrics.lmd import Distances, LandmarkDistance
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Score, join_notes, reasons
from dawn_bench.metrics.scoring.frames import ranges
from dawn_bench.text import counted

#: Frames of a stretch.
STRETCH = 10 * FPS
#: Of soft-DTW: gamma in medians of the true clip's own costs, and the reach of the band in frames.
GAMMA, BAND = 0.1, 5


@dataclass(frozen=True)
class Aligned(Distances):
    """A clip's share, and why it is undefined."""

    why: str = ""


class _Aligned(LandmarkDistance):
    def _undefined(self, seen: np.ndarray, model: str, *, rests: bool) -> Aligned | None:
        """The share of a clip of which too little is seen, or whose true mouth rests."""
        few = f"both faces in fewer than {MIN_PAIRS} frames" if seen.sum() < MIN_PAIRS else ""
        if not few and not rests:
            return None
        return Aligned(0.0, 0, int(seen.sum()), model=model, why=few or "the true mouth rests")

    def fold(self, records: Mapping[str, Aligned]) -> Score:  # type: ignore[override]
        """The mean over clips, with why clips are undefined in the note."""
        score = super().fold(records)
        return replace(score, note=join_notes(score.note, reasons(r.why for r in records.values())))


@METRICS.register("m-lmd-sdtw")
class SoftMouthDistance(_Aligned):
    """Mean over clips of the divergence a frame, in medians of the true clips' own costs."""

    name, title, unit, order = "m-lmd-sdtw", "M-LMD soft-DTW", "", 36
    description = (
        "Distance of the mouth's landmarks to those of the true clip after a soft alignment in time of up to 0.2 s, "
        "over the distance between two moments of the true clip. Wrong mouth shapes raise it, and lips that move "
        "early or late by some frames hardly do, which M-LMD counts in full. 0 for the true clip."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Aligned:
        """The clip's divergence a frame; weight 0 where it is undefined."""
        model, ours = seen_landmarks(generated)
        both = in_eye_distances(ours, seen_landmarks(true)[1], region=MOUTH)
        seen = np.isfinite(both[0]).all(axis=(1, 2))
        one, two = (side[seen].reshape(int(seen.sum()), -1) for side in both)
        scale = float(np.median(_own_costs(two))) if len(two) > 1 else 0.0
        undefined = self._undefined(seen, model, rests=scale < STILL**2)
        if undefined is not None:
            return undefined
        total = sum(
            soft_dtw_divergence(one[part] / scale**0.5, two[part] / scale**0.5, gamma=GAMMA, radius=BAND)
            for part in _stretches(len(one))
        )
        lost = ranges(np.flatnonzero(~seen) + self.protocol.skip_first)
        return Aligned(total / len(one), 1, len(one), left_out=lost, model=model)


@METRICS.register("mtm")
class TemporalMisalignment(_Aligned):
    """Mean over clips of the mean over pairs of extrema, in frames of 1/25 s."""

    name, title, unit, order = "mtm", "MTM", "frames", 37
    needs = ("landmarks", "repeated")
    description = (
        "Mean distance in time between moments at which the generated and the true mouth are widest or narrowest, "
        "where an alignment joins them. Early and late lips raise it. How wide the mouth opens and lip motion that is "
        "missing altogether do not, so read it beside the mouth correlation. 0 for the true clip."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Aligned:
        """The clip's mean; weight 0 where it is undefined, or no extrema belong together."""
        model, ours = seen_opening(generated)
        theirs = seen_opening(true)[1]
        seen = np.isfinite(ours) & np.isfinite(theirs)
        undefined = self._undefined(seen, model, rests=seen.any() and float(theirs[seen].std()) < STILL)
        if undefined is not None:
            return undefined
        parts = [
            mean_temporal_misalignment(theirs[seen][part], ours[seen][part]).frames
            for part in _stretches(int(seen.sum()))
        ]
        frames = np.concatenate(parts)
        lost = ranges(np.flatnonzero(~seen) + self.protocol.skip_first)
        if not len(frames):
            return Aligned(0.0, 0, int(seen.sum()), left_out=lost, model=model, why="no extrema belong together")
        return Aligned(float(frames.mean()), 1, int(seen.sum()), len(frames), left_out=lost, model=model)

    def fold(self, records: Mapping[str, Aligned]) -> Score:  # type: ignore[override]
        """The mean over clips, with the number of pairs of extrema in the note."""
        score = super().fold(records)
        pairs = counted(sum(r.n_windows for r in records.values()), "pair")
        return replace(score, note=join_notes(score.note, f"{pairs} of extrema"))


def _stretches(count: int) -> Iterator[slice]:
    """Slices of `STRETCH` of `count` frames; a rest below half of that belongs to the last one."""
    number = max(1, round(count / STRETCH))
    for k in range(number):
        yield slice(k * STRETCH, count if k == number - 1 else (k + 1) * STRETCH)


def _own_costs(frames: np.ndarray) -> np.ndarray:
    """Squared distances between different frames (n,D), of one stretch."""
    part = frames[:STRETCH]
    return squared_distances(part, part)[np.triu_indices(len(part), 1)]
