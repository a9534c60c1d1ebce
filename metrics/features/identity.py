"""Identity embeddings of the face in every frame.

Networks, never mixed in one score:

* `arcface` (canonical): insightface's w600k_r50, the IResNet50 of the pack buffalo_l, through OpenCV, on a GPU through
  PyTorch. 512 numbers.
* `arcface-r100`: glintr100, the IResNet100 of the pack antelopev2, with the same input.
* `mobilefacenet`: a small network trained the same way, selected by protocol only. 128 numbers.
* `dlib`: dlib's face embedding, which comes with a Python wheel and so works offline. 128 numbers for every fifth
  frame. It replaces ArcFace where that file is absent. It is a real but different network whose cosines are all high
  (two people reach 0.9), so the note names it and the score counts as computed with stand-in weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.features.landmarks import FOUND, landmarks_of
from dawn_bench.metrics.functional import align
from dawn_bench.metrics.functional.align import aligned, five_points
from dawn_bench.metrics.functional.distinct import content_digest
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pixels import to_unit
from dawn_bench.readers import guarded
from dawn_bench.weights import Policy, Resolved, resolve
from dawn_bench.weights_check import FETCH_AGAIN
from dawn_bench.weights_needs import Needs

#: Frames uint8 (N,H,W,3) and their 68 points (N,68,2) to embeddings float32 (N,D).
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Entry of the weights registry by network.
ENTRIES = {
    "arcface": "arcface-r50",
    "arcface-r100": "arcface-r100",
    "mobilefacenet": "mobilefacenet",
    "dlib": "dlib-face",
}
#: Faces in one pass of insightface's network: the 51 MB of its last layer are then read once for all of them.
BATCH = 4
#: Faces whose frames are in memory at a time: whole batches.
AT_ONCE = 16 * BATCH
#: Only every n-th frame is embedded: dlib's network costs 76 ms a face on one core.
STRIDE = {"arcface": 1, "arcface-r100": 1, "mobilefacenet": 1, "dlib": 5}


@FEATURES.register("identity")
class Identity(Feature):
    """`identity.<network>` float32 (N,D), not normalised, and `identity.found` bool (N,), of frames 0, n, 2n, ... .

    Rows of frames without a face are zero. Raises `ItemError("no_face")` through the landmarks.
    """

    name, fields, version = "identity", ("frames",), 1
    after = ("landmarks",)
    device_bound = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.network = self.wanted(protocol)
        chosen = self.use_weights(ENTRIES[self.network]) if self.network != "dlib" else None
        if chosen is None or chosen.path is None:
            self.network, chosen = "dlib", resolve(ENTRIES["dlib"], "files")
            self.resolved.append(chosen)
        on_device = _ON_DEVICE[self.network](chosen, device) if device != "cpu" and self.network in _ON_DEVICE else None
        self.embed = on_device or _EMBEDDERS[self.network](chosen)

    @classmethod
    def wanted(cls, protocol: ScoringProtocol) -> str:
        """The network that the protocol names."""
        return protocol.csim_network

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """That network."""
        return ((ENTRIES[cls.wanted(protocol)],),)

    def settings(self) -> Mapping[str, Any]:
        """The network, its stride and the face back end."""
        return {"network": self.network, "stride": STRIDE[self.network], "faces": pick_backend().fingerprint()}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Embeddings and detection flags of every n-th frame."""
        points, stride = landmarks_of(given)[1], STRIDE[self.network]
        detected = given[FOUND][::stride]
        at = np.flatnonzero(detected)
        table = np.zeros((len(detected), 1), np.float32)
        if len(at):
            rows = self._embedded(clip["frames"], at * stride, points[at * stride])
            table = np.zeros((len(detected), rows.shape[1]), np.float32)
            table[at] = rows
        return {f"{self.name}.{self.network}": table, f"{self.name}.found": detected}

    def _embedded(self, frames: np.ndarray, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Embeddings (n,D) of the frames `numbers`, ascending, with these points; equal faces are embedded once."""
        faces = dict(zip(numbers.tolist(), points, strict=True))
        chosen = ((frame, faces[t]) for t, frame in enumerate(each_row(frames)) if t in faces)
        rows, places, seen = list[np.ndarray](), list[int](), dict[bytes, int]()
        waiting = list[tuple[np.ndarray, np.ndarray]]()
        for frame, of_face in chosen:
            before = len(seen)
            places.append(seen.setdefault(content_digest(frame) + of_face.tobytes(), before))
            if len(seen) > before:
                waiting.append((frame, of_face))
            if len(waiting) == AT_ONCE:
                rows.append(self.embed(*map(np.stack, zip(*waiting, strict=True))))
                waiting = []
        if waiting:
            rows.append(self.embed(*map(np.stack, zip(*waiting, strict=True))))
        return np.concatenate(rows)[places]


@FEATURES.register("id-dlib")
class DlibIdentity(Identity):
    """`id-dlib.dlib` float32 (N,128) and `id-dlib.found` bool (N,): dlib's embedding, whatever network CSIM has."""

    name, fields, version = "id-dlib", ("frames",), 1  # a change of the embedding raises both features' versions
    device_bound = False

    @classmethod
    def wanted(cls, protocol: ScoringProtocol) -> str:
        """dlib's."""
        return "dlib"


@lru_cache(maxsize=2)
def arcface(weights: Resolved) -> Embed:
    """insightface's network: (RGB - 127.5) / 127.5 of the 112 x 112 crop, float32 (N,512)."""
    network = _read(weights.file)

    def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        crops = [aligned(f, five_points(p), align.ARCFACE) for f, p in zip(frames, points, strict=True)]
        rows = []
        for start in range(0, len(crops), BATCH):
            network.setInput(
                cv2.dnn.blobFromImages(crops[start : start + BATCH], 1 / 127.5, mean=(127.5, 127.5, 127.5))
            )
            rows.append(network.forward().copy())
        return np.concatenate(rows)

    return embed


@lru_cache(maxsize=1)
def mobilefacenet(weights: Resolved) -> Embed:
    """foamliu's network: the same crop, normalised with ImageNet's mean and standard deviation, float32 (N,128)."""
    network = _read(weights.file)
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)

    def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        rows = []
        for frame, landmarks in zip(frames, points, strict=True):
            crop = to_unit(aligned(frame, five_points(landmarks), align.ARCFACE))
            network.setInput(cv2.dnn.blobFromImage((crop - mean) / deviation))
            rows.append(network.forward().ravel())
        return np.stack(rows)

    return embed


