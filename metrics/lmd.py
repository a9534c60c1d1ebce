"""M-LMD and F-LMD: distance between generated and true face landmarks, of the mouth and of the whole face.

The house variant. Each generated face is rotated, scaled and moved onto the true one by its eyes and nose, the region's
own centre is taken off on both sides, and the mean distance over its points (mouth 48 to 67, face all 68) is divided by
the distance of the true outer eye corners; then the mean over the frames that show both faces, and over clips.
Published numbers are in pixels and often without alignment, which makes them distances of head poses:
`dawn_bench.metrics.functional.landmark_distance` has these variants, equal to their implementations.

Against people's votes on lips (900 votes), the side that the centred M-LMD prefers got .63 of them (.58 to .69) where
.74 is possible; without centring .56 (.49 to .64), which is near chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dawn_bench.metrics.features.landmarks import model_note, seen_landmarks
from dawn_bench.metrics.functional.landmark_distance import FACE, MOUTH, frame_distances, seen_in_both
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, by_second, join_notes
from dawn_bench.metrics.scoring.frames import ranges


@dataclass(frozen=True)
class Distances(Part):
    """A clip's mean distance, and the landmark model."""

    model: str = ""


class LandmarkDistance(RatioMetric):
    """Common part of the metrics by landmarks: in eye distances, with the landmark model in the note."""

    group = "sync"
    optional = True
    unit, higher_is_better = "eye distances", False
    needs: ClassVar[tuple[str, ...]] = ("landmarks",)
    shows = ("face", "motion")
    region: ClassVar[slice]

    def measure(self, generated: Arrays, true: Arrays) -> Distances:
        """The clip's mean distance; weight 0 where no frame shows both faces."""
        model, ours = seen_landmarks(generated)
        theirs = seen_landmarks(true)[1]
        both = seen_in_both(ours, theirs)
        values = frame_distances(ours, theirs, region=self.region, align="similarity", scale="outer_eye_corners")
        return Distances(
            float(values.mean()) if len(values) else 0.0,
            1 if len(values) else 0,
            n_frames=len(values),
            n_identical=int((ours == theirs).all(axis=(1, 2)).sum()),
            seconds=by_second(values) if both.all() else (),
            left_out=ranges(np.flatnonzero(~both) + self.protocol.skip_first),
            model=model,
        )

    def fold(self, records: Mapping[str, Distances]) -> Score:  # type: ignore[override]
        """The mean over clips, with the landmark model in the note."""
        score = super().fold(records)
        return replace(score, note=join_notes(score.note, model_note(records.values())))


_DESCRIPTION = (
    "Distance of the {part}'s landmarks to those of the true clip, in distances of the outer eye corners, after faces "
    "are aligned by eyes and nose. {moves} Head pose, framing and the sound do not move it. 0 for the true clip."
)


@METRICS.register("m-lmd")
class MouthDistance(LandmarkDistance):
    """The 20 points of the mouth."""

    name, title, region, order = "m-lmd", "M-LMD", MOUTH, 32
    description = _DESCRIPTION.format(part="mouth", moves="Wrong mouth shapes and wrong timing raise it.")


@METRICS.register("f-lmd")
class FaceDistance(LandmarkDistance):
    """All 68 points."""

    name, title, region, order = "f-lmd", "F-LMD", FACE, 34
    description = _DESCRIPTION.format(part="face", moves="A wrong mouth, jaw, brow or face shape raises it.")
