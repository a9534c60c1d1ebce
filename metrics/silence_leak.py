"""Silence leak: how much the lips move when the method is driven by silence.

Each method that is driven by sound generates every clip once more with silence in place of the speech. A clip's leak is
the standard deviation over time of the mouth's opening (the gap between the inner lips over the width of the face) in
that output, over that of the true, speaking clip; the score is the sum of the first over the sum of the second, over
the clips. 0: the lips rest. 1: they move as much as in speech. Lips that rest open do not count. Landmarks tremble a
little while a head moves, so the true clips' own noise keeps the score of a perfect method above 0.

`compute_metrics` takes the generated clips that it is given as those of silence. In an evaluation the score is
undefined for methods that take no sound, and for outputs that a user supplies. The definition is this project's own:
papers that report a leak publish no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_bench.metrics.features.landmarks import model_note, seen_opening
from dawn_bench.metrics.functional.av_offset import CONSTANT, STILL
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes, reasons
from dawn_bench.metrics.scoring.frames import ranges


@dataclass(frozen=True)
class Leak(Part):
    """A clip's two standard deviations, the landmark model, and why it is undefined."""

    model: str = ""
    why: str = ""


@METRICS.register("silence-leak")
class SilenceLeak(RatioMetric):
    """The lips' motion in silence over that of the true clips in speech."""

    name, title, higher_is_better, order = "silence-leak", "Silence leak", False, 39
    group = "sync"
    optional = True
    driven_by = "silence"
    description = (
        "Lip motion when the method is driven by silence, as a share of that of the true, speaking clips. Lips that "
        "move without sound raise it; head motion, blinks and the picture's quality hardly do, and how well lips "
        "follow speech does not. A still picture gives 0, so it is not ranked."
    )
    needs = ("landmarks", "repeated")
    interval = "all lip motion in silence over all true lip motion; 95 % bootstrap interval over clips"
    shows = ("motion",)

    def measure(self, generated: Arrays, true: Arrays) -> Leak:
        """Both deviations; weight 0 where the true lips rest or either face is never seen."""
        model, ours = seen_opening(generated)
        theirs = seen_opening(true)[1]
        both = np.isfinite(ours) & np.isfinite(theirs)
        speech = float(theirs[both].std()) if both.any() else 0.0
        lost = ranges(np.flatnonzero(~both) + self.protocol.skip_first)
        if speech < STILL:
            why = "the true lips rest" if both.sum() > 1 else "both faces in fewer than 2 frames"
            return Leak(0.0, 0, int(both.sum()), left_out=lost, model=model, why=why)
        motion = float(ours[both].std())
        # the mean of equal numbers is off by their last bit
        return Leak(motion if motion >= CONSTANT else 0.0, speech, int(both.sum()), left_out=lost, model=model)

    def fold(self, records: Mapping[str, Leak]) -> Score:  # type: ignore[override]
        """The ratio over all clips, with the landmark model in the note."""
        score = super().fold(records)
        why = reasons(r.why for r in records.values())
        return replace(score, note=join_notes(score.note, why, model_note(records.values())))
