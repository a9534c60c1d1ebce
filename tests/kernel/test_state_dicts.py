"""One function takes off what wraps a published state dict, whatever the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.state_dicts import fit

State = dict[str, torch.Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "head": nn.Linear(3, 1)})
    net["positions"] = parametrizations.weight_norm(nn.Conv1d(3, 3, 3))
    return net


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def other(state: State) -> State:
    return {key: tensor + 1 for key, tensor in state.items()}


def old_norm(state: State) -> State:
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in names.items():
        state = {key.replace(new, old): tensor for key, tensor in state.items()}
    return state


#: How files of the field wrap the state dict of a network.
LAYOUTS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "data-parallel": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled data-parallel": lambda s: {"model": prefixed(s, "module._orig_mod.")},
    "enclosing model": lambda s: prefixed(s, "model."),
    "Lightning": lambda s: {"epoch": 3, "state_dict": {**prefixed(s, "model."), "loss.vgg.weight": torch.ones(9)}},
    "named": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "parts": lambda s: (
        {
            part: {key.partition(".")[2]: t for key, t in s.items() if key.startswith(f"{part}.")}
            for part in ("encoder", "head", "positions")
        }
        | {"optimizer": {"state": {}}, "epoch": torch.tensor(3), "discriminator": {"conv.weight": torch.ones(3)}}
    ),
    "data-parallel parts": lambda s: {
        part: {f"module.{key.partition('.')[2]}": t for key, t in s.items() if key.startswith(f"{part}.")}
        for part in ("encoder", "head", "positions")
    },
    "average beside": lambda s: {"params": other(s), "params_ema": s},
    "average of Lightning": lambda s: {"state_dict": {**prefixed(other(s), "model."), **prefixed(s, "ema_model.")}},
    "averaged module": lambda s: {"n_averaged": torch.tensor(3), **prefixed(s, "module.")},
    "discriminator of the same keys": lambda s: {
        "discriminator": {key: torch.ones(7, 7, 7) for key in s},
        "generator": s,
    },
    "old weight normalisation": old_norm,
    "no counters": lambda s: {key: t for key, t in s.items() if not key.endswith("num_batches_tracked")},
    "training heads": lambda s: {
        **s,
        "masked_spec_embed": torch.ones(4),
        "encoder.position_ids": torch.arange(4)[None],
    },
    "fine-tuned": lambda s: {
        **prefixed(old_norm(s), "hubert."),
        "hubert.masked_spec_embed": torch.ones(3),
        "lm_head.weight": torch.ones(32, 4),
        "lm_head.bias": torch.ones(32),
    },
    "deep": lambda s: {"a": {"b": {"state_dict": prefixed(s, "model.net.module.")}}},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_fills_the_network(tmp_path: Path, layout: str, legacy: bool) -> None:
    source, target = network(), network()
    for tensor in target.state_dict().values():
        tensor.zero_()
    torch.save(LAYOUTS[layout](source.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    weights.load_into(target, weights.Resolved(weights.entry("syncnet"), "user", tmp_path / "a.pth", "0" * 64))
    for key, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], tensor), key


@pytest.mark.parametrize("layout", ["bare", "data-parallel", "Lightning", "parts"])
def test_keys_that_do_not_fit_are_named_in_every_layout(tmp_path: Path, layout: str) -> None:
    state = network().state_dict()
    for change, says in (
        ({"head.stranger": torch.ones(1)}, "head.stranger"),
        ({"head.bias": None}, "head.bias"),
        ({"head.weight": torch.ones(4, 4)}, "head.weight"),
    ):
        changed: Any = {key: t for key, t in {**state, **change}.items() if t is not None}
        torch.save(LAYOUTS[layout](changed), tmp_path / "a.pth")
        with pytest.raises(InputError, match=f"does not fit .*{says}|{says}") as caught:
            weights.load_into(network(), weights.Resolved(weights.entry("i3d"), "user", tmp_path / "a.pth", "0" * 64))
        assert "\n" not in str(caught.value)


def test_a_network_with_a_part_called_module_keeps_it() -> None:
    net = nn.ModuleDict({"module": nn.Linear(2, 2), "x": nn.Linear(2, 2)})
    state = fit(prefixed(net.state_dict(), "model."), net.state_dict())
    assert set(state) == set(net.state_dict())


def test_without_expected_keys_the_largest_part_is_taken() -> None:
    content = {
        "epoch": 1,
        "small": {"z": torch.ones(1)},
        "state_dict": prefixed(network().state_dict(), "module.model."),
    }
    assert set(fit(content, ("features.0.weight",))) == set(network().state_dict())
    assert fit({"epoch": 1}, ("a",)) == {} and fit([1], ("a",)) == {}
