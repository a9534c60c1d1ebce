"""Checkpoints: our own as safetensors with configuration and provenance, the published ones by their key names.

No file is ever unpickled beyond tensors. What does not fit is said in one line: which keys, how many.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.files import replacing
from dawn_bench.models.dawn.lfg import LFG, LFGConfig
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig
from dawn_bench.weights import read_state_dict

#: Version of the metadata that a checkpoint carries.
SCHEMA = "1"


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint: where its configuration and its module, built from that alone, are defined."""

    config: str  #: "package.module:Class"
    module: str

    def classes(self) -> tuple[type[Config], type[nn.Module]]:
        """Import both."""
        found = []
        for place in (self.config, self.module):
            module, _, name = place.partition(":")
            found.append(getattr(importlib.import_module(module), name))
        return found[0], found[1]


#: What `load_checkpoint` can build; another model adds its line.
CHECKPOINT_KINDS: dict[str, Kind] = {
    "lfg": Kind("dawn_bench.models.dawn.lfg:LFGConfig", "dawn_bench.models.dawn.lfg:LFG"),
    "a2v": Kind("dawn_bench.models.dawn.a2v_config:A2VConfig", "dawn_bench.models.dawn.a2v:A2VFDM"),
    "pbnet": Kind("dawn_bench.models.dawn.pbnet:PBNetConfig", "dawn_bench.models.dawn.pbnet:PBNet"),
    "dit-head-vqgan": Kind("dawn_bench.models.dit_head.config:VQGANConfig", "dawn_bench.models.dit_head.vqgan:VQGAN"),
    "diffspeaker": Kind(
        "dawn_bench.models.diffspeaker.config:DiffSpeakerConfig", "dawn_bench.models.diffspeaker.model:DiffSpeaker"
    ),
    "dit-head-dit": Kind("dawn_bench.models.dit_head.config:DiTConfig", "dawn_bench.models.dit_head.dit:DiT"),
}


def save_checkpoint(path: Path, module: nn.Module, *, config: Config, kind: str, provenance: Mapping[str, Any]) -> None:
    """Write `module` to `path` (.safetensors) in one step: a reader never sees half a file.

    `provenance` is anything JSON can hold: seeds, versions, data fingerprints, losses.
    """
    from safetensors.torch import save_file

    metadata = {
        "schema": SCHEMA,
        "kind": kind,
        "config": json.dumps(config.model_dump(mode="json")),
        "provenance": json.dumps(dict(provenance), default=str),
    }
    # Copies, since safetensors refuses tensors that share memory (rotary frequencies do).
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in module.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sole=True) as temporary:
        save_file(state, temporary, metadata=metadata)


