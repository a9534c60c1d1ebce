"""The weights registry: file, public origin, sha256 and licence of every network, and the state of loaded weights.

States: `canonical` (the file has the published hash), `user` (a file with another hash, or no hash is published),
`seeded` (a deterministic stand-in). Only canonical scores are comparable with papers, so every score carries the state
of its weights.

Files are looked up in the folder `DAWN_BENCH_WEIGHTS`, else in the user's cache folder. Only `dawn-bench weights fetch`
and `dawn-bench download` use the network, never a worker or a metric.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from platformdirs import user_cache_path

from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.files import user_path
from dawn_bench.hashes import known_hashes
from dawn_bench.readers import read_torch
from dawn_bench.state_dicts import fit
from dawn_bench.weights_table import WEIGHTS, Weight

if TYPE_CHECKING:
    import torch

ENVIRONMENT = "DAWN_BENCH_WEIGHTS"
State = Literal["canonical", "user", "seeded"]
#: `auto`: the file if present, else the stand-in; `seeded`: always the stand-in; `files`: only files.
Policy = Literal["auto", "seeded", "files"]
SEEDED_SALT = "dawn-bench/"
#: Entry of a checkpoint's metadata with the hash of everything else in the file; older files lack it.
CONTENT_HASH = "sha256"


@dataclass(frozen=True)
class Resolved:
    """The source of a network's weights: registry entry, state, file (None when seeded) and sha256."""

    weight: Weight
    state: State
    path: Path | None
    sha256: str

    @property
    def file(self) -> Path:
        """`path` where there must be one, as under the policy `files`; raises `ValueError` for seeded weights."""
        if self.path is None:
            raise ValueError(f"{self.weight.name} has no file: its weights are seeded")
        return self.path

    @property
    def identity(self) -> str:
        """Entry, state and hash as a short text for fingerprints."""
        return f"{self.weight.name}:{self.state}:{self.sha256[:16]}"


def folder() -> Path:
    """The folder of weight files: `DAWN_BENCH_WEIGHTS`, else a folder in the user's cache folder."""
    return user_path(os.environ.get(ENVIRONMENT) or user_cache_path("dawn-bench") / "weights")


def entry(name: str) -> Weight:
    """The registry entry called `name`; raises `InputError` with the nearest names."""
    for weight in WEIGHTS:
        if weight.name == name:
            return weight
    raise UnknownNameError(f"there are no weights called {name!r}.", hint=nearest(name, [w.name for w in WEIGHTS]))


def locate(weight: Weight) -> Path | None:
    """The file of an entry: in the weights folder, else in the installed package that ships it, else None."""
    for file in (weight.file, *weight.also):
        if (folder() / file).is_file():
            return folder() / file
    if weight.package is not None:
        package, _, inside = weight.package.partition("/")
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / inside / weight.file).is_file():
                return Path(place) / inside / weight.file
    return None


def is_published(weight: Weight, hashes: Mapping[str, str]) -> bool:
    """Whether a file with these hashes (`sha256`, `git_blob`) is the published one; False if no hash is published."""
    if weight.sha256 is not None:
        return hashes["sha256"] == weight.sha256
    return weight.git_blob is not None and hashes["git_blob"] == weight.git_blob


def resolve(name: str, policy: Policy = "auto") -> Resolved:
    """Choose the weights of the network `name` under `policy`.

    Raises `InputError` when `policy` is `files` and the file is missing, and when it cannot be read; the message names
    its place.
    """
    weight = entry(name)
    try:
        path = locate(weight)
        hashes = known_hashes(path) if policy != "seeded" and path is not None else {}
    except OSError as error:
        file = error.filename or folder() / weight.file
        raise InputError(f"cannot be read ({error.strerror}).", path=file, hint="Check its permissions.") from error
    if hashes:
        return Resolved(weight, "canonical" if is_published(weight, hashes) else "user", path, hashes["sha256"])
    if policy == "files":
        from dawn_bench.weights_needs import missing_error  # which imports this module

        raise missing_error([(name,)])
    return Resolved(weight, "seeded", None, SEEDED_SALT + name)


def load_into(
    module: torch.nn.Module,
    resolved: Resolved,
    *,
    gain: float = 1.0,
    adapt: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
) -> None:
    """Load the resolved file into `module`, or fill it with the seeded stand-in of `gain`.

    `adapt` renames the keys of the published file to ours, after `state_dicts.fit` has taken off what wraps them.
    Raises `InputError` when keys or shapes do not fit.
    """
    if resolved.path is None:
        seeded_fill(module, salt=resolved.sha256, gain=gain)
        return
    state = fit(read_state_dict(resolved.path), module.state_dict())
    try:
        module.load_state_dict(adapt(state) if adapt else state, strict=True)
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(f"does not fit {resolved.weight.purpose}: {first[0].strip()}", path=resolved.path) from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The content of a `.safetensors` file or a PyTorch file: tensors and plain values. No code in it runs.

    Objects in it are skipped, which is said once. Raises `InputError` for a missing, truncated, foreign or unsafe file.
    """
    if not path.exists():
        raise InputError("there is no such checkpoint.", path=path)
    return read_torch(path, hint="Get the file again from its origin.", skip_objects=True)


def seeded_fill(module: torch.nn.Module, *, salt: str, gain: float = 1.0) -> None:
    """Fill a network deterministically: each tensor depends only on `salt`, its key and its shape.

    Weights have standard deviation gain/√fan-in, so that the scale of activations stays the same from layer to layer.
    """
    import torch

    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(seeded_array(salt + key, tuple(tensor.shape), gain=gain)))


def content_hash(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """The sha256 of a checkpoint: its metadata, and its tensors (on the CPU) with their names, types and shapes."""
    import torch

    facts = {key: text for key, text in metadata.items() if key != CONTENT_HASH}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key in sorted(state):
        tensor = state[key].contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # bfloat16 has no numpy type
    return digest.hexdigest()


def seeded_array(key: str, shape: tuple[int, ...], *, gain: float = 1.0) -> np.ndarray:
    """The float32 stand-in for one tensor; the last part of `key` gives its role (weight, bias, running mean, ...)."""
    last = key.rsplit(".", 1)[-1]
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if len(shape) >= 2:
        value = noise * gain / np.sqrt(np.prod(shape[1:]))
    elif last == "running_var":
        value = 1 + 0.2 * np.abs(noise)
    elif last == "running_mean":
        value = 0.1 * noise
    elif last == "weight":
        value = 0.25 + 0.05 * noise if "prelu" in key else 1 + 0.1 * noise
    else:
        value = 0.05 * noise
    return np.asarray(value, dtype=np.float32)
