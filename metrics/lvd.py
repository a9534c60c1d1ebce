"""M-LVD and F-LVD: distance between the velocities of generated and true face landmarks, of the mouth and of the face.

Points are those of M-LMD and F-LMD: faces aligned by eyes and nose, regions without their own centre, in distances of
the true outer eye corners. Their steps from one frame to the next are compared, where both frames show both faces;
means over points, frames, then clips. In eye distances a frame of 1/25 s. Papers print pixels without alignment
(`dawn_bench.metrics.functional.landmark_distance.velocity_distance`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dawn_bench.metrics.features.landmarks import seen_landmarks
from dawn_bench.metrics.functional.landmark_distance import FACE, MOUTH, in_eye_distances
from dawn_bench.metrics.lmd import Distances, LandmarkDistance
from dawn_bench.metrics.scoring.base import METRICS, Arrays
from dawn_bench.metrics.scoring.frames import ranges


class _Lvd(LandmarkDistance):
    unit = "eye distances/frame"
    region: ClassVar[slice]

    def measure(self, generated: Arrays, true: Arrays) -> Distances:
        """The clip's mean distance; weight 0 where no two successive frames show both faces."""
        model, ours = seen_landmarks(generated)
        both = in_eye_distances(ours, seen_landmarks(true)[1], region=self.region)
        steps = np.diff(both[0], axis=0) - np.diff(both[1], axis=0)
        values = np.linalg.norm(steps, axis=2).mean(axis=1)
        counted = np.isfinite(values)
        lost = np.flatnonzero(np.isnan(both[0]).any(axis=(1, 2))) + self.protocol.skip_first
        return Distances(
            float(values[counted].mean()) if counted.any() else 0.0,
            1 if counted.any() else 0,
            n_frames=len(ours) - len(lost),
            left_out=ranges(lost),
            model=model,
        )


_DESCRIPTION = (
    "Distance between the steps of the {part}'s landmarks from frame to frame and those of the true clip, in distances "
    "of the outer eye corners, after faces are aligned by eyes and nose. {moves} A wrong shape that does not change "
    "does not move it. A still mouth can score better than one that moves at the wrong times. 0 for the true clip."
)


@METRICS.register("m-lvd")
class MouthVelocity(_Lvd):
    """The 20 points of the mouth."""

    name, title, region, order = "m-lvd", "M-LVD", MOUTH, 33
    description = _DESCRIPTION.format(part="mouth", moves="Wrong timing, wrong speed and trembling raise it.")


@METRICS.register("f-lvd")
class FaceVelocity(_Lvd):
    """All 68 points."""

    name, title, region, order = "f-lvd", "F-LVD", FACE, 35
    description = _DESCRIPTION.format(part="face", moves="Wrong motion of mouth, jaw or brows and trembling raise it.")
