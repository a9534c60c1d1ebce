"""The face-alignment package (Bulat and Tzimiropoulos 2017): S3FD detection and the FAN 68-point network.

The default where the package and its two weight files are present; nothing is ever downloaded here.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.provenance import fingerprint, pick_device

#: Published files, by the names under which the package looks for them.
_FILES = ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip", "2DFAN4-11f355bf06.pth.tar")


@FACE_BACKENDS.register("face-alignment")
class FaceAlignmentBackend:
    """S3FD boxes and FAN points; on the GPU where there is one."""

    name = "face-alignment"

    @staticmethod
    def missing() -> str | None:
        if find_spec("face_alignment") is None:
            return "the package face-alignment is not installed (pip install 'dawn-bench[faces]')"
        if not (_folder() / _FILES[0]).is_file() or not _points_file().is_file():
            return f"its weights {_FILES[0]} and {_FILES[2]} are not in {_folder()}"
        return None

    def __init__(self) -> None:
        import face_alignment

        device = pick_device()
        self._network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D, device=device, face_detector="sfd", compile=False
        )

    def fingerprint(self) -> str:
        sizes = [file.stat().st_size for file in (_folder() / _FILES[0], _points_file())]
        return f"face-alignment-1-{fingerprint([version('face-alignment'), _points_file().name, sizes])}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        found = self._network.face_detector.detect_from_image(frame)
        boxes = np.array(found, np.float32).reshape(-1, 5)[:, :4]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return boxes[np.argsort(-area, kind="stable")]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        points = self._network.get_landmarks_from_image(frame, detected_faces=[box])
        return np.asarray(points[0], np.float32)[:, :2]


def _folder() -> Path:
    """Where torch.hub, and so the package, keeps weight files."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints"


def _points_file() -> Path:
    """The FAN weights: a plain state dict since version 1.5, TorchScript before."""
    return next((path for name in _FILES[:0:-1] if (path := _folder() / name).is_file()), _folder() / _FILES[2])
