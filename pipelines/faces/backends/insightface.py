"""The insightface package: SCRFD detection and the 3-D 68-point network of the model pack buffalo_l.

The user provides the pack, which is licensed for non-commercial research only. This back end never downloads anything.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench import weights
from dawn_bench.files import sha256_file
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, not_installed
from dawn_bench.pipelines.faces.upright import square_boxes, upright_box
from dawn_bench.provenance import fingerprint, pick_device
from dawn_bench.weights_needs import fetch_command

#: Registry names.
_DETECTOR, _POINTS = "scrfd-10g", "insightface-68"
_INPUT = (640, 640)
#: What runs the networks, and the settings without which numbers are rounded or depend on the card.
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_EXACT = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@FACE_BACKENDS.register("insightface")
class InsightFaceBackend:
    """SCRFD detection, and x, y of the 68 3-D landmarks, on the device of the running command, in full float32.

    On a GPU this needs onnxruntime-gpu; onnxruntime without it computes on the CPU.
    """

    name = "insightface"
    weights = ((_DETECTOR,), (_POINTS,))

    @staticmethod
    def missing() -> str | None:
        """Why the back end cannot run here; None if it can."""
        for package in ("insightface", "onnxruntime"):
            if find_spec(package) is None:
                return not_installed(package, alone=package == "insightface")
        absent = [weights.entry(name).file for name in (_DETECTOR, _POINTS) if _file(name) is None]
        if not absent:
            return None
        files = f"{' and '.join(absent)} of the model pack buffalo_l"
        places = f"{'is' if len(absent) == 1 else 'are'} not in {weights.folder()} nor in {_pack()}"
        return f"{files} {places}; get the pack with: {fetch_command(job=InsightFaceBackend.name)}"

    def __init__(self, *, device: str = "auto") -> None:
        from insightface.model_zoo import get_model
        from onnxruntime import get_available_providers

        kind, _, index = (pick_device() if device == "auto" else device).partition(":")
        wanted: dict[str, dict[str, Any]] = {_CPU: {}}
        if kind == "cuda":
            wanted = {_CUDA: {**_EXACT, "device_id": int(index or 0)}, **wanted}
        providers = [name for name in wanted if name in get_available_providers()]
        files = [path for name in (_DETECTOR, _POINTS) if (path := _file(name))]
        self._hashes = [sha256_file(path) for path in files]
        settings: dict[str, Any] = {"providers": providers}
        context = -1
        if _CUDA in providers:
            context = wanted[_CUDA]["device_id"]
            settings["provider_options"] = [wanted[name] for name in providers]
        self._detector, self._points = (get_model(str(path), **settings) for path in files)
        self._detector.prepare(context, input_size=_INPUT, det_thresh=0.5)
        self._points.prepare(context)

    def fingerprint(self) -> str:
        """Identifies code, settings and weights; part of the cache's fingerprint."""
        return f"insightface-2-{fingerprint([version('insightface'), _INPUT, self._hashes])}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Square boxes float32 (n,4), largest first; `expect` is not used."""
        # the network misses faces that fill most of its input, so a border is added
        border = max(frame.shape[:2]) // 4
        padded = np.pad(frame[..., ::-1], ((border, border), (border, border), (0, 0)))
        detections, _ = self._detector.detect(padded)
        return square_boxes(detections[:, :4] - border)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 landmarks float32 (68,2) of the face in `box`."""
        from insightface.app.common import Face

        points = self._points.get(np.ascontiguousarray(frame[..., ::-1]), Face(bbox=upright_box(box)))
        return np.asarray(points, np.float32)[:, :2]


def _pack() -> Path:
    """The package's own folder for the pack."""
    return Path.home() / ".insightface" / "models" / "buffalo_l"


def _file(name: str) -> Path | None:
    """A registry file in the weights folder or in the package's own folder; None if absent."""
    unpacked = _pack() / weights.entry(name).file
    return weights.locate(weights.entry(name)) or (unpacked if unpacked.is_file() else None)
