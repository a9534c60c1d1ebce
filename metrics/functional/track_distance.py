"""AED and APD: distances between tracks of embeddings and of head poses, in the variants that are in use."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

EmbeddingForm = Literal["squared_l2", "l2", "l1_mean"]
PoseForm = Literal["l1_mean", "l1_sum", "l2", "geodesic"]


def embedding_distance(
    generated: np.ndarray, true: np.ndarray, *, form: EmbeddingForm = "squared_l2", unit: bool = False
) -> float:
    """AED: the mean over frames of a distance between embeddings (T,D).

    `squared_l2` is what pose-evaluation computes, `l2` what its paper says, `l1_mean` the mean over coordinates.
    `unit` normalises the embeddings to length one first.
    """
    ours, theirs = _lengths_one(generated, unit=unit), _lengths_one(true, unit=unit)
    difference = ours - theirs
    if form == "l1_mean":
        return float(np.abs(difference).mean())
    squared = np.square(difference).sum(axis=1)
    return float((squared if form == "squared_l2" else np.sqrt(squared)).mean())


def embedding_cosine(generated: np.ndarray, true: np.ndarray, *, to_first: bool = False) -> float:
    """The mean over frames of the cosine between embeddings (T,D); `to_first`: against the first true one."""
    reference = true[:1] if to_first else true
    return float((_lengths_one(generated, unit=True) * _lengths_one(reference, unit=True)).sum(axis=1).mean())


def pose_distance(generated: np.ndarray, true: np.ndarray, *, form: PoseForm = "l1_mean") -> float:
    """APD: the mean over frames of a distance between yaw, pitch, roll (T,3), all in degrees.

    `l1_mean`, `l1_sum` and `l2` are of the three differences, each taken the short way around; `geodesic` is the angle
    of the rotation from one pose to the other.
    """
    ours, theirs = generated.astype(np.float64), true.astype(np.float64)
    if form == "geodesic":
        first, second = (Rotation.from_euler("YXZ", angles, degrees=True) for angles in (ours, theirs))
        return float(np.degrees((first.inv() * second).magnitude()).mean())
    difference = np.abs(angle_differences(ours, theirs))
    if form == "l2":
        return float(np.linalg.norm(difference, axis=1).mean())
    return float(difference.mean() if form == "l1_mean" else difference.sum(axis=1).mean())


def angle_differences(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Differences of angles in degrees, from -180 up to 180."""
    return (generated.astype(np.float64) - true + 180) % 360 - 180


def _lengths_one(embeddings: np.ndarray, *, unit: bool) -> np.ndarray:
    embeddings = embeddings.astype(np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True) if unit else embeddings
