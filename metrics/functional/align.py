"""Face alignment for identity networks: five points, the similarity transform to a template, the crop.

Canonical implementation: deepinsight/insightface (`utils/face_align.py`; scikit-image's SimilarityTransform, which is
Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns").
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Template(NamedTuple):
    """Target positions of face points: float32 (N,2) x, y in pixels of a square crop, and its side in pixels."""

    points: np.ndarray
    side: int


#: Eye centres, nose tip and mouth corners, left first as seen in the frame.
ARCFACE = Template(
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
    ),
    112,
)
#: dlib's face chip with a quarter of padding: outer and inner corner of the right eye as seen in the frame, of the
#: left eye, and the base of the nose (iBUG points 45, 42, 36, 39, 33).
DLIB = Template(
    (
        np.array([[0.8596, 0.2135], [0.6461, 0.2290], [0.1206, 0.2137], [0.3341, 0.2291], [0.4901, 0.6278]], np.float32)
        + 0.25
    )
    / 1.5
    * 150,
    150,
)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners (...,5,2) of iBUG points (...,68,2)."""
    right, left = landmarks[..., 36:42, :].mean(axis=-2), landmarks[..., 42:48, :].mean(axis=-2)
    return np.stack([right, left, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], axis=-2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The scale, rotation and translation that map `source` closest to `target` in the least-squares sense.

    Both (N,2), N >= 2; computed in float32, as in the canonical code with its float32 points, so that crops are equal
    bit by bit. Returns float64 (2,3). Never a reflection. Coinciding points give NaN.
    """
    a, b = source.astype(np.float32), target.astype(np.float32)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    u, stretch, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    mirror = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * mirror) @ vt
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (a - mean_a).var(axis=0).sum() * (stretch @ mirror)
    return np.column_stack([scale * rotation, mean_b - scale * (rotation @ mean_a)])


def aligned(frame: np.ndarray, points: np.ndarray, template: Template = ARCFACE) -> np.ndarray:
    """The aligned crop of a frame uint8 (H,W,3) with face points (N,2): uint8 (side,side,3), black outside."""
    return cv2.warpAffine(frame, similarity(points, template.points), (template.side, template.side), borderValue=0)
