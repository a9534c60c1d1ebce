"""Landmarks and poses of a face whose mouth and head move as stated, and the score of one clip."""

from __future__ import annotations

import numpy as np

from dawn_bench.pipelines.extractors.head import HEAD


def face(opening: np.ndarray, *, turn: float = 0.0, size: float = 1.0) -> dict[str, np.ndarray]:
    """Landmark arrays of a face 100 px wide whose inner lips are `opening` (T,) face widths apart."""
    points = np.tile(HEAD[:, :2] / 1400 * [1, -1], (len(opening), 1, 1))
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        middle = (points[:, upper] + points[:, lower]) / 2
        half = np.stack([np.zeros(len(opening)), np.asarray(opening) * 50], axis=1)
        points[:, upper], points[:, lower] = middle - half, middle + half
    width = np.linalg.norm(points[0, 0] - points[0, 16])
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = points / width * 100 * size @ np.array([[cos, -sin], [sin, cos]]) + 128
    return {"landmarks.dlib": points.astype(np.float32), "landmarks.found": np.ones(len(points), bool)}


def wave(n: int, *, period: float = 11, seed: int = 0) -> np.ndarray:
    """An opening that is no pure wave, so that only one lag fits."""
    noise = np.convolve(np.random.default_rng(seed).random(n + 4), np.ones(5) / 5, "valid")
    return 0.1 + 0.05 * np.sin(np.arange(n) * 2 * np.pi / period) + 0.1 * noise


def poses(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Poses (T,7) of a head with these yaw angles."""
    pose = np.zeros((len(angles), 7), np.float32)
    pose[:, 0], pose[:, 3], pose[:, 4:6] = angles, 4.5e-4, 60
    return {"headpose": pose}


def score(metric, generated, true=None, **more):
    metric.update(generated, {} if true is None else true, clip_id=more.pop("clip_id", "a"))
    return metric.compute()
