"""Head pose in every frame, from the 68 points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.features.landmarks import landmarks_of
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature
from dawn_bench.pipelines.extractors.pose import FRAME_FIT, fit_pose
from dawn_bench.pipelines.faces.base import pick_backend


@FEATURES.register("headpose")
class HeadPose(Feature):
    """`headpose` float32 (T,7): yaw, pitch, roll in degrees, scale, tx, ty, tz in the frame (`fit_pose`)."""

    name, fields, version = "headpose", ("frames",), 1
    after = ("landmarks",)

    def settings(self) -> Mapping[str, Any]:
        """The face back end and the pose fit."""
        return {"faces": pick_backend().fingerprint(), "pose": FRAME_FIT}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The pose of every frame."""
        return {self.name: fit_pose(landmarks_of(given)[1], size=clip["frames"].shape[1])}
