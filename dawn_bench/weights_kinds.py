"""Which network a checkpoint holds, read off its tensors: a file that is misnamed or swapped is refused by its content.

It serves the entries of released models, whose hashes nobody has stated. LFG and A2V-FDM have one layout at 128 and at
256 px. LFG's training leaves its epoch and learning rate in the file, which differ; of the A2V-FDM nothing in the file
tells the size, and its name has to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawn_bench.errors import InputError
from dawn_bench.readers import read_torch
from dawn_bench.state_dicts import fit
from dawn_bench.weights_check import FETCH_AGAIN

if TYPE_CHECKING:
    import torch

    from dawn_bench.weights_table import Weight

#: LFG's published training by entry: epochs (in the file's name) and initial learning rate (its configuration file).
_LFG_TRAINING = {"dawn-lfg-128": (1000, 4e-4), "dawn-lfg-256": (400, 6e-4)}
#: Epochs this close to a published count are that training's.
_CLOSE = 0.02


@dataclass(frozen=True)
class Kind:
    """A network: what to call it, and the registry names of the files that hold one."""

    title: str
    names: tuple[str, ...] = ()


def kind_of(content: Any) -> Kind | None:
    """The released model that a checkpoint's content holds, in any layout; None if it is none of them."""
    for mark, describe in _MARKS.items():
        state = fit(content, (mark,))
        if mark in state:
            return describe(state, content)
    return None


def check_kind(path: Path, weight: Weight) -> None:
    """Raise `InputError` unless the file at `path` can be the entry `weight`; entries of other networks pass.

    The message says which network the file holds.
    """
    if weight.name not in KNOWN:
        return
    kind = kind_of(read_torch(path, hint=FETCH_AGAIN, mapped=True, skip_objects=True))
    if kind is None:
        raise InputError(f"is not {weight.purpose}: it has none of its tensors.", path=path, hint=FETCH_AGAIN)
    if weight.name not in kind.names:
        hint = f"Give it its own name: dawn-bench weights add FILE --name {kind.names[0]}" if kind.names else ""
        raise InputError(f"is {kind.title}, not {weight.purpose}.", path=path, hint=hint)


def _lfg(state: Mapping[str, torch.Tensor], content: Any) -> Kind:
    if any(str(key).startswith("avd_network") for key in content):
        return Kind("MRAA's network with its animation by disentanglement", ("mraa-vox256",))
    sizes = _sizes(content)
    if len(sizes) == 1:
        epochs, rate = _LFG_TRAINING[sizes[0]]
        size = sizes[0].rpartition("-")[2]
        return Kind(f"DAWN's LFG at {size} px (by its training: {epochs} epochs, learning rate {rate})", sizes)
    if "example" not in content:  # DAWN's training counts examples, MRAA's does not
        return Kind("a network of MRAA's layout", (*sizes, "mraa-vox256"))
    return Kind("DAWN's LFG", sizes)


def _sizes(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries of LFG whose training a file's records allow: both, unless they are those of one alone."""
    epoch, optimizer = content.get("epoch"), content.get("optimizer")
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    first = groups[0] if isinstance(groups, list) and groups else None
    rate = first.get("initial_lr") if isinstance(first, Mapping) else None
    for name, (epochs, own_rate) in _LFG_TRAINING.items():
        by_rate = isinstance(rate, float) and abs(rate - own_rate) < 1e-6
        by_epoch = isinstance(epoch, int) and abs(epoch - epochs) <= _CLOSE * epochs
        if by_rate or (by_epoch and not isinstance(rate, float)):
            return (name,)
    return tuple(_LFG_TRAINING)


def _a2v(state: Mapping[str, torch.Tensor], content: Any) -> Kind:
    return Kind("DAWN's A2V-FDM", ("dawn-a2v-128", "dawn-a2v-256"))


def _pbnet(state: Mapping[str, torch.Tensor], content: Any) -> Kind:
    width = len(state[_PBNET])
    names = {6: "pbnet-pose", 2: "pbnet-blink", 8: "pbnet-both"}
    titles = {6: "DAWN's PBNet for head pose", 2: "DAWN's PBNet for blinks", 8: "DAWN's PBNet for pose and blinks"}
    return Kind(titles[width], (names[width],)) if width in names else Kind(f"a PBNet of {width} numbers a frame")


def _diffspeaker(state: Mapping[str, torch.Tensor], content: Any) -> Kind:
    width = len(state[_DIFFSPEAKER])
    dataset = {70110: "biwi", 15069: "vocaset"}.get(width)
    if dataset is None:
        return Kind(f"a DiffSpeaker of {width // 3} vertices")
    title = {"biwi": "BIWI", "vocaset": "VOCASET"}[dataset]
    return Kind(f"DiffSpeaker for {title}", tuple(f"diffspeaker-{e}-{dataset}" for e in ("hubert", "wav2vec2")))


_PBNET, _DIFFSPEAKER = "decoder.finallayer.bias", "denoiser.motion_decoder.bias"
#: A tensor that only this network has -> what the file is.
_MARKS: dict[str, Callable[[Mapping[str, torch.Tensor], Any], Kind]] = {
    "pixelwise_flow_predictor.mask.weight": _lfg,
    "denoise_fn.init_conv.weight": _a2v,
    _PBNET: _pbnet,
    _DIFFSPEAKER: _diffspeaker,
}
#: The entries whose content is checked.
KNOWN = {
    *_LFG_TRAINING, "dawn-a2v-128", "dawn-a2v-256", "pbnet-pose", "pbnet-blink", "pbnet-both", "mraa-vox256",
    *(f"diffspeaker-{encoder}-{dataset}" for encoder in ("hubert", "wav2vec2") for dataset in ("biwi", "vocaset")),
}  # fmt: skip
