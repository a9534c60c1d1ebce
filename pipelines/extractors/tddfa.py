"""Head pose by 3DDFA_V2 (Guo et al. 2020), the network behind DAWN's poses, where its published files are present.

It runs on the cached frames, in the square crop around the face that 3DDFA_V2 would take (`boxes`). As in DAWN's data,
scale and translation refer to that square, 120 px a side and y up: they describe how the box sits on the head, not
where the head is in the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.extractors.base import BOX, EXTRACTORS, POSE, Extractor
from dawn_bench.pipelines.extractors.boxes import SIDE, detector_box, square
from dawn_bench.pipelines.extractors.pose import decode_matrix
from dawn_bench.provenance import pick_device
from dawn_bench.state_dicts import fit
from dawn_bench.weights_needs import first_present

if TYPE_CHECKING:
    import torch

#: Registry names: the networks, preferred first, and the file with the parameters' means and standard deviations.
_NETWORKS, _PARAMETERS = ("tddfa-v2", "tddfa-v2-small"), "tddfa-v2-params"
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

    @classmethod
    def check(cls) -> None:
        """Load the network and the table, which are small."""
        super().check()
        _network(weights.resolve(first_present(_NETWORKS), "files"), pick_device())
        _parameters(weights.resolve(_PARAMETERS, "files"))

    def fingerprint(self) -> str:
        """Identifies code and weights; part of the cache's extractor fingerprint."""
        network, parameters = weights.resolve(first_present(_NETWORKS)), weights.resolve(_PARAMETERS)
        return f"pose-3ddfa-1-{network.identity}-{parameters.identity}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`pose` (T,7) from `frames` and `landmarks`; raises `InputError` without the weights."""
        mean, spread = _parameters(weights.resolve(_PARAMETERS, "files"))
        device = pick_device(self.device)
        parameters = predict(arrays["frames"], arrays["landmarks"], device=device) * spread + mean
        matrices = parameters[:, :12].reshape(-1, 3, 4).astype(np.float64)
        return {"pose": decode_matrix(matrices).astype(np.float32)}


def predict(frames: np.ndarray, landmarks: np.ndarray, *, device: str = "auto") -> np.ndarray:
    """Standardised parameters float32 (T,62) from frames uint8 (T,H,W,3) RGB and their landmarks (T,68,2).

    Raises `InputError` if the network's file is missing or belongs to another network.
    """
    import torch

    from dawn_bench.exact import exact_inference

    network = _network(weights.resolve(first_present(_NETWORKS), "files"), device := pick_device(device))
    squares = square(detector_box(landmarks))
    rows = []
    for start in range(0, len(frames), _BATCH):
        part = slice(start, start + _BATCH)
        pictures = np.stack([cut(frame, box) for frame, box in zip(frames[part], squares[part], strict=True)])
        x_BHWC = torch.from_numpy(pictures[..., ::-1].copy()).to(device)  # trained on BGR
        with exact_inference():
            rows.append(network((x_BHWC.permute(0, 3, 1, 2).float() - 127.5) / 128).cpu().numpy())
    return np.concatenate(rows)


def cut(frame: np.ndarray, box: np.ndarray, *, side: int | None = SIDE) -> np.ndarray:
    """Crop the square `box` (4,) from a frame uint8 (H,W,3), black outside, resized to `side` (None: not resized)."""
    x0, y0, x1, y1 = (round(float(edge)) for edge in box)
    part = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    whole = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    whole[max(-y0, 0) : max(-y0, 0) + part.shape[0], max(-x0, 0) : max(-x0, 0) + part.shape[1]] = part
    return whole if side is None else cv2.resize(whole, (side, side), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=1)
def _network(resolved: weights.Resolved, device: str) -> torch.nn.Module:
    """The network, loaded once per process; its width is read from the file."""
    import torch

    from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet

    path = resolved.file
    first = fit(weights.read_state_dict(path), ("conv1.weight",)).get("conv1.weight")
    if first is None:
        raise InputError("is not a 3DDFA_V2 checkpoint: it has no conv1.weight.", path=path)
    network = MobileNet(width=len(first) / 32)
    weights.load_into(network, resolved, adapt=_published)
    return network.eval().to(torch.device(device))


def _published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a published checkpoint, which has an unused second head, under our keys."""
    return {key.replace("fc_param.", "fc."): value for key, value in state.items() if not key.startswith("fc_lm.")}


@lru_cache(maxsize=1)
def _parameters(resolved: weights.Resolved) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation float32 (62,) of the parameters, which the network predicts standardised."""
    path = resolved.file
    hint = "Get the file again from its origin."
    table = read_arrays(path, hint=hint)
    if not {"mean", "std"} <= set(table):
        raise InputError("is not 3DDFA_V2's table of means and standard deviations.", path=path, hint=hint)
    mean, spread = (table[key].astype(np.float32) for key in ("mean", "std"))
    if mean.shape != (62,) or spread.shape != (62,):
        raise InputError(f"has means of shape {mean.shape} where (62,) is expected.", path=path)
    return mean, spread
