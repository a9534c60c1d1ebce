"""Motion of head and lips as numbers of one clip: amplitude, speed, stability, and confidence of key points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist


class HeadMotion(NamedTuple):
    """THEval's head motion dynamics, and its parts.

    `dynamics` is sqrt(spread * mean(jerkiness) + drift): `spread` is the mean standard deviation of the three angles in
    degrees, `jerkiness` the variance of each angle's step, and the drift the mean variance of the face's centre in
    pixels squared, which makes it depend on the size of the picture. `rotation` leaves the drift out. `speed` is the
    mean length of the step of all three angles, degrees a frame; NaN below two frames.
    """

    dynamics: float
    rotation: float
    jerkiness: tuple[float, ...]
    spread: float
    speed: float


def head_motion(angles: np.ndarray, centres: np.ndarray) -> HeadMotion:
    """THEval's head motion of three angles (T,3) in degrees and the face's centre (T,2) in pixels."""
    angles, centres = angles.astype(np.float64), centres.astype(np.float64)
    steps = np.diff(angles, axis=0)
    spread = float(angles.std(axis=0).mean())
    jerkiness = steps.var(axis=0) if len(steps) else np.zeros(angles.shape[1])
    turning = spread * jerkiness.mean()
    speed = float(np.linalg.norm(steps, axis=1).mean()) if len(steps) else float("nan")
    dynamics = float(np.sqrt(turning + centres.var(axis=0).mean()))
    return HeadMotion(dynamics, float(np.sqrt(turning)), tuple(jerkiness.tolist()), spread, speed)


def lip_dynamics(points: np.ndarray, *, scale: float = 256) -> float:
    """THEval's lip dynamics: the standard deviation over time of every distance between two lip points, mean over them.

    `points` are (T,K,2), normalised to 0..1, and `scale` is the side of the picture in pixels.
    """
    shapes = np.stack([pdist(frame * scale) for frame in points.astype(np.float64)])
    return float(shapes.std(axis=0).mean())


def silent_lips(openings: np.ndarray) -> float:
    """THEval's stability of lips in silence: the median distance of the openings (T,) to their mean."""
    return float(np.median(np.abs(openings - openings.mean())))


class KeypointConfidence(NamedTuple):
    """Confidence and variance of key points (HKC, HKV). Their papers publish no definition; this is the project's own.

    `mean` is over all frames and points, `mean_where_seen` over the frames in which all are seen. `points` is the
    number of points that were certain in two frames or more, `variance` the mean over these of the variance of x plus
    that of y in pixels squared, over the certain frames; NaN without any. `steps` is the mean absolute step of the
    coordinates, NaN with a gap.
    """

    mean: float
    mean_where_seen: float
    points: int
    variance: float
    variance_anyway: float
    steps: float


def keypoint_confidence(points: np.ndarray, confidence: np.ndarray, *, threshold: float = 0.3) -> KeypointConfidence:
    """Confidence and variance of points (T,K,2) in pixels with confidences (T,K); NaN marks missing points.

    `variance_anyway` is that over all frames, whatever the confidence.
    """
    points, confidence = points.astype(np.float64), confidence.astype(np.float64)
    missing = np.isnan(points).any(axis=2)
    certain = (confidence >= threshold) & ~missing
    used = certain.sum(axis=0) >= 2
    whole = ~missing.any(axis=1)
    return KeypointConfidence(
        float(confidence.mean()),
        float(confidence[whole].mean()) if whole.any() else float("nan"),
        int(used.sum()),
        _variance(points, certain, used),
        _variance(points, ~missing, (~missing).sum(axis=0) >= 2),
        float(np.abs(np.diff(points, axis=0)).mean()) if len(points) > 1 else float("nan"),
    )


def _variance(points: np.ndarray, counted: np.ndarray, used: np.ndarray) -> float:
    """The mean over the points `used` of the variance of x plus that of y over the frames that are counted."""
    variances = [points[counted[:, k], k].var(axis=0).sum() for k in np.flatnonzero(used)]
    return float(np.mean(variances)) if variances else float("nan")
