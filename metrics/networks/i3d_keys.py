"""Maps the key names of published I3D weights to piergiaj's.

* piergiaj (VideoGPT, TATS, common_metrics): `Mixed_3b.b1a.conv3d.weight`;
* hassony2: `mixed_3b.branch_1.0.conv3d.weight`;
* TF-Hub's graph: `RGB/inception_i3d/Mixed_3b/Branch_1/Conv3d_0a_1x1/conv_3d/w`, kernels in the order T,H,W,in,out,
  batch normalisation without a scale.
"""

from __future__ import annotations

import re

import torch

State = dict[str, torch.Tensor]

_TF = "RGB/inception_i3d/"
_HASSONY2_UNITS = {"0": "b0", "1.0": "b1a", "1.1": "b1b", "2.0": "b2a", "2.1": "b2b", "3.1": "b3b"}
_TF_NORMS = {"beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def piergiajs_keys(state: State) -> State:
    """The same weights under piergiaj's keys; a state dict with these or with unknown keys is returned as it is."""
    if any(key.startswith(_TF) for key in state):
        return _from_tf({key.removeprefix(_TF): tensor for key, tensor in state.items() if key.startswith(_TF)})
    if any(key.startswith("mixed_3b.branch_0.") for key in state):
        return {_from_hassony2(key): tensor for key, tensor in state.items()}
    return state


def _from_hassony2(key: str) -> str:
    if key.startswith("conv3d_0c_1x1."):
        return key.replace("conv3d_0c_1x1", "logits")
    key = re.sub(r"\.branch_(0|\d\.\d)\.", lambda match: f".{_HASSONY2_UNITS[match[1]]}.", key)
    return key.replace("conv3d_", "Conv3d_", 1).replace("mixed_", "Mixed_", 1).replace(".batch3d.", ".bn.")


def _from_tf(state: State) -> State:
    out: State = {}
    for key, tensor in state.items():
        *scope, kind, name = key.split("/")
        if scope[0] == "Logits":
            unit = "logits"
        elif len(scope) == 1:
            unit = scope[0]
        else:
            branch = scope[1].removeprefix("Branch_")
            # the second unit of a branch is the 3x3x3 one, regardless of its name (Mixed_5b's third is misnamed)
            part = "" if branch == "0" else "b" if branch == "3" or "3x3" in scope[2] else "a"
            unit = f"{scope[0]}.b{branch}{part}"
        if kind == "conv_3d":
            out[f"{unit}.conv3d.{'weight' if name == 'w' else 'bias'}"] = (
                tensor.permute(4, 3, 0, 1, 2).contiguous() if name == "w" else tensor.flatten()
            )
        else:
            out[f"{unit}.bn.{_TF_NORMS[name]}"] = tensor.flatten()
            if name == "beta":
                out[f"{unit}.bn.weight"] = torch.ones_like(tensor.flatten())
                out[f"{unit}.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    return out
