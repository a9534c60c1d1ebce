"""Aligning faces for ArcFace: five points, the similarity onto the 112 x 112 template, the crop, the network's input.

Canonical implementation: deepinsight/insightface (`utils/face_align.py`; scikit-image's SimilarityTransform, which is
Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns").
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 112
#: Eye centres, nose tip and mouth corners in the crop, left first as seen in the picture; x, y in pixels.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners (...,5,2) of iBUG points (...,68,2)."""
    right, left = landmarks[..., 36:42, :].mean(axis=-2), landmarks[..., 42:48, :].mean(axis=-2)
    return np.stack([right, left, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], axis=-2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The scale, rotation and shift that bring `source` closest to `target` in the least squares sense.

    Both (N,2), N >= 2; computed in float32, as the canonical code does with its float32 points: the crops are then
    equal to the last bit. Returns float64 (2,3). Never mirrors. All points in one place give NaN.
    """
    a, b = source.astype(np.float32), target.astype(np.float32)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    u, stretch, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    mirror = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * mirror) @ vt
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (a - mean_a).var(axis=0).sum() * (stretch @ mirror)
    return np.column_stack([scale * rotation, mean_b - scale * (rotation @ mean_a)])


def aligned(frame: np.ndarray, five: np.ndarray) -> np.ndarray:
    """The face cut out of `frame` (H,W,3) uint8 at its five points (5,2): uint8 (112,112,3), black outside."""
    return cv2.warpAffine(frame, similarity(five, TEMPLATE), (SIDE, SIDE), borderValue=0)
