"""A face back end that takes any picture for a face, so that files without one can go through `prepare`."""

from __future__ import annotations

import numpy as np


def _points() -> np.ndarray:
    """68 points in 0 to 1 of the picture: a ring for the jaw and the brows, a smaller one for the rest."""
    around, inside = np.linspace(0, 2 * np.pi, 27, endpoint=False), np.linspace(0, 2 * np.pi, 41, endpoint=False)
    outer = np.stack([np.cos(around), np.sin(around)], axis=1) * 0.3
    inner = np.stack([np.cos(inside), np.sin(inside)], axis=1) * 0.12
    return 0.5 + np.concatenate([outer, inner])


#: Settings of `prepare` with which the face of such a picture is not too bad.
ANY_QUALITY = {"max_mouth_covered": 1, "max_yaw": 180, "min_face_height": 0, "min_face_in_frame": 0}


class AnyFace:
    """One face in the middle of every picture, however that looks."""

    name = "any-face"

    @staticmethod
    def missing() -> str | None:
        """Nothing: it needs no package."""
        return None

    def fingerprint(self) -> str:
        """A constant."""
        return "any-face/1"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """The middle of the picture, whatever it shows."""
        height, width = frame.shape[:2]
        return np.array([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The same 68 points in every picture."""
        return (_points() * (frame.shape[1], frame.shape[0])).astype(np.float32)