def load_checkpoint(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """The module in evaluation mode, on the CPU, and its provenance.

    Raises `InputError` when the file is absent, damaged, of another kind, or does not fit its own configuration.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") != kind:
        raise InputError(f"is a checkpoint of kind {metadata.get('kind')!r}, not {kind!r}.", path=path)
    config_class, module_class = CHECKPOINT_KINDS[kind].classes()
    try:
        config = config_class.model_validate_json(metadata["config"])
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = "It comes from another version of dawn-bench: train again."
        raise InputError(
            f"has a configuration that does not fit: {name}: {first['msg']}.", path=path, hint=hint
        ) from error
    module = module_class(config)
    load_keys(module, read_state_dict(path), path=path, what=f"its own {kind} configuration")
    return module.eval(), json.loads(metadata["provenance"])


def read_metadata(path: Path) -> dict[str, str]:
    """Kind, configuration and provenance of one of our checkpoints, as JSON texts, without reading the tensors."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError("there is no such checkpoint.", path=path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InputError("is damaged or no safetensors file.", path=path, hint="Train or fetch it again.") from error
    if metadata.get("schema") != SCHEMA:
        hint = "Published weights are given to the options that name them; see: dawn-bench weights list"
        raise InputError("is no checkpoint of dawn-bench.", path=path, hint=hint)
    return metadata


def load_published_lfg(path: Path, config: LFGConfig | None = None) -> LFG:
    """The LFG of a released file (LFG_128_1000ep.pth, LFG_256_400ep.pth), with the reference's behaviour.

    Raises `InputError` naming missing, unexpected and misshapen keys.
    """
    state = _published(path)
    model = LFG(config or LFGConfig.reference())
    parts = [name for name, _ in model.named_children()]
    absent = [part for part in parts if not isinstance(state.get(part), Mapping)]
    if absent:
        raise InputError(f"is no LFG checkpoint: it has no {_few(absent)}.", path=path)
    load_keys(model, {f"{p}.{k}": t for p in parts for k, t in state[p].items()}, path=path, what="the LFG")
    return model.eval()


def load_published_pbnet(path: Path, *, window: int | None = 200) -> PBNet:
    """PBNet of a released file (pose, blink or both), which is a bare state dict; its widths tell the configuration.

    `window` cannot be read off the file: 200 is that of the released code. Raises `InputError` as above.
    """
    state = _published(path)
    try:
        config = _pbnet_config(state, window)
    except (KeyError, AttributeError) as error:
        raise InputError(f"is no PBNet checkpoint: it has no {error.args[0]}.", path=path) from error
    model = PBNet(config)
    tables = ("encoder.sequence_pos_encoder.pe", "decoder.sequence_pos_encoder.pe")  # constants, computed here
    load_keys(model, {k: t for k, t in state.items() if k not in tables}, path=path, what="PBNet")
    return model.eval()


def _published(path: Path) -> Mapping[str, Any]:
    state: Any = read_state_dict(path)
    if not isinstance(state, Mapping):
        raise InputError(f"holds a {type(state).__name__}, not named tensors.", path=path)
    return state


def _pbnet_config(state: Mapping[str, Tensor], window: int | None) -> PBNetConfig:
    dim = state["decoder.finallayer.bias"].shape[0]
    pose_latent, audio = (state[f"encoder.{n}Embedding.weight"].shape[0] for n in ("pose", "audio"))
    buckets, heads = state["decoder.time_rel_pos_bias_tgt.relative_attention_bias.weight"].shape
    layers = sum(k.startswith("decoder.seqTransDecoder") and k.endswith("layer_norm1.bias") for k in state)
    return PBNetConfig.reference(
        pos_dim=dim if dim == 6 else dim - 2,
        eye_dim=0 if dim == 6 else 2,
        audio_dim=state["encoder.audioEmbedding.weight"].shape[1],
        audio_latent_dim=audio,
        pose_latent_dim=pose_latent,
        latent_dim=state["encoder.mu_layer.bias"].shape[0],
        num_layers=layers,
        num_heads=heads,
        head_dim=state["decoder.init_temporal_attn.fn.fn.to_out.weight"].shape[1] // heads,
        ff_size=state["decoder.seqTransDecoder.decoder_layers.0.ffn.linear1.bias"].shape[0],
        num_buckets=buckets,
        rotary_dim=2 * state["decoder.init_temporal_attn.fn.fn.rotary_emb.freqs"].shape[0],
        window=window,
    )


def load_keys(module: nn.Module, state: Mapping[str, Any], *, path: Path, what: str) -> None:
    """`load_state_dict` whose refusal is one line.

    Raises `InputError` with the number and the first few of missing, unexpected and misshapen keys.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {_shape(state[key])} instead of {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in state and _shape(state[key]) != _shape(tensor)
    ]
    faults = [
        f"{len(keys)} {name} ({_few(keys)})"
        for name, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if faults:
        raise InputError(f"does not fit {what}: keys {', '.join(faults)}.", path=path)
    module.load_state_dict(dict(state))


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _few(keys: list[str], limit: int = 3) -> str:
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
