"""How pictures and points move from frame to frame: flicker, smoothness, and the distance of motion histograms.

Flicker and smoothness alone reward stillness: a still picture has the best value of each. As metrics they are compared
with the true clip's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dawn_bench.metrics.functional.frechet import frechet


@dataclass(frozen=True)
class Changes:
    """What changes between successive frames, in grey levels: `absolute` and `squared` means float64 (T-1,) of pairs.

    `brightness` float64 (T,) is the frames' mean, `frozen` the number of pairs of equal frames. Means over no pair are
    NaN.
    """

    absolute: np.ndarray
    squared: np.ndarray
    brightness: np.ndarray
    frozen: int

    @property
    def mean(self) -> float:
        """The mean absolute difference."""
        return _mean(self.absolute)

    @property
    def rms(self) -> float:
        """The root of the mean squared difference."""
        return float(np.sqrt(_mean(self.squared)))

    @property
    def temporal_flickering(self) -> float:
        """VBench's score, 0 to 1; 1 for a still picture."""
        return (255 - self.mean) / 255

    @property
    def brightness_flicker(self) -> float:
        """The standard deviation of the steps of the brightness."""
        steps = np.diff(self.brightness)
        return float(steps.std()) if len(steps) else float("nan")


def changes(frames: np.ndarray) -> Changes:
    """Differences of successive frames uint8 (T,H,W,3)."""
    pairs = [_step(a, b) for a, b in pairwise(frames)]
    return Changes(
        np.array([np.abs(d).mean(dtype=np.float64) for d in pairs]),
        np.array([np.square(d, dtype=np.int32).mean(dtype=np.float64) for d in pairs]),
        np.array([frame.mean(dtype=np.float64) for frame in frames]),
        sum(not d.any() for d in pairs),
    )


def second_difference(frames: np.ndarray) -> float:
    """The mean of |x[t+1] - 2x[t] + x[t-1]| of frames uint8 (T,H,W,3) in grey levels; NaN below 3 frames."""
    steps = [_step(a, b) for a, b in pairwise(frames)]
    return _mean(np.array([np.abs(b - a).mean(dtype=np.float64) for a, b in pairwise(steps)]))


def smoothness(frames: np.ndarray, *, every: bool = False) -> float:
    """(255 - e)/255 with e the mean error of predicting a frame by the mean of both neighbours; NaN below 3 frames.

    VBench's rule predicts frames 1, 3, 5 and so on, rounded half to even; its network is replaced by the mean.
    `every`: all inner frames, without rounding.
    """
    errors = []
    for t in range(1, len(frames) - 1, 1 if every else 2):
        middle = (frames[t - 1].astype(np.float64) + frames[t + 1]) / 2
        errors.append(np.abs(frames[t] - (middle if every else np.round(middle))).mean())
    return (255 - _mean(np.array(errors))) / 255


class Speeds(NamedTuple):
    """Mean lengths of the first, second and third differences of points, in their unit per frame, frame² and frame³."""

    velocity: float
    acceleration: float
    jerk: float


def point_speeds(points: np.ndarray) -> Speeds:
    """Mean lengths of the differences of points (T,K,2) over time; NaN where there are too few frames."""
    points = points.astype(np.float64)
    return Speeds(*(_mean(np.linalg.norm(np.diff(points, n=order, axis=0), axis=2)) for order in (1, 2, 3)))


class MotionHistograms(NamedTuple):
    """Histograms of directions float64 (B,S,R,C,8) by time and place: of velocities, and of their changes."""

    velocity: np.ndarray
    acceleration: np.ndarray


def motion_histograms(tracks: np.ndarray, *, cell: int = 5, frames: int = 4, bins: int = 8) -> MotionHistograms:
    """FVMD's histograms of tracks (B,T,N,2) of a square grid of N points.

    A cell has `cell` x `cell` points and `frames` frames. Each vector counts in the bin of its direction with the
    rounded-up binary logarithm of its length plus one, over 8. The first velocity and acceleration are 0.
    """
    velocity = np.diff(tracks.astype(np.float64), axis=1, prepend=tracks[:, :1])
    acceleration = np.diff(velocity, axis=1, prepend=velocity[:, :1])
    return MotionHistograms(*(_histogram(v, cell=cell, frames=frames, bins=bins) for v in (velocity, acceleration)))


def motion_distance(one: np.ndarray, two: np.ndarray, *, offset: float = 0.0) -> float:
    """The Fréchet distance of histograms (B,...) and (C,...).

    FVMD's package adds an `offset` of 1e-5 to the diagonals of both covariances inside the root alone.
    """
    x, y = (side.reshape(len(side), -1).astype(np.float64) for side in (one, two))
    if not offset:
        return frechet(x, y)
    covariances = [np.cov(side, rowvar=False) for side in (x, y)]
    root = _root(covariances[0] + offset * np.eye(x.shape[1]))
    inner = root @ (covariances[1] + offset * np.eye(x.shape[1])) @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0)).sum()
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared
    return float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + spread)


def _histogram(vectors: np.ndarray, *, cell: int, frames: int, bins: int) -> np.ndarray:
    clips, length, count, _ = vectors.shape
    side = round(count**0.5)
    steps, cells = length // frames, side // cell
    grid = vectors.reshape(clips, length, side, side, 2)[:, : steps * frames, : cells * cell, : cells * cell]
    grid = grid.reshape(clips, steps, frames, cells, cell, cells, cell, 2)
    angle = np.arctan2(grid[..., 0], grid[..., 1]) + np.pi
    number = np.clip(angle // (2 * np.pi / bins), 0, bins - 1).astype(int)
    weight = np.ceil(np.log2(np.clip(np.linalg.norm(grid, axis=-1), 0, 255) + 1)) / 8
    return np.stack([np.where(number == k, weight, 0).sum(axis=(2, 4, 6)) for k in range(bins)], axis=-1)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return b.astype(np.int16) - a


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
