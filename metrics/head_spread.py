"""Head spread: does the head move as far as that of the true clip?

A clip's spread is the root mean square distance of the points of a rigid head from their own mean position over time,
under the pose estimated in each frame, divided by the mean distance of the head's outer eye corners. It covers turning,
tilting and moving, not the mouth, and does not depend on the size of the picture. The score is the absolute difference
between the spreads of the generated and of the true clip, mean over clips; the note has both means.

Against people's votes on head motion (900 votes), differences of this kind (of the spread of the head's position) got
.84 of them where .87 is possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_bench.metrics.bas import head_points
from dawn_bench.metrics.features.landmarks import FOUND
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes, reasons
from dawn_bench.metrics.scoring.frames import ALL, ranges

#: Outer corners of the eyes (iBUG 68).
_EYES = 36, 45


@dataclass(frozen=True)
class Spreads(Part):
    """A clip's difference, both spreads, and why it is undefined."""

    generated: float = 0.0
    true: float = 0.0
    why: str = ""


@METRICS.register("head-spread")
class HeadSpread(RatioMetric):
    """Mean over clips of the difference, in eye distances."""

    name, title, unit, higher_is_better, order = "head-spread", "Head spread", "eye distances", False, 78
    group = "motion"
    optional = True
    description = (
        "How much less or more the head moves than in the true clip: the difference between the spreads of its "
        "position over time. A stiff head and a restless one raise it; when the head moves, the mouth and the picture "
        "do not. 0 for the true clip."
    )
    needs = ("headpose", "landmarks")
    shows = ("face", "motion")

    def measure(self, generated: Arrays, true: Arrays) -> Spreads:
        """The clip's difference over the frames that show both faces; weight 0 below two."""
        seen = np.logical_and(*(side.get(FOUND, np.ones(len(side["headpose"]), bool)) for side in (generated, true)))
        if seen.sum() < 2:
            return Spreads(0.0, 0, n_frames=int(seen.sum()), left_out=ALL, why="both faces in fewer than 2 frames")
        ours, theirs = spread(generated["headpose"][seen]), spread(true["headpose"][seen])
        lost = ranges(np.flatnonzero(~seen) + self.protocol.skip_first)
        return Spreads(abs(ours - theirs), 1, int(seen.sum()), left_out=lost, generated=ours, true=theirs)

    def fold(self, records: Mapping[str, Spreads]) -> Score:  # type: ignore[override]
        """The mean over clips, with both mean spreads in the note."""
        score, used = super().fold(records), [r for r in records.values() if r.weight > 0]
        if not used:
            return replace(score, note=join_notes(score.note, reasons(r.why for r in records.values())))
        ours, theirs = (np.mean([getattr(r, side) for r in used]) for side in ("generated", "true"))
        both = f"spread {ours:.3f}, of the true clips {theirs:.3f}"
        return replace(score, note=join_notes(score.note, reasons(r.why for r in records.values()), both))


def spread(pose: np.ndarray) -> float:
    """The spread of a head under pose (T,7) in distances of its outer eye corners; see the module."""
    points = head_points(pose.astype(np.float64))[..., :2]
    size = np.linalg.norm(points[:, _EYES[0]] - points[:, _EYES[1]], axis=1).mean()
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=2).mean()) / size)
