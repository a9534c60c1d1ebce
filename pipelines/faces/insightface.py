"""The insightface package: SCRFD detection and its 3-D 68-point network, from the user's own model pack.

The packs are for non-commercial research only; nothing is ever downloaded here.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.provenance import fingerprint, pick_device

_PACK = Path.home() / ".insightface" / "models" / "buffalo_l"
_DETECTOR, _POINTS = "det_10g.onnx", "1k3d68.onnx"


@FACE_BACKENDS.register("insightface")
class InsightFaceBackend:
    """SCRFD boxes, and x, y of the 68 3-D points, of the pack buffalo_l."""

    name = "insightface"

    @staticmethod
    def missing() -> str | None:
        for package in ("insightface", "onnxruntime"):
            if find_spec(package) is None:
                return f"the package {package} is not installed (pip install 'dawn-bench[faces]')"
        absent = [file for file in (_DETECTOR, _POINTS) if not (_PACK / file).is_file()]
        return f"{' and '.join(absent)} of the model pack buffalo_l are not in {_PACK}" if absent else None

    def __init__(self) -> None:
        from insightface.model_zoo import get_model

        providers = ["CUDAExecutionProvider"] if pick_device() == "cuda" else ["CPUExecutionProvider"]
        context = 0 if pick_device() == "cuda" else -1
        self._detector = get_model(str(_PACK / _DETECTOR), providers=providers)
        self._detector.prepare(context, input_size=(640, 640), det_thresh=0.5)
        self._points = get_model(str(_PACK / _POINTS), providers=providers)
        self._points.prepare(context)

    def fingerprint(self) -> str:
        sizes = [(_PACK / file).stat().st_size for file in (_DETECTOR, _POINTS)]
        return f"insightface-1-{fingerprint([version('insightface'), sizes])}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        # the network misses faces that fill most of its input: a border keeps every face below that
        border = max(frame.shape[:2]) // 4
        padded = np.pad(frame[..., ::-1], ((border, border), (border, border), (0, 0)))
        found, _ = self._detector.detect(padded)
        boxes = found[:, :4].astype(np.float32) - border
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return boxes[np.argsort(-area, kind="stable")]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        from insightface.app.common import Face

        points = self._points.get(np.ascontiguousarray(frame[..., ::-1]), Face(bbox=box))
        return np.asarray(points, np.float32)[:, :2]
