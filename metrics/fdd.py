"""FDD, upper-face dynamics deviation: how much livelier the true upper face is than the generated one (CodeTalker).

Per sequence A(true) - A(generated), A the mean over the upper face's vertices of the spread over time of the squared
distance from the subject's face at rest. Signed, as the canonical code has it: errors of different sign cancel, so the
mean of the absolute differences is in the note. Both meshes are cut to the shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.metrics.functional.meshes import chosen_region, liveliness
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score


@METRICS.register("fdd")
class Fdd(RatioMetric):
    """Mean over sequences. The upper face is that of the protocol field `mesh_upper`, else the dataset's own."""

    name, title, unit = "fdd", "FDD", "mesh unit²"
    needs = ("mesh", "meshrest", "meshupper")

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        ours, theirs = generated["mesh"], true["mesh"]
        upper = chosen_region(true, "meshupper", self.protocol.mesh_upper, what="upper face")
        count = min(len(ours), len(theirs))
        lively = liveliness(theirs[:count], true["meshrest"][0], upper)
        difference = lively - liveliness(ours[:count], generated["meshrest"][0], upper)
        return Part(difference, 1, n_frames=count)

    def fold(self, records: Mapping[str, Part]) -> Score:
        score = super().fold(records)
        sizes = [abs(value) for value in score.per_clip.values() if value is not None]
        return replace(
            score, note="; ".join(filter(None, [score.note, f"mean of |difference| {sum(sizes) / len(sizes):.4e}"]))
        )
