"""MVE, mean vertex error: the mean distance over all vertices and frames (FaceDiffuser), in units of the mesh."""

from __future__ import annotations

from dawn_bench.metrics.functional.meshes import vertex_errors
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric


@METRICS.register("mve")
class Mve(RatioMetric):
    """Mean over frames; both meshes are cut to the length of the shorter one."""

    group = "motion"
    name, title, unit, higher_is_better, order = "mve", "MVE", "mesh unit", False, 170
    description = "Mean vertex error over the whole face."
    interval = "mean over frames; 95 % bootstrap interval over clips"
    needs = ("mesh",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's summed error, with its frames as weight."""
        ours, theirs = generated["mesh"], true["mesh"]
        count = min(len(ours), len(theirs))
        errors = vertex_errors(ours[:count], theirs[:count])
        return Part(float(errors.sum(dtype=float)), count, n_frames=count)
