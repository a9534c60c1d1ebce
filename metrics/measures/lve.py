"""LVE, lip vertex error: the largest squared distance over the lip's vertices, mean over all frames (CodeTalker).

In squared units of the mesh, no root. Frames count equally, as in CodeTalker; the mean over sequences, as in
DiffSpeaker, is in the note. Both meshes are cut to the shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.errors import ItemError
from dawn_bench.metrics.base import METRICS, Arrays, Part, RatioMetric, Score
from dawn_bench.metrics.meshes import lip_errors, region


@METRICS.register("lve")
class Lve(RatioMetric):
    """Mean over frames. Needs the protocol field `mesh_lips`."""

    name, title, unit, higher_is_better = "lve", "LVE", "mesh unit²", False
    needs = ("mesh",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        ours, theirs = generated["mesh"], true["mesh"]
        if self.protocol.mesh_lips is None:
            raise ItemError(
                "no_region", "LVE needs the lips' vertex numbers: set the protocol field mesh_lips to their file"
            )
        lips = region(self.protocol.mesh_lips, n_vertices=theirs.shape[1])
        count = min(len(ours), len(theirs))
        errors = lip_errors(ours[:count], theirs[:count], lips)
        return Part(float(errors.sum(dtype=float)), count, n_frames=count)

    def fold(self, records: Mapping[str, Part]) -> Score:
        score = super().fold(records)
        means = [value for value in score.per_clip.values() if value is not None]
        return replace(
            score, note="; ".join(filter(None, [score.note, f"mean over sequences {sum(means) / len(means):.4e}"]))
        )
