"""Mouth opening per frame, and the correlation of two tracks."""

from __future__ import annotations

import numpy as np

from dawn_bench.pipelines.faces.base import FaceBackend, box_around
from dawn_bench.pipelines.faces.choice import nearest

#: Mouth opening: pairs of inner-lip points, and the jaw's ends for scale (iBUG 68).
INNER_LIPS = ((61, 67), (62, 66), (63, 65))


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(T,68,2) -> (T,): inner-lip gap over face width (points 0 to 16); NaN where the landmarks are."""
    gaps = [np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in INNER_LIPS]
    return np.mean(gaps, axis=0) / np.linalg.norm(landmarks[:, 0] - landmarks[:, 16], axis=-1)


def frame_landmarks(frames: np.ndarray, backend: FaceBackend, true_landmarks: np.ndarray | None = None) -> np.ndarray:
    """Landmarks (T,68,2) frame by frame. Where detection fails the previous box is used; NaN before the first box.

    Of several faces the one at the place of the true face (T,68,2) is taken, else the largest.
    """
    landmarks, box = [], None
    for t, frame in enumerate(frames):
        boxes = backend.detect(frame)
        if len(boxes) > 1 and true_landmarks is not None:
            place = nearest(boxes, box_around(true_landmarks[min(t, len(true_landmarks) - 1)]))
            box = boxes[place or 0]
        else:
            box = boxes[0] if len(boxes) else box
        landmarks.append(np.full((68, 2), np.nan) if box is None else backend.landmarks(frame, box))
    return np.stack(landmarks)


def landmarks_where_true(frames: np.ndarray, true_landmarks: np.ndarray, backend: FaceBackend) -> np.ndarray:
    """Landmarks (T,68,2) of generated frames (T,S,S,3), fitted in the boxes of the true faces, without detection.

    Only for clips that were generated with the true head pose.
    """
    return np.stack([backend.landmarks(f, box_around(p)) for f, p in zip(frames, true_landmarks, strict=True)])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r over the frames where both are finite; 0 if either is constant."""
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
