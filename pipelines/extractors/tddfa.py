"""Head pose by 3DDFA_V2 (Guo et al. 2020), the network behind DAWN's poses, where its published files are present.

It runs on the cached frames, in a square crop around the face as 3DDFA derives it from a detector box. DAWN took the
box from FaceBoxes; here it is estimated from the 68 landmarks, with factors measured against FaceBoxes
(`detector_box`). As in DAWN's data, scale and translation refer to that square, 120 px a side and y up: they describe
how the box sits on the head, not where the head is in the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.extractors.base import BOX, EXTRACTORS, POSE, Extractor
from dawn_bench.pipelines.extractors.pose import decode_matrix
from dawn_bench.provenance import pick_device
from dawn_bench.weights_advice import absent

if TYPE_CHECKING:
    import torch

#: Registry names: the networks, preferred first, and the file with the parameters' means and standard deviations.
_NETWORKS, _PARAMETERS = ("tddfa-v2", "tddfa-v2-small"), "tddfa-v2-params"
_SIDE = 120
#: Size of the FaceBoxes box (mean of width and height), and offset (x, y) of its centre from the landmarks' mean, both
#: in units of the landmarks' spread: medians over 180 frames of 36 real clips, which vary by 0.10, 0.13 and 0.08
#: between frames.
_BOX_SIDE, _BOX_SHIFT = 3.0, np.array([0.0, -0.347])
#: Batch size of the network.
_BATCH = 32


@EXTRACTORS.register("pose-3ddfa")
class PoseTddfa(Extractor):
    """`pose` float32 (T,7): yaw, pitch, roll in degrees, scale, tx, ty, tz, as stored by DAWN's preparation."""

    name = "pose-3ddfa"
    needs = ("frames", "landmarks")
    kind = POSE
    convention = BOX
    weights = (_NETWORKS, (_PARAMETERS,))

    @staticmethod
    def missing() -> str | None:
        """Why the extractor cannot run here; None if it can."""
        return absent(PoseTddfa.weights, job=PoseTddfa.name)

    def fingerprint(self) -> str:
        """Identifies code and weights; part of the cache's extractor fingerprint."""
        return f"pose-3ddfa-1-{weights.resolve(_present()).identity}-{weights.resolve(_PARAMETERS).identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`pose` (T,7) from `frames` and `landmarks`; raises `InputError` without the weights."""
        mean, spread = _parameters(_file(_PARAMETERS))
        parameters = predict(arrays["frames"], arrays["landmarks"]) * spread + mean
        matrices = parameters[:, :12].reshape(-1, 3, 4).astype(np.float64)
        return {"pose": decode_matrix(matrices).astype(np.float32)}


def predict(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Standardised parameters float32 (T,62) from frames uint8 (T,H,W,3) RGB and their landmarks (T,68,2).

    Raises `InputError` if the network's file is missing or belongs to another network.
    """
    import torch

    device, name = pick_device(), _present()
    network = _network(_file(name), name, device)
    squares = square(detector_box(landmarks))
    rows = []
    for start in range(0, len(frames), _BATCH):
        part = slice(start, start + _BATCH)
        pictures = np.stack([cut(frame, box) for frame, box in zip(frames[part], squares[part], strict=True)])
        x_BHWC = torch.from_numpy(pictures[..., ::-1].copy()).to(device)  # trained on BGR
        with torch.inference_mode():
            rows.append(network((x_BHWC.permute(0, 3, 1, 2).float() - 127.5) / 128).cpu().numpy())
    return np.concatenate(rows)


def detector_box(landmarks: np.ndarray) -> np.ndarray:
    """Estimate FaceBoxes' boxes float64 (T,4), x0, y0, x1, y1, from landmarks (T,68,2).

    Centre and side follow from the landmarks' mean and spread (root mean square distance from the mean).
    """
    mean = landmarks.astype(np.float64).mean(axis=1)
    spread = np.sqrt(((landmarks - mean[:, None]) ** 2).sum(axis=2).mean(axis=1))[:, None]
    centre = mean + _BOX_SHIFT * spread
    half = _BOX_SIDE * spread / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def square(boxes: np.ndarray) -> np.ndarray:
    """3DDFA_V2's square crops float64 (T,4) for detector boxes (T,4): enlarged by 1.58, shifted down by 0.14 sides."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    mean = (width + height) / 2
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2 + np.stack([np.zeros_like(mean), 0.14 * mean], axis=1)
    side = np.floor(mean * 1.58)[:, None]
    return np.concatenate([centre - side / 2, centre + side / 2], axis=1)


def cut(frame: np.ndarray, box: np.ndarray, *, side: int | None = _SIDE) -> np.ndarray:
    """Crop the square `box` (4,) from a frame uint8 (H,W,3), black outside, resized to `side` (None: not resized)."""
    x0, y0, x1, y1 = (round(float(edge)) for edge in box)
    part = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    whole = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    whole[max(-y0, 0) : max(-y0, 0) + part.shape[0], max(-x0, 0) : max(-x0, 0) + part.shape[1]] = part
    return whole if side is None else cv2.resize(whole, (side, side), interpolation=cv2.INTER_LINEAR)


def _present() -> str:
    """The preferred network among those present; the first if none is."""
    return next((name for name in _NETWORKS if weights.resolve(name).path), _NETWORKS[0])


def _file(name: str) -> Path:
    path = weights.resolve(name, "files").path
    assert path is not None  # guaranteed by the policy `files`
    return path


@lru_cache(maxsize=1)
def _network(path: Path, name: str, device: str) -> torch.nn.Module:
    """The network, loaded once per process; its width is read from the file."""
    import torch

    from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet

    state = _published(weights.read_state_dict(path))
    first = state.get("conv1.weight")
    if first is None:
        raise InputError("is not a 3DDFA_V2 checkpoint: it has no conv1.weight.", path=path)
    network = MobileNet(width=len(first) / 32)
    weights.load_into(network, weights.resolve(name), adapt=_published)
    return network.eval().to(torch.device(device))


def _published(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Convert a published checkpoint, saved from a data-parallel model and with an unused second head, to our keys."""
    state = {key.removeprefix("module."): value for key, value in checkpoint.get("state_dict", checkpoint).items()}
    return {key.replace("fc_param.", "fc."): value for key, value in state.items() if not key.startswith("fc_lm.")}


@lru_cache(maxsize=1)
def _parameters(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation float32 (62,) of the parameters, which the network predicts standardised."""
    hint = "Get the file again from its origin."
    table = read_arrays(path, hint=hint)
    if not {"mean", "std"} <= set(table):
        raise InputError("is not 3DDFA_V2's table of means and spreads.", path=path, hint=hint)
    mean, spread = (table[key].astype(np.float32) for key in ("mean", "std"))
    if mean.shape != (62,) or spread.shape != (62,):
        raise InputError(f"has means of shape {mean.shape} where (62,) is expected.", path=path)
    return mean, spread
