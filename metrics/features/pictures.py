"""Whether a clip's pictures change and show a face, at a few moments: what some metrics need to mean anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.features.landmarks import face_needs
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, TARGET, Arrays, Feature
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.choice import nearest
from dawn_bench.pipelines.faces.repeated import once_per_picture
from dawn_bench.weights import Policy
from dawn_bench.weights_needs import Needs

#: Moments at which a clip is looked at, evenly spaced from its first frame to its last.
MOMENTS = 12
#: Side to which frames are reduced before they are compared: noise of single pixels averages out.
SIDE = 64
#: Share of the picture that must change: a closed mouth that opens is larger.
MOVING_SHARE = 0.005


@FEATURES.register("pictures")
class Pictures(Feature):
    """`pictures.motion` float64 (1,), `pictures.face` bool (n,): motion in grey levels, a face at each moment.

    Where the index tells of several faces in the true clip, only the one that is meant counts.
    The motion is the standard deviation over time of the pixels of the frames in grey, 64 px and without their mean,
    such that 0.5 % of the pixels deviate more, less what noise of the median pixel would give. A still picture has 0,
    also with noise of its own in every frame, and below 1 where it was encoded.
    """

    name, fields, version = "pictures", ("frames",), 2
    follows = "index"

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.backend = pick_backend()

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The files of the face back end."""
        return face_needs()

    def settings(self) -> Mapping[str, Any]:
        """The face back end."""
        return {"faces": self.backend.fingerprint()}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Motion and faces at the moments."""
        frames = clip["frames"]
        at = np.unique(np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int))
        chosen = [np.ascontiguousarray(frames[t]) for t in at]
        backend = once_per_picture(self.backend)
        faces = [_shown(backend.detect(frame), given, t) for t, frame in zip(at, chosen, strict=True)]
        return {"pictures.motion": np.array([motion(chosen)]), "pictures.face": np.array(faces)}


def _shown(boxes: np.ndarray, given: Arrays, t: int) -> bool:
    """Whether the face that is meant is among boxes (n,4) of frame `t`; any face where the clip is about one."""
    return bool(len(boxes)) if TARGET not in given else nearest(boxes, given[TARGET][t]) is not None


def motion(frames: list[np.ndarray]) -> float:
    """How much uint8 frames (H,W,3) differ from one another, in grey levels; see `Pictures`."""
    small = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        for f in frames
    ]
    from scipy.stats import chi2

    level = np.stack([f - f.mean() for f in small])
    if len(level) < 2:
        return 0.0
    variance = level.var(axis=0)
    # Noise has the same variance everywhere; its estimates from n frames spread as chi-square with n - 1 degrees.
    spread = chi2.ppf(1 - MOVING_SHARE, len(level) - 1) / chi2.median(len(level) - 1)
    return float(np.sqrt(max(0.0, np.quantile(variance, 1 - MOVING_SHARE) - spread * np.median(variance))))
