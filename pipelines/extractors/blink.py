"""Eye openness, left and right: the eye aspect ratio (EAR) of Soukupová and Čech 2016, or DAWN's ratio.

EAR is the mean distance of two pairs of lid points over the distance of the eye's corners. DAWN's released code takes
one pair, beside the nose of the left eye and at the temple of the right (points 43 and 47, 37 and 41), of 3-D landmarks
of 3DDFA_V2; here it is taken of the cached landmarks. Its released weights were trained on that ratio.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dawn_bench.pipelines.extractors.base import BLINK, EXTRACTORS, Extractor

#: iBUG points of each eye (left and right from the person's view): one corner, two on the upper lid, the other corner,
#: two on the lower lid.
_LEFT, _RIGHT = (42, 43, 44, 45, 46, 47), (36, 37, 38, 39, 40, 41)


@EXTRACTORS.register("blink")
class Blink(Extractor):
    """`blink` float32 (T,2): left and right EAR, about 0.3 open, below 0.2 shut; unreliable for faces below 60 px."""

    name = "blink"
    needs = ("landmarks",)
    kind = BLINK
    convention = "two pairs of lid points over the corners, left and right"

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return "blink-1"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`blink` (T,2) from `landmarks` (T,68,2)."""
        return {"blink": eye_aspect_ratio(arrays["landmarks"])}


@EXTRACTORS.register("blink-one-pair")
class BlinkOnePair(Extractor):
    """`blink` float32 (T,2): DAWN's ratio, left and right, about 0.3 open; see `reference_eye_ratio`."""

    name = "blink-one-pair"
    needs = ("landmarks",)
    kind = BLINK
    convention = "one pair of lid points over the corners, left and right"

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return "blink-one-pair-1"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`blink` (T,2) from `landmarks` (T,68,2)."""
        return {"blink": reference_eye_ratio(arrays["landmarks"])}


def eye_aspect_ratio(landmarks: np.ndarray) -> np.ndarray:
    """EAR float32 (T,2), left then right, of landmarks (T,68,2 or 3): mean lid distance over corner distance."""
    sides = []
    for outer, up0, up1, inner, low1, low0 in (_LEFT, _RIGHT):
        lids = _distance(landmarks, up0, low0) + _distance(landmarks, up1, low1)
        sides.append(lids / (2 * _distance(landmarks, outer, inner)))
    return np.stack(sides, axis=-1).astype(np.float32)


def reference_eye_ratio(landmarks: np.ndarray) -> np.ndarray:
    """DAWN's ratio, float32 (T,2), left then right, of landmarks (T,68,2 or 3): one lid pair instead of two."""
    left = _distance(landmarks, 43, 47) / _distance(landmarks, 42, 45)
    right = _distance(landmarks, 37, 41) / _distance(landmarks, 36, 39)
    return np.stack([left, right], axis=-1).astype(np.float32)


def _distance(landmarks: np.ndarray, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(np.asarray(landmarks[:, a] - landmarks[:, b], np.float64), axis=-1)
