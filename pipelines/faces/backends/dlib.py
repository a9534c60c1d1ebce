"""The embedded back end: dlib's HOG detector and 68-point regressor, both from package wheels, so it works offline.

Where the registry's YuNet weights are present, YuNet replaces the HOG detector: faster, and better on small faces.
Without them, `search` sees more than HOG does: faces partly outside the picture, blurred ones and profiles.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dawn_bench import weights
from dawn_bench.files import sha256_file
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, extended, overlap
from dawn_bench.pipelines.faces.hugepages import onto_huge_pages
from dawn_bench.pipelines.faces.mmod import SETTINGS, MmodDetector
from dawn_bench.pipelines.faces.turned import hog_detector
from dawn_bench.provenance import fingerprint, versions
from dawn_bench.readers import guarded
from dawn_bench.weights_check import FETCH_AGAIN
from dawn_bench.weights_needs import missing_clause

#: The entry of the 68 points, and the file of the convolutional detector, which only the package has.
_POINTS, _MMOD_FILE = "dlib-68", "mmod_human_face_detector.dat"
#: Longest side of the image that HOG scans, in the order tried. It reliably detects faces from 80 px at that scale, and
#: most faces from `_SMALLEST`.
_SIDES = (320, 640, 1280)
_SMALLEST = 64.0
#: Border added in the last attempt, as a share of the image, for faces larger than the image.
_PADDING = 0.25
#: Local search: side of the face in the image that HOG scans, in pixels, and side of that image, in face sides.
_NEAR, _AROUND = 100.0, 1.8
#: HOG's threshold near a known face in `search`, instead of its own of 0; the tracker verifies what is found.
_NEAR_THRESHOLD = -0.7
#: Side of the face box in the patch given to the landmark regressor, in pixels: dlib rounds landmarks to whole pixels,
#: which causes jitter on smaller faces. The regressor reads pixels up to `_REACH` half sides from the box centre.
_BOX, _REACH = 400, 1.4


def model_file(name: str) -> Path | None:
    """Path of a file in the `face_recognition_models` wheel, which current setuptools cannot import; None if absent."""
    spec = find_spec("face_recognition_models")
    places = (spec and spec.submodule_search_locations) or []
    candidates = [Path(place) / "models" / name for place in places]
    return next((path for path in candidates if path.is_file()), None)


@FACE_BACKENDS.register("dlib")
class DlibBackend:
    """HOG (or YuNet) detection and 68 points by gradient-boosted trees (Kazemi and Sullivan 2014)."""

    name = "dlib"
    weights = ((_POINTS,),)
    #: What is lost where it stands in for face-alignment.
    loses = (
        "it sees fewer faces that are turned, dark, blurred or partly outside the picture, and its 68 points, so crops "
        "and masks, differ"
    )

    @staticmethod
    def missing() -> str | None:
        """Why the back end cannot run here; None if it can."""
        if find_spec("dlib") is None:
            return "the package dlib-bin is not installed"
        return missing_clause(DlibBackend.weights, job=DlibBackend.name)

    def __init__(self) -> None:
        import dlib

        self._rectangle = dlib.rectangle
        self._hog = hog_detector()
        self._points_file, self._yunet_file = weights.resolve(_POINTS, "files"), weights.resolve("yunet")
        points = self._points_file.file
        self._points = guarded(lambda: dlib.shape_predictor(str(points)), points, "a dlib model", FETCH_AGAIN)
        onto_huge_pages()
        self._yunet: Any = None
        self.networks: tuple[weights.Resolved, ...] = (self._points_file,)
        if (yunet := self._yunet_file.path) is not None:
            self.networks = (self._points_file, self._yunet_file)
            # errors only: OpenCV 5 warns about a default of its own
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
            # at 0.7 there were no false positives on clips without a face and no misses on clips with one
            create = partial(cv2.FaceDetectorYN.create, str(yunet), "", (160, 160), 0.7)
            self._yunet = guarded(create, yunet, "an ONNX network", FETCH_AGAIN)

        self.takes_gray = self._yunet is None
        mmod_file = model_file(_MMOD_FILE)
        self._mmod = MmodDetector(mmod_file) if mmod_file is not None and self._yunet is None else None

    def fingerprint(self) -> str:
        """Identifies code, settings and weights; part of the cache's fingerprint."""
        detector = "hog" if self._yunet is None else self._yunet_file.identity
        facts = [
            _SIDES,
            _PADDING,
            _NEAR,
            _AROUND,
            _BOX,
            _REACH,
            versions().get("dlib-bin"),
            self._points_file.sha256,
            detector,
        ]
        base = f"dlib-2-{fingerprint(facts)}"
        if self._yunet is not None:
            return base
        second = [SETTINGS, _NEAR_THRESHOLD, _sha256(_MMOD_FILE)]
        return f"{base}+{'hog' if self._mmod is None else 'mmod'}-1-{fingerprint(second)}"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Boxes (n,4), largest first. Starts at the scale that suits a face of side `expect`, then tries the others."""
        if self._yunet is not None:
            return self._detect_yunet(frame)
        longest = max(frame.shape[:2])
        sides = sorted(_SIDES, key=lambda side: expect is not None and expect * side / longest < _SMALLEST)
        for side in sides:
            if side > 640 and side >= 2 * longest:
                continue  # fourfold enlargement adds no information
            boxes = self._scan(frame, side / longest)
            if len(boxes):
                return boxes
        border = int(_PADDING * longest)
        padded = cv2.copyMakeBorder(frame, *(border,) * 4, cv2.BORDER_CONSTANT)
        return self._scan(padded, _SIDES[0] / max(padded.shape[:2])) - border

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4) detected near `box`, at one scale."""
        side = float(box[2] - box[0])
        x, y = (float(c) for c in (box[:2] + box[2:]) / 2 - side * _AROUND / 2)
        x0, y0 = max(0, int(x)), max(0, int(y))
        part = frame[y0 : max(0, int(y + side * _AROUND)), x0 : max(0, int(x + side * _AROUND))]
        if not part.size:
            return np.zeros((0, 4), np.float32)
        if self._yunet is not None:
            return self._detect_yunet(part) + np.array([x0, y0, x0, y0], np.float32)
        return self._scan(part, _NEAR / side) + np.array([x0, y0, x0, y0], np.float32)

    def search(self, frame: np.ndarray, *, near: np.ndarray | None = None) -> np.ndarray:
        """Boxes (n,4) of faces that `detect` missed: best first near a known face, largest first in the whole frame.

        Near a known face HOG is more sensitive and sees the picture continued beyond its edges; the convolutional
        detector follows. The whole frame is searched with the latter alone. None with YuNet, which misses hardly any.
        """
        if self._yunet is not None:
            return np.zeros((0, 4), np.float32)
        if near is not None:
            if overlap(near, np.array([0, 0, frame.shape[1], frame.shape[0]])) == 0:
                return np.zeros((0, 4), np.float32)
            boxes = self._scan_near(frame, near)
            if len(boxes):
                return boxes
        if self._mmod is None:
            return np.zeros((0, 4), np.float32)
        return self._mmod.whole(frame) if near is None else self._mmod.near(frame, near)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 points (68,2)."""
        side = float(max(box[2] - box[0], box[3] - box[1], 8.0))
        patch, corner, scale = _gray_patch(frame, (box[:2] + box[2:]) / 2, side)
        x0, y0 = (round(c) for c in ((box[:2] + box[2:] - side) / 2 - corner) * scale)
        shape = self._points(patch, self._rectangle(x0, y0, x0 + _BOX - 1, y0 + _BOX - 1))
        points = np.array([(point.x, point.y) for point in shape.parts()])
        return ((points + 0.5) / scale - 0.5 + corner).astype(np.float32)

    def _scan(self, frame: np.ndarray, scale: float) -> np.ndarray:
        """Boxes (n,4) in frame pixels, from HOG on the gray frame resized by `scale`."""
        height, width = frame.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        detections = self._hog(_gray(small))
        boxes = [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in detections]
        return _largest_first(np.array(boxes, np.float32).reshape(-1, 4) / np.float32(scale))

    def _scan_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4), best first, from HOG at `_NEAR_THRESHOLD` around a box; edges of the frame are replicated."""
        side = max(float(box[2] - box[0]), 8.0)
        first = np.floor((box[:2] + box[2:]) / 2 - side * _AROUND / 2).astype(int)
        part = extended(frame, first, first + math.ceil(side * _AROUND))
        scale = _NEAR / side
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=how)
        detections, scores, _ = self._hog.run(_gray(small), 0, _NEAR_THRESHOLD)
        order = np.argsort(-np.array(scores), kind="stable")
        boxes = [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in (detections[i] for i in order)]
        return np.array(boxes, np.float32).reshape(-1, 4) / np.float32(scale) + np.tile(first, 2).astype(np.float32)

    def _detect_yunet(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        for side in (160, 320, 640):
            scale = side / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            self._yunet.setInputSize(size)
            small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            _, detections = self._yunet.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
            if detections is not None:
                x, y, w, h = (detections[:, :4] / scale).T
                half = 0.46 * np.sqrt(w * h)  # dlib's box is a little smaller and lower than YuNet's
                cx, cy = x + w / 2, y + h / 2 + 0.137 * half
                return _largest_first(np.stack([cx - half, cy - half, cx + half, cy + half], axis=1))
        return np.zeros((0, 4), np.float32)


@lru_cache(maxsize=2)
def _sha256(name: str) -> str:
    path = model_file(name)
    return sha256_file(path) if path else ""


def _gray(frame: np.ndarray) -> np.ndarray:
    """The frame in gray; a gray frame is returned as it is."""
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _gray_patch(frame: np.ndarray, middle: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gray patch around a face box of this centre and side, resized so that the box has `_BOX` pixels.

    Returns the patch, its corner (x, y) in the frame, and the scale factors (2,) along x and y. Edges are replicated.
    """
    height, width = frame.shape[:2]
    x0, y0 = (math.floor(c - _REACH * side / 2) for c in middle)
    x1, y1 = (math.ceil(c + _REACH * side / 2) for c in middle)
    left, top = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    right, bottom = max(min(x1, width), left + 1), max(min(y1, height), top + 1)
    part = _gray(frame[top:bottom, left:right])
    above, below, before, behind = (max(0, n) for n in (top - y0, y1 - bottom, left - x0, x1 - right))
    if above or below or before or behind:
        part = cv2.copyMakeBorder(part, above, below, before, behind, cv2.BORDER_REPLICATE)
    size = round((x1 - x0) * _BOX / side), round((y1 - y0) * _BOX / side)
    shrinks = side > 2 * _BOX  # area averaging avoids aliasing of faces far larger than the patch
    patch = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return patch, np.array([x0, y0]), np.array(size) / (x1 - x0, y1 - y0)


def _largest_first(boxes: np.ndarray) -> np.ndarray:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")].astype(np.float32)