@lru_cache(maxsize=1)
def dlib_face(weights: Resolved) -> Embed:
    """dlib's network on its own 150 x 150 crop, float32 (N,128)."""
    import dlib

    path = weights.file
    network = guarded(lambda: dlib.face_recognition_model_v1(str(path)), path, "a dlib model", FETCH_AGAIN)

    def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        crops = [aligned(f, p[[45, 42, 36, 39, 33]], align.DLIB) for f, p in zip(frames, points, strict=True)]
        return np.array([network.compute_face_descriptor(crop) for crop in crops], dtype=np.float32)

    return embed


def _read(path: Path) -> cv2.dnn.Net:
    """The network in OpenCV's classic engine, the only one of version 4; the default engine of 5 is 4 % slower."""
    engine = {"engine": cv2.dnn.ENGINE_CLASSIC} if hasattr(cv2.dnn, "ENGINE_CLASSIC") else {}
    return guarded(lambda: cv2.dnn.readNetFromONNX(str(path), **engine), path, "an ONNX network", FETCH_AGAIN)


@lru_cache(maxsize=2)
def in_torch(weights: Resolved, device: str, *, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Embed | None:
    """A network of ArcFace's crops on the device: float32 (N,D), OpenCV's to 1e-4 of the largest number.

    `mean` and `deviation` are of red, green and blue in levels. None for a file with operations that only OpenCV knows.
    """
    import torch

    from dawn_bench.metrics.networks.inference import exact_inference, for_inference, uploaded
    from dawn_bench.metrics.networks.onnx_graph import OnnxNetwork

    path = weights.file

    def read() -> OnnxNetwork | None:
        with suppress(NotImplementedError):
            return OnnxNetwork(path)
        return None

    network = guarded(read, path, "an ONNX network", FETCH_AGAIN)
    if network is None:
        return None
    for_inference(network, device=device)

    def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        crops = np.stack([aligned(f, five_points(p), align.ARCFACE) for f, p in zip(frames, points, strict=True)])
        with exact_inference():
            levels = uploaded(crops, device).permute(0, 3, 1, 2).float()
            centred = levels - torch.tensor(mean, device=device)[:, None, None]
            return network(centred / torch.tensor(deviation, device=device)[:, None, None]).cpu().numpy()

    return embed


_ARCFACE_RANGE = {"mean": (127.5,) * 3, "deviation": (127.5,) * 3}
_IMAGENET_RANGE = {"mean": (123.675, 116.28, 103.53), "deviation": (58.395, 57.12, 57.375)}
#: The networks that run in PyTorch on a GPU; dlib's has no such form.
_ON_DEVICE: dict[str, Callable[[Resolved, str], Embed | None]] = {
    "arcface": partial(in_torch, **_ARCFACE_RANGE),
    "arcface-r100": partial(in_torch, **_ARCFACE_RANGE),
    "mobilefacenet": partial(in_torch, **_IMAGENET_RANGE),
}
_EMBEDDERS: dict[str, Callable[[Resolved], Embed]] = {
    "arcface": arcface,
    "arcface-r100": arcface,
    "mobilefacenet": mobilefacenet,
    "dlib": dlib_face,
}
