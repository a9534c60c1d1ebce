"""Flicker gap: do the pictures change from frame to frame as much as those of the true clip?

A clip's flicker is the mean absolute difference of successive frames in grey levels; VBench's temporal flickering is
1 - flicker / 255. Alone it rewards stillness: people's votes on head motion went the other way in 80 % of the cases.
The score is the absolute difference between the flicker of the generated and of the true clip, mean over clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes


@dataclass(frozen=True)
class Flicker(Part):
    """A clip's difference, and both flickers."""

    generated: float = 0.0
    true: float = 0.0


@METRICS.register("flicker-gap")
class FlickerGap(RatioMetric):
    """Mean over clips of the difference, in grey levels."""

    name, title, unit, higher_is_better, order = "flicker-gap", "Flicker gap", "grey levels", False, 144
    optional = True
    needs = ("levels",)
    description = (
        "How much less or more the pictures change from frame to frame than those of the true clip. A still picture, "
        "flicker and noise raise it; a steady wrong picture, wrong lips and the sound do not. 0 for the true clip."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Flicker:
        """The clip's difference; weight 0 for a single frame."""
        ours, theirs = (side["levels.change"][1:] for side in (generated, true))
        if min(len(ours), len(theirs)) == 0:
            return Flicker(0.0, 0, 0)
        gap = abs(float(ours.mean() - theirs.mean()))
        return Flicker(gap, 1, len(ours) + 1, generated=float(ours.mean()), true=float(theirs.mean()))

    def fold(self, records: Mapping[str, Flicker]) -> Score:  # type: ignore[override]
        """The mean over clips, with both mean flickers in the note."""
        score, used = super().fold(records), [r for r in records.values() if r.weight > 0]
        if not used:
            return score
        ours, theirs = np.mean([r.generated for r in used]), np.mean([r.true for r in used])
        return replace(score, note=join_notes(score.note, f"flicker {ours:.3f}, of the true clips {theirs:.3f}"))
