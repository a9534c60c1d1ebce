"""How DAWN's released networks are recognised, and the one of MRAA that LFG starts from.

LFG and A2V-FDM have one layout at 128 and at 256 px. LFG's training leaves its epoch and learning rate in the file,
which differ; of the A2V-FDM nothing in the file tells the size, and its name has to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dawn_bench.weights_kinds import LAYOUTS, Kind, Layout

if TYPE_CHECKING:
    import torch

#: LFG's published training by entry: epochs (in the file's name) and initial learning rate (its configuration file).
_LFG_TRAINING = {"dawn-lfg-128": (1000, 4e-4), "dawn-lfg-256": (400, 6e-4)}
#: Epochs this close to a published count are that training's.
_CLOSE = 0.02
_PBNET = "decoder.finallayer.bias"


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


LAYOUTS.register("lfg")(Layout("pixelwise_flow_predictor.mask.weight", _lfg, (*_LFG_TRAINING, "mraa-vox256")))
LAYOUTS.register("a2v-fdm")(Layout("denoise_fn.init_conv.weight", _a2v, ("dawn-a2v-128", "dawn-a2v-256")))
LAYOUTS.register("pbnet")(Layout(_PBNET, _pbnet, ("pbnet-pose", "pbnet-blink", "pbnet-both")))
