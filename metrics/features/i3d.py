"""I3D logits of windows of 16 and of 32 frames, for FVD.

Windows are consecutive, start at frame 0 and do not overlap (`fvd_stride`); frames after the last full window are
dropped, and a clip shorter than a window has none. The shorter side is resized to 224 (bilinear, no antialias), the
centre is cropped, values are 2x/255 - 1.

A weights file may be StyleGAN-V's TorchScript (used without its own resize) or a state dict with the keys of
piergiaj (VideoGPT, TATS, common_metrics) or hassony2, or with the variable names of the TF-Hub graph.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.lazy import row_windows
from dawn_bench.metrics.features.inception import SEEDED_GAIN
from dawn_bench.metrics.functional.distinct import rows_of_distinct
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.i3d_keys import piergiajs_keys
from dawn_bench.metrics.networks.inference import beside, exact_inference, for_inference, uploaded
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature
from dawn_bench.pixels import to_unit
from dawn_bench.text import counted
from dawn_bench.weights import Policy, Resolved, load_into
from dawn_bench.weights_needs import Needs

SIDE = 224
#: Windows in one pass on a GPU. On a CPU more than one at a time gains nothing.
BATCH = 8
Network = Callable[[torch.Tensor], torch.Tensor]


def prepare_window(frames_THWC: torch.Tensor, *, resize: str = "short-side") -> torch.Tensor:
    """uint8 (T,H,W,3) -> float32 (3,T,224,224) in [-1, 1]. `squash` changes the aspect ratio instead of cropping."""
    x = to_unit(frames_THWC.permute(0, 3, 1, 2))
    height, width = x.shape[2:]
    if resize == "squash":
        size = (SIDE, SIDE)
    elif height < width:
        size = (SIDE, math.ceil(width * SIDE / height))
    else:
        size = (math.ceil(height * SIDE / width), SIDE)
    x = F.interpolate(x, size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return x[:, :, top : top + SIDE, left : left + SIDE].transpose(0, 1) * 2 - 1


def cut_windows(frames: np.ndarray, length: int, *, stride: int | None = None, first: bool = False) -> np.ndarray:
    """(T,...) -> (n,length,...): windows from frame 0, `stride` apart (default: `length`); n is 0 if T < length."""
    n = window_count(len(frames), length, stride=stride or length, first=first)
    if not n:
        return frames[:0].reshape(0, 0, *frames.shape[1:])
    return np.stack(list(islice(row_windows(frames, length, step=stride or length), n)))


def window_count(n_frames: int, length: int, *, stride: int, first: bool = False) -> int:
    """The number of windows of `length` frames, `stride` apart, in `n_frames`, or only the `first` one."""
    n = max(0, (n_frames - length) // stride + 1)
    return min(n, 1) if first else n


def i3d_features(
    windows: np.ndarray | Iterable[np.ndarray],
    network: Network,
    *,
    resize: str = "short-side",
    device: str = "cpu",
    batch: int = 1,
    count: int | None = None,
) -> np.ndarray:
    """uint8 (n,L,H,W,3), or windows (L,H,W,3) one by one with their `count`, -> float32 (n,400) logits.

    Repeated windows are computed once, `batch` at a time.
    """
    count = len(windows) if isinstance(windows, np.ndarray) else count or 0
    if not count:
        return np.zeros((0, 400), np.float32)

    def run(some: np.ndarray) -> np.ndarray:
        pictures = uploaded(some, device)
        prepared = [prepare_window(window, resize=resize) for window in pictures]
        return network(torch.stack(prepared) if len(prepared) > 1 else prepared[0][None]).cpu().numpy()

    with exact_inference():
        return rows_of_distinct(windows, run, size=batch, count=count, overlap=beside(device))


@lru_cache(maxsize=1)
def load_i3d(weights: Resolved, device: str, *, eps: float = 1e-3) -> Network:
    """The network with its weights, ready to score; cached for the next instance.

    `eps` applies to state dicts; a TorchScript file has its own, and is run only under its published
    hash. Raises `InputError` for a damaged or foreign file.
    """
    if weights.path is not None and _is_torchscript(weights.path):
        script = _published_script(weights.path, weights.weight.sha256, device=device)
        return partial(script, rescale=False, resize=False, return_features=True)
    network = I3D(eps=eps)
    load_into(network, weights, gain=SEEDED_GAIN, adapt=piergiajs_keys)
    return for_inference(network, device=device)


def _published_script(path: Path, sha256: str | None, *, device: str) -> torch.jit.ScriptModule:
    """TorchScript is code, so only the published file is run: the bytes that are hashed are the bytes that are loaded.

    Raises `InputError` for a file with another hash, and for a damaged one.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            "is TorchScript, which runs code, but not the published file; it was not loaded.",
            path=path,
            hint="Give a state dict, or get the published file: dawn-bench weights fetch i3d",
        )
    try:
        with warnings.catch_warnings():  # torch advises against TorchScript, but the published file is one
            warnings.simplefilter("ignore", FutureWarning)
            return torch.jit.load(io.BytesIO(data), map_location=device).eval()
    except RuntimeError as error:
        raise InputError("is damaged and was not loaded.", path=path) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


class _Windows(Feature):
    fields = ("frames",)
    device_bound = True
    length: ClassVar[int]

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.weights = self.use_weights("i3d")

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The I3D network."""
        return (("i3d",),)

    def settings(self) -> Mapping[str, Any]:
        """Stride, selection and resize of the windows, and the network's eps."""
        p = self.protocol
        windows = {"stride": p.fvd_stride or self.length, "first": p.fvd_first_n, "resize": p.fvd_resize}
        return windows | {"eps": p.fvd_batch_norm}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Logits of every window; raises `ItemError("too_short")` for a clip without one."""
        p = self.protocol
        frames, stride = clip["frames"], p.fvd_stride or self.length
        count = window_count(len(frames), self.length, stride=stride, first=p.fvd_first_n)
        if not count:
            raise ItemError("too_short", f"{clip.id} has {counted(clip.n_frames, 'frame')}, a window has {self.length}")
        network = load_i3d(self.weights, self.device, eps=float(p.fvd_batch_norm))
        windows = islice(row_windows(frames, self.length, step=stride), count)
        batch, device = 1 if self.device == "cpu" else BATCH, self.device
        logits = i3d_features(windows, network, resize=p.fvd_resize, device=device, batch=batch, count=count)
        return {self.name: logits}


@FEATURES.register("i3d.16")
class Windows16(_Windows):
    """`i3d.16` float32 (n,400)."""

    name, length = "i3d.16", 16


@FEATURES.register("i3d.32")
class Windows32(_Windows):
    """`i3d.32` float32 (n,400)."""

    name, length = "i3d.32", 32
