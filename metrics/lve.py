"""LVE, lip vertex error: the largest squared distance over the lip vertices, mean over all frames (CodeTalker).

In squared units of the mesh, without a root. Frames count equally, as in CodeTalker; the note gives the mean over
sequences, as in DiffSpeaker. Both meshes are cut to the length of the shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.metrics.functional.meshes import chosen_region, lip_errors
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes


@METRICS.register("lve")
class Lve(RatioMetric):
    """Mean over frames. The lips are those of the protocol field `mesh_lips`, else the dataset's own."""

    group = "sync"
    name, title, unit, higher_is_better, order = "lve", "LVE", "mesh unit²", False, 150
    description = "Lip vertex error: the largest squared error over the lip vertices, mean over frames."
    interval = "mean over frames; 95 % bootstrap interval over clips"
    needs = ("mesh", "meshlips")

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's summed error, with its frames as weight."""
        ours, theirs = generated["mesh"], true["mesh"]
        lips = chosen_region(true, "meshlips", self.protocol.mesh_lips, what="lips")
        count = min(len(ours), len(theirs))
        errors = lip_errors(ours[:count], theirs[:count], lips)
        return Part(float(errors.sum(dtype=float)), count, n_frames=count)

    def fold(self, records: Mapping[str, Part]) -> Score:
        """The mean over frames, with the mean over sequences in the note."""
        score = super().fold(records)
        means = [value for value in score.per_clip.values() if value is not None]
        return replace(score, note=join_notes(score.note, f"mean over sequences {sum(means) / len(means):.4e}"))
