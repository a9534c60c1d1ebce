"""Whether a file that is not the published one has the layout of its entry's network: a few tensors tell.

Only names and shapes are read, so that a job can ask for every file that it will use before it begins. What is not in
`LAYOUTS_BY_ENTRY` has a check of its own (`dawn_bench.weights_kinds` for released models, `dawn_bench.weights_check`
for dlib's models, tables and archives); the rest is compared with the network where that is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.readers import guarded, read_torch
from dawn_bench.state_dicts import first_nan, fit
from dawn_bench.weights_check import FETCH_AGAIN, TENSOR_FILES

if TYPE_CHECKING:
    from dawn_bench.weights_table import Weight

#: Tensors by key, with their shapes; None: any number, or any shape.
Marks = Mapping[str, tuple[int | None, ...] | None]

_SPEECH: Marks = {"feature_projection.projection.weight": None, "encoder.layers.0.attention.q_proj.weight": None}
_TDDFA: tuple[Marks, ...] = tuple(
    {"conv1.weight": (None, 3, 3, 3), "dw6.conv_sep.weight": None, f"{head}.weight": (62, None)}
    for head in ("fc_param", "fc")
)
#: What tells the network of an entry, in each layout in which it is published or saved.
LAYOUTS_BY_ENTRY: Mapping[str, tuple[Marks, ...]] = {
    "inception-fid": ({"Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "fc.weight": (1008, 2048)},),
    "efficientnet-lite0": ({"_conv_stem.weight": (32, 3, 3, 3), "_fc.weight": (1000, 1280)},),
    "i3d": (
        {"Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7), "logits.conv3d.weight": (400, 1024, 1, 1, 1)},
        {"mixed_3b.branch_0.conv3d.weight": None, "conv3d_0c_1x1.conv3d.weight": (400, 1024, 1, 1, 1)},
        {"RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/w": (1, 1, 1, 1024, 400)},
    ),
    "syncnet": ({"netcnnaud.0.weight": (64, 1, 3, 3), "netfclip.3.weight": (1024, 512)},),
    "s3fd": ({"vgg.0.weight": (64, 3, 3, 3), "conf.5.weight": (2, 256, 3, 3)},),
    "s3fd-wav2lip": ({"conv1_1.weight": (64, 3, 3, 3), "conv7_2_mbox_loc.weight": (4, 256, 3, 3)},),
    "lpips-alex": ({"features.0.weight": (64, 3, 11, 11), "features.10.weight": (256, 256, 3, 3)},),
    "lpips-vgg": ({"features.0.weight": (64, 3, 3, 3), "features.24.weight": (512, 512, 3, 3)},),
    "lpips-squeeze": ({"features.0.weight": (64, 3, 3, 3), "features.12.expand3x3.weight": (256, 64, 3, 3)},),
    "vgg19": ({"features.0.weight": (64, 3, 3, 3), "features.16.weight": (256, 256, 3, 3)},),
    "fan-2d": ({"conv1.weight": (64, 3, 7, 7), "l3.weight": (68, 256, 1, 1)},),
    "tddfa-v2": _TDDFA,
    "tddfa-v2-small": _TDDFA,
    **{
        name: (_SPEECH,)
        for name in ("hubert-large", "hubert-large-bin", "hubert-base", "wav2vec2-base", "wav2vec2-base-bin")
    },
}
#: Networks in ONNX: number of outputs; for those of a fixed input, its side and the numbers that come out.
_ONNX: Mapping[str, tuple[int, int | None, int | None]] = {
    "arcface-r50": (1, 112, 512),
    "arcface-r100": (1, 112, 512),
    "mobilefacenet": (1, 112, 128),
    "insightface-68": (1, 192, 3309),
    "scrfd-10g": (9, None, None),
    "yunet": (12, None, None),
}
#: A network in ONNX of the same outputs is another one where its file is this many times larger or smaller.
_OTHER_SIZE = 2.5


def check_layout(path: Path, weight: Weight) -> None:
    """Raise `InputError` unless the file at `path` has the layout of `weight`'s network; entries without one pass."""
    if weight.name in _ONNX:
        _check_onnx(path, weight)
    layouts = LAYOUTS_BY_ENTRY.get(weight.name, ())
    if not layouts:
        return
    content = outline(path)
    reasons = [_difference(content, marks) for marks in layouts]
    if all(reasons):
        raise InputError(f"is not {weight.purpose}: {reasons[0]}.", path=path, hint=FETCH_AGAIN)


def check_numbers(path: Path, weight: Weight) -> None:
    """Raise `InputError` where a tensor of the file at `path` has values that are not numbers."""
    if not weight.file.endswith(TENSOR_FILES):
        return
    if key := first_nan(read_torch(path, hint=FETCH_AGAIN, mapped=True, skip_objects=True)):
        what = f"is not usable as {weight.purpose}: {key} has values that are not numbers (NaN)."
        raise InputError(what, path=path, hint=FETCH_AGAIN)


def check_resolved(resolved: weights.Resolved) -> None:
    """`check_layout` of the file that would be used; the published file, and a stand-in, pass."""
    if resolved.path is not None and resolved.state != "canonical":
        check_layout(resolved.path, resolved.weight)


@lru_cache(maxsize=64)
def fits(resolved: weights.Resolved) -> bool:
    """Whether `check_resolved` passes; remembered, as the hash of the file is a part of `resolved`."""
    try:
        check_resolved(resolved)
    except InputError:
        return False
    return True


def outline(path: Path) -> Any:
    """The content of a file of tensors, of which only names and shapes are meant to be read."""
    if path.suffix != ".safetensors":
        return read_torch(path, hint=FETCH_AGAIN, mapped=True, skip_objects=True)

    def read() -> dict[str, Any]:
        import torch
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - no mapping
        return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}

    return guarded(read, path, "a safetensors file", FETCH_AGAIN)


def _difference(content: Any, marks: Marks) -> str:
    """How a file's tensors differ from the marks, as a clause; empty where they do not."""
    state = fit(content, tuple(marks))
    for key, shape in marks.items():
        if key not in state:
            return f"it has no {key}"
        own = tuple(state[key].shape)
        if shape is not None and (
            len(own) != len(shape) or any(n not in (None, m) for n, m in zip(shape, own, strict=True))
        ):
            return f"{key} is {own}, not {tuple('any' if n is None else n for n in shape)}".replace("'", "")
    return ""


def _check_onnx(path: Path, weight: Weight) -> None:
    import cv2
    import numpy as np

    outputs, side, numbers = _ONNX[weight.name]
    network = guarded(lambda: cv2.dnn.readNetFromONNX(str(path)), path, "an ONNX network", FETCH_AGAIN)
    found = len(network.getUnconnectedOutLayersNames())
    reason = f"it has {found} outputs, not {outputs}" if found != outputs else ""
    if not reason and side is not None:

        def run() -> np.ndarray:
            network.setInput(np.zeros((1, 3, side, side), np.float32))
            return np.asarray(network.forward())

        values = guarded(run, path, f"a network of {side} x {side} pictures", FETCH_AGAIN)
        if values.size != numbers:
            reason = f"it gives {values.size} numbers, not {numbers}"
        elif not np.isfinite(values).all():
            reason = "it gives values that are not numbers (NaN)"
    size = path.stat().st_size
    if not reason and weight.bytes and not 1 / _OTHER_SIZE < size / weight.bytes < _OTHER_SIZE:
        reason = f"it has {size / 1e6:.1f} MB, the published one {weight.bytes / 1e6:.1f} MB"
    if reason:
        raise InputError(f"is not {weight.purpose}: {reason}.", path=path, hint=FETCH_AGAIN)
