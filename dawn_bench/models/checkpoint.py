"""Checkpoints of every model: safetensors files with a kind, a configuration and a provenance.

The kinds are those of the registered models (`ModelSpec.checkpoints`). Published files have readers in the folders of
their models, which use `load_keys` and `read_tensors`. Only tensors are ever unpickled. Keys that do not
fit are reported in one line, with their number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from dawn_bench import readers
from dawn_bench.config import Config
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.files import replacing
from dawn_bench.models.spec import MODELS, CheckpointKind
from dawn_bench.text import few
from dawn_bench.training.loop import MODEL_FILE
from dawn_bench.weights import CONTENT_HASH, content_hash, read_state_dict

#: Version of the metadata that a checkpoint carries.
SCHEMA = "1"
_AGAIN = "The file is damaged or of another kind: train or fetch it again."


def save_checkpoint(path: Path, module: nn.Module, *, config: Config, kind: str, provenance: Mapping[str, Any]) -> None:
    """Write `module` to `path` (.safetensors) atomically.

    `provenance` is any JSON-serialisable mapping: seeds, versions, data fingerprints, losses.
    """
    from safetensors.torch import save_file

    # Copies, since safetensors refuses tensors that share memory (rotary frequencies do).
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in module.state_dict().items()}
    metadata = {
        "schema": SCHEMA,
        "kind": kind,
        "config": json.dumps(config.model_dump(mode="json")),
        "provenance": json.dumps(dict(provenance), default=str),
    }
    metadata[CONTENT_HASH] = content_hash(state, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def checkpoint_kind(name: str) -> CheckpointKind:
    """The kind called `name` of any registered model; raises `InputError` when no model has it."""
    kinds = {kind: known for model in MODELS for kind, known in MODELS[model].checkpoints.items()}
    if name not in kinds:
        raise UnknownNameError(f"no model has checkpoints of kind {name!r}.", hint=nearest(name, kinds))
    return kinds[name]


def load_checkpoint(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """The module in evaluation mode, on the CPU, and its provenance.

    Raises `InputError` when the file is absent, damaged, of another kind, or does not fit its own configuration.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") != kind:
        raise InputError(f"is a checkpoint of kind {metadata.get('kind')!r}, not {kind!r}.", path=path)
    config_class, module_class = checkpoint_kind(kind).classes()
    try:
        config = config_class.model_validate_json(metadata["config"])
        module = module_class(config)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = "It comes from another version of dawn-bench: train again."
        raise InputError(
            f"has a configuration that does not fit: {name}: {first['msg']}.", path=path, hint=hint
        ) from error
    state = read_state_dict(path)
    if CONTENT_HASH in metadata and metadata[CONTENT_HASH] != content_hash(state, metadata):
        raise readers.DamageError("is damaged: its content does not match its hash.", path=path, hint=_AGAIN)
    load_keys(module, state, path=path, what=f"its own {kind} configuration")
    return module.eval(), provenance_of(metadata, path)


def read_metadata(path: Path) -> dict[str, str]:
    """Kind, configuration and provenance of a dawn-bench checkpoint, as JSON strings, without reading the tensors."""
    if not path.is_file():
        raise InputError("there is no such checkpoint.", path=path)
    metadata = readers.read_metadata(path, hint=_AGAIN)
    if metadata.get("schema") != SCHEMA:
        hint = "Published weights are given to the options that name them; see: dawn-bench weights list"
        raise InputError("is not a checkpoint of dawn-bench.", path=path, hint=hint)
    if absent := [key for key in ("kind", "config", "provenance") if key not in metadata]:
        raise readers.DamageError(f"lacks the metadata {', '.join(absent)}.", path=path, hint=_AGAIN)
    return metadata


def provenance_of(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The provenance in a checkpoint's metadata; raises `InputError` naming the file `path` where it is damaged."""
    try:
        provenance = readers.parse_json(metadata["provenance"])
    except ValueError as error:
        raise readers.DamageError("its provenance is not valid JSON.", path=path, hint=_AGAIN) from error
    if not isinstance(provenance, dict):
        raise readers.DamageError("its provenance is not a JSON object.", path=path, hint=_AGAIN)
    return provenance


def stage_kinds(run: Path) -> list[tuple[str, str | None]]:
    """The stages of a run folder, each with the kind of its checkpoint (None: the file cannot be read), by name."""
    kinds: list[tuple[str, str | None]] = []
    for path in sorted(run.glob(f"*/{MODEL_FILE}")):
        try:
            kinds.append((path.parent.name, read_metadata(path)["kind"]))
        except InputError:
            kinds.append((path.parent.name, None))
    return kinds


def read_tensors(path: Path) -> Mapping[str, Any]:
    """A published file's tensors by name, perhaps nested; raises `InputError` for other content."""
    state: Any = read_state_dict(path)
    if not isinstance(state, Mapping):
        raise InputError(f"holds a {type(state).__name__}, not named tensors.", path=path)
    return state


def load_keys(module: nn.Module, state: Mapping[str, Any], *, path: Path, what: str) -> None:
    """`load_state_dict` with a one-line error.

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
        f"{len(keys)} {name} ({few(keys)})"
        for name, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if faults:
        raise InputError(f"does not fit {what}: keys {', '.join(faults)}.", path=path)
    module.load_state_dict(dict(state))


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
