"""FDD, upper-face dynamics deviation: how much livelier the true upper face is than the generated one (CodeTalker).

Per sequence A(true) - A(generated), A the mean over the upper face's vertices of the spread over time of the squared
distance from the subject's face at rest. Signed, as the canonical code has it: errors of different sign cancel, so the
mean of the absolute differences is in the note. Both meshes are cut to the shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.base import METRICS, Arrays, Part, RatioMetric, Score
from dawn_bench.metrics.meshes import liveliness, region


@METRICS.register("fdd")
class Fdd(RatioMetric):
    """Mean over sequences. Needs the protocol field `mesh_upper` and the true clip's `template`."""

    name, title, unit = "fdd", "FDD", "mesh unit²"
    needs = ("mesh",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        ours, theirs = generated["mesh.vertices"], true["mesh.vertices"]
        if self.protocol.mesh_upper is None:
            raise InputError("FDD needs the upper face's vertex numbers.", mend="Name their file: mesh_upper=FILE")
        if "mesh.template" not in true:
            raise ItemError("no_template", "FDD needs the subject's face at rest, the array `template`")
        upper = region(self.protocol.mesh_upper, n_vertices=theirs.shape[1])
        count, rest = min(len(ours), len(theirs)), true["mesh.template"]
        difference = liveliness(theirs[:count], rest, upper) - liveliness(ours[:count], rest, upper)
        return Part(difference, 1, n_frames=count)

    def fold(self, records: Mapping[str, Part]) -> Score:
        score = super().fold(records)
        sizes = [abs(value) for value in score.per_clip.values() if value is not None]
        return replace(
            score, note="; ".join(filter(None, [score.note, f"mean of |difference| {sum(sizes) / len(sizes):.4e}"]))
        )
