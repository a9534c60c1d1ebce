"""Mouth correlation: does the mouth open when that of the true clip does?

Pearson's correlation over time between the opening of the generated and of the true mouth (the gap between the inner
lips over the width of the face), over the frames in which both show a face; then the mean over clips. A mouth that
never moves scores 0. Undefined where fewer than 25 frames show both faces, or the true mouth does not move.

Of 26 measures compared with people's votes on lips (40 videos of 4 methods, 900 votes), this one agreed best: the side
that it prefers got .65 of the votes (95 % interval .59 to .72), where .74 is possible and .5 is chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dawn_bench.metrics.features.landmarks import model_note, seen_opening
from dawn_bench.metrics.functional.av_offset import MIN_PAIRS, STILL
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes, reasons
from dawn_bench.metrics.scoring.frames import ranges
from dawn_bench.training.mouth import correlation

#: Why a clip is undefined of which too little is seen.
FEW = f"both faces in fewer than {MIN_PAIRS} frames"


@dataclass(frozen=True)
class Mouths(Part):
    """A clip's correlation, both openings (T,), the landmark model, and why it is undefined."""

    generated: np.ndarray = field(default_factory=lambda: np.zeros(0))
    true: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = ""
    why: str = ""


@METRICS.register("mouth-corr")
class MouthCorr(RatioMetric):
    """Mean over clips of the clip's correlation, -1..1; the note has that with the mouths of other clips."""

    name, title, higher_is_better, order = "mouth-corr", "Mouth corr.", True, 30
    group = "sync"
    optional = True
    description = (
        "Correlation over time of the mouth's opening with that of the true clip, by face landmarks. Late, absent or "
        "wrong lip motion lowers it; how wide the mouth opens, the picture's quality and the sound do not move it. "
        "1 for the true clip, 0 for a still mouth or that of somebody who says something else."
    )
    needs = ("landmarks", "repeated")
    shows = ("face", "motion")

    def measure(self, generated: Arrays, true: Arrays) -> Mouths:
        """The clip's correlation; weight 0 where it is undefined."""
        model, ours = seen_opening(generated)
        theirs = seen_opening(true)[1]
        both = np.isfinite(ours) & np.isfinite(theirs)
        short = both.sum() < MIN_PAIRS
        defined = not short and theirs[both].std() >= STILL
        return Mouths(
            correlation(ours, theirs) if defined else 0.0,
            1 if defined else 0,
            n_frames=int(both.sum()),
            n_identical=int((ours == theirs).sum()),
            left_out=ranges(np.flatnonzero(~both) + self.protocol.skip_first),
            generated=ours,
            true=theirs,
            model=model,
            why="" if defined else FEW if short else "the true mouth rests",
        )

    def fold(self, records: Mapping[str, Mouths]) -> Score:  # type: ignore[override]
        """The mean over clips, with the level of chance and the landmark model in the note."""
        score = super().fold(records)
        used = [r for r in records.values() if r.weight > 0]
        chance = ""
        if len(used) > 1:
            level = np.mean([_with_other(r.generated, used[k - 1].true) for k, r in enumerate(used)])
            chance = f"{level:.3f} with the true mouths of other clips"
        why = reasons(r.why for r in records.values())
        return replace(score, note=join_notes(score.note, why, chance, model_note(records.values())))


def _with_other(ours: np.ndarray, other: np.ndarray) -> float:
    count = min(len(ours), len(other))
    return correlation(ours[:count], other[:count])
