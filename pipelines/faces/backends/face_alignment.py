"""The face-alignment package (Bulat and Tzimiropoulos 2017): S3FD detection and the FAN 68-point network.

The default where the package and its two weight files are present, in the weights folder or among torch.hub's
checkpoints, where the package itself downloads them. This back end never downloads anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dawn_bench import weights
from dawn_bench.files import sha256_file
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, not_installed
from dawn_bench.pipelines.faces.upright import square_boxes, upright_box
from dawn_bench.provenance import fingerprint, pick_device
from dawn_bench.weights_needs import missing_clause

#: Registry names.
_DETECTOR, _POINTS = "s3fd-wav2lip", "fan-2d"
#: The frame is reduced to this longest side for detection; the detector was trained on faces from 16 px.
_LONGEST = 640


@FACE_BACKENDS.register("face-alignment")
class FaceAlignmentBackend:
    """S3FD detection and FAN landmarks, on the device of the running command, in full float32.

    The package has cuDNN choose the fastest algorithm for every shape, which another card or run may choose otherwise.
    Here it does not, so that equal fingerprints mean equal numbers.
    """

    name = "face-alignment"
    weights = ((_DETECTOR,), (_POINTS,))

    @staticmethod
    def missing() -> str | None:
        """Why the back end cannot run here; None if it can."""
        if find_spec("face_alignment") is None:
            return not_installed("face-alignment")
        installed = version("face-alignment")
        if tuple(int(part) for part in installed.split(".")[:2]) < (1, 5):  # older: other files, another loader
            return f"face-alignment {installed} is installed; it takes 1.5 or later"
        return missing_clause(
            ((name,) for name in (_DETECTOR, _POINTS) if _file(name) is None), job=FaceAlignmentBackend.name
        )

    def __init__(self, *, device: str = "auto") -> None:
        import face_alignment
        import torch

        detector, points = _file(_DETECTOR), _file(_POINTS)
        assert detector is not None and points is not None, "pick_backend checks missing() first"
        self._hashes = [sha256_file(path) for path in (detector, points)]
        self._device = pick_device() if device == "auto" else device
        hub, benchmark = torch.hub.get_dir(), torch.backends.cudnn.benchmark
        torch.hub.set_dir(points.parent.parent)  # the package loads FAN's file through torch.hub
        try:
            self._network = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D,
                device=self._device,
                face_detector="sfd",
                face_detector_kwargs={"path_to_detector": str(detector)},
                compile=False,
            )
        finally:
            torch.hub.set_dir(hub)
            torch.backends.cudnn.benchmark = benchmark

    def fingerprint(self) -> str:
        """Identifies code, settings and weights; part of the cache's fingerprint."""
        return f"face-alignment-2-{fingerprint([version('face-alignment'), _LONGEST, self._hashes])}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Square boxes float32 (n,4), largest first; `expect` is not used."""
        scale = min(1.0, _LONGEST / max(frame.shape[:2]))
        if scale < 1:
            frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        with _exact(self._device):
            detections = self._network.face_detector.detect_from_image(frame)
        return square_boxes(np.array(detections, np.float64).reshape(-1, 5)[:, :4] / scale)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 landmarks float32 (68,2) of the face in `box`."""
        # plain floats: the package fails with float32
        with _exact(self._device):
            points = self._network.get_landmarks_from_image(frame, detected_faces=[upright_box(box).tolist()])
        return np.asarray(points[0], np.float32)[:, :2]


@contextmanager
def _exact(device: str) -> Iterator[None]:
    """`exact_inference` also where the package has cuDNN choose algorithms by their time, as it does at each call."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    from dawn_bench.exact import exact_inference

    def fix(*_: Any) -> None:
        torch.backends.cudnn.benchmark = False

    hook = register_module_forward_pre_hook(fix) if device.startswith("cuda") else None
    try:
        with exact_inference():
            yield
    finally:
        if hook is not None:
            hook.remove()


def _file(name: str) -> Path | None:
    """A registry file in the weights folder or among torch.hub's checkpoints; None if absent."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    downloaded = Path(home) / "hub" / "checkpoints" / Path(weights.entry(name).file).name
    return weights.locate(weights.entry(name)) or (downloaded if downloaded.is_file() else None)
