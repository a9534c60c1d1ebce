"""APD: average pose distance, between the head's angles in the generated and in the true frame.

The mean absolute difference of yaw, pitch and roll in degrees, each the short way around; mean over the frames that
show both faces, then over clips. No paper that prints an APD publishes its code; this is the form that they describe
most often, and `dawn_bench.metrics.functional.track_distance.pose_distance` has the others. Angles come from a fit to
68 landmarks: compare with the true clips re-encoded, not with other papers' numbers.
"""

from __future__ import annotations

import numpy as np

from dawn_bench.metrics.features.landmarks import FOUND
from dawn_bench.metrics.functional.track_distance import angle_differences
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second
from dawn_bench.metrics.scoring.frames import ranges


@METRICS.register("apd")
class PoseDistance(RatioMetric):
    """Mean over clips of the mean over frames, in degrees."""

    name, title, unit, higher_is_better, order = "apd", "APD", "degrees", False, 79
    group = "motion"
    optional = True
    needs = ("headpose", "landmarks")
    shows = ("face", "motion")
    description = (
        "Mean absolute difference of the head's yaw, pitch and roll from those of the true frame. A head that moves "
        "otherwise than the true one raises it, also where it moves as naturally; lips, picture and sound do not. It "
        "means something where a method is given the true head motion. 0 for the true clip."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's mean; weight 0 where no frame shows both faces."""
        seen = np.logical_and(*(side.get(FOUND, np.ones(len(side["headpose"]), bool)) for side in (generated, true)))
        if not seen.any():
            return Part(0.0, 0, 0)
        values = np.abs(angle_differences(generated["headpose"][:, :3], true["headpose"][:, :3])).mean(axis=1)
        return Part(
            float(values[seen].mean()),
            1,
            int(seen.sum()),
            seconds=by_second(values) if seen.all() else (),
            left_out=ranges(np.flatnonzero(~seen) + self.protocol.skip_first),
        )
