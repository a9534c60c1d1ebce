"""FDD, upper-face dynamics deviation: how much more the true upper face moves than the generated one (CodeTalker).

Per sequence A(true) - A(generated), where A is the mean over the upper-face vertices of the standard deviation over
time of the squared distance from the subject's neutral face. Signed, as in the canonical code: errors of opposite sign
cancel, so the note gives the mean of the absolute differences. Both meshes are cut to the length of the shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.metrics.functional.meshes import chosen_region, liveliness
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes


@METRICS.register("fdd")
class Fdd(RatioMetric):
    """Mean over sequences. The upper face is that of the protocol field `mesh_upper`, else the dataset's own."""

    group = "motion"
    name, title, unit, target, order = "fdd", "FDD", "mesh unit²", "zero", 160
    description = (
        "Upper-face dynamics deviation: variation over time of the true upper face minus that of the generated one."
    )
    needs = ("mesh", "meshrest", "meshupper")

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's signed difference, with weight 1."""
        ours, theirs = generated["mesh"], true["mesh"]
        upper = chosen_region(true, "meshupper", self.protocol.mesh_upper, what="upper face")
        count = min(len(ours), len(theirs))
        variation = liveliness(theirs[:count], true["meshrest"][0], upper)
        difference = variation - liveliness(ours[:count], generated["meshrest"][0], upper)
        return Part(difference, 1, n_frames=count)

    def fold(self, records: Mapping[str, Part]) -> Score:
        """The mean over sequences, with the mean absolute difference in the note."""
        score = super().fold(records)
        sizes = [abs(value) for value in score.per_clip.values() if value is not None]
        return replace(score, note=join_notes(score.note, f"mean of |difference| {sum(sizes) / len(sizes):.4e}"))
