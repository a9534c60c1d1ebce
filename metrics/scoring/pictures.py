"""Withholds a rank where blank or static output could win a metric.

White frames are as bad at the end as at the start (DR 0), never blink, and have no head that moves. A score of a metric
that states what pictures must show (`Metric.shows`) is not ranked

* `face`: where more than 20 % of the moments at which the true clips show a face show none;
* `motion`: where more than 20 % of the clips do not change although their true clips do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from dawn_bench.metrics.scoring.base import Arrays, Metric, Score
from dawn_bench.text import counted

#: Largest share of moments without a face, and of clips without motion.
SHARE = 0.2
#: Grey levels (`dawn_bench.metrics.features.pictures`) below which a clip is a still picture.
STILL = 1.5


class Shown(NamedTuple):
    """One clip: moments with a face in the true clip, those of them without one in the output, and stillness."""

    faces: int
    missed: int
    still: bool
    n_frames: int


class Pictures(Metric):
    """What the outputs show. It is not registered: it gives no score of its own."""

    name, title = "pictures", "Pictures"
    needs = ("pictures",)

    def measure(self, generated: Arrays, true: Arrays) -> Shown:
        """Faces and motion of the output, where the true clip has them."""
        ours, theirs = generated["pictures.face"], true["pictures.face"]
        still = generated["pictures.motion"][0] < STILL <= true["pictures.motion"][0]
        return Shown(int(theirs.sum()), int((theirs & ~ours).sum()), bool(still), len(ours))

    def fold(self, records: Mapping[str, Shown]) -> Score:
        """The share of moments without a face; for completeness."""
        faces, missed = (sum(getattr(r, k) for r in records.values()) for k in ("faces", "missed"))
        return Score(
            missed / faces if faces else 0.0, None, None, len(records), sum(r.n_frames for r in records.values())
        )

    def objection(self, shows: Collection[str]) -> str:
        """Why a metric with this `Metric.shows` is not ranked; an empty string where it is."""
        records: list[Shown] = list(self.records.values())
        if not records:
            return ""
        faces, missed = sum(r.faces for r in records), sum(r.missed for r in records)
        if "face" in shows and faces and missed / faces > SHARE:
            return f"no face in {missed / faces:.0%} of the frames"
        still = sum(r.still for r in records)
        if "motion" in shows and still / len(records) > SHARE:
            return f"the pictures do not change in {still} of {counted(len(records), 'clip')}"
        return ""
