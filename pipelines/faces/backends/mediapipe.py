"""MediaPipe's face landmarker, from a landmarker file in the weights folder.

The package asks for a second OpenCV, so it is installed without dependencies. The 68 iBUG landmarks are
taken from its 478 mesh vertices.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from dawn_bench import weights
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, box_around, not_installed
from dawn_bench.provenance import fingerprint
from dawn_bench.weights_needs import missing_clause

_WEIGHTS = "mediapipe-landmarker"
#: Mesh vertex of each iBUG point: jaw, brows, nose, eyes, outer and inner lips.
_MESH = np.array(
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
     70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
     168, 197, 5, 4, 75, 97, 2, 326, 305,
     33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
     61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
     78, 82, 13, 312, 308, 317, 14, 87]
)  # fmt: skip


@FACE_BACKENDS.register("mediapipe")
class MediaPipeBackend:
    """The landmarker in single-image mode, for up to three faces; boxes are derived from the landmarks."""

    name = "mediapipe"
    weights = ((_WEIGHTS,),)

    @staticmethod
    def missing() -> str | None:
        """Why the back end cannot run here; None if it can."""
        if find_spec("mediapipe") is None:
            return not_installed("mediapipe")
        return missing_clause(MediaPipeBackend.weights, job=MediaPipeBackend.name)

    def __init__(self) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        self._file = weights.resolve(_WEIGHTS, "files")
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._file.path)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=3,
            min_face_detection_confidence=0.5,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def fingerprint(self) -> str:
        """Identifies code, settings and weights; part of the cache's fingerprint."""
        return f"mediapipe-2-{fingerprint([version('mediapipe'), self._file.identity])}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Square boxes float32 (n,4), largest first; `expect` is not used."""
        boxes = np.array([box_around(points) for points in self._faces(frame)], np.float32).reshape(-1, 4)
        return boxes[np.argsort(boxes[:, 0] - boxes[:, 2], kind="stable")]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 landmarks float32 (68,2) of the face in `box`; NaN if it is not detected there."""
        centre, side = (box[:2] + box[2:]) / 2, float(box[2] - box[0])
        height, width = frame.shape[:2]
        x0, y0 = (int(max(0, c - side)) for c in centre)
        x1, y1 = (int(min(full, c + side)) for c, full in zip(centre, (width, height), strict=True))
        if x0 >= x1 or y0 >= y1:
            return np.full((68, 2), np.nan, np.float32)
        faces = self._faces(frame[y0:y1, x0:x1])
        if not faces:  # a face can be missed in the crop and detected in the whole frame
            faces, x0, y0 = self._faces(frame), 0, 0
        if not faces:
            return np.full((68, 2), np.nan, np.float32)
        placed = [points + np.array([x0, y0]) for points in faces]
        nearest = min(placed, key=lambda p: float(np.linalg.norm(p.mean(axis=0) - centre)))
        inside = np.linalg.norm(nearest.mean(axis=0) - centre) < side
        return nearest.astype(np.float32) if inside else np.full((68, 2), np.nan, np.float32)

    def _faces(self, frame: np.ndarray) -> list[np.ndarray]:
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        size = np.array([frame.shape[1], frame.shape[0]])
        result = self._landmarker.detect(image)
        return [np.array([(p.x, p.y) for p in face])[_MESH] * size - 0.5 for face in result.face_landmarks]
