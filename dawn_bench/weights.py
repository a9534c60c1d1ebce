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
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from platformdirs import user_cache_path

from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.files import replacing, sha256_file, user_path
from dawn_bench.hashes import hash_file, known_hashes
from dawn_bench.readers import read_torch
from dawn_bench.state_dicts import fit
from dawn_bench.weights_check import check_weight
from dawn_bench.weights_kinds import check_kind, checked_names
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


def add(path: Path, name: str | None = None, *, replace: bool = False) -> Resolved:
    """Copy a user's file into the weights folder, under the file name of the entry `name`.

    Without `name` the entry is identified by the file's hash, else by its file name, else by its content. Another file
    of that name is kept unless `replace` is set. Raises `InputError` when no single entry matches, when the file is
    another entry's published file or cannot be read as weights, when another file is there already, or when it cannot
    be copied.
    """
    path = user_path(path)
    if not path.is_file():
        raise InputError("there is no such file." if not path.is_dir() else "is a folder, not a file.", path=path)
    hashes = hash_file(path)
    known = [w for w in WEIGHTS if is_published(w, hashes)]
    matches = known or [w for w in WEIGHTS if Path(w.file).name == path.name]
    if name is None and len(matches) != 1:
        from dawn_bench.weights_folder import identify  # which imports this module

        matches = [w for w in [identify(path)] if w is not None] or matches
    if name is None and len(matches) != 1:
        which = "or ".join(f"--name {w.name} " for w in matches)
        raise InputError(
            "matches more than one entry." if matches else "matches no registry entry by hash or name.",
            path=path,
            hint=f"Say which: dawn-bench weights add PATH {which.strip() or '--name NAME'}",
        )
    weight = entry(name) if name is not None else matches[0]
    if known and weight not in known:
        raise InputError(f"is the published file of {known[0].name}, not of {weight.name}.", path=path)
    target = folder() / weight.file
    if target.exists() and target.samefile(path):
        return resolve(weight.name)
    if not known:
        check_weight(path, weight.file)
        check_kind(path, weight)
        _check_twin(weight, hashes["sha256"], path)
    if target.exists() and not replace:
        if target.is_file() and sha256_file(target) == hashes["sha256"]:
            return resolve(weight.name)
        raise InputError("is there already, with other content.", path=target, hint="Replace it with --replace.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    except OSError as error:
        raise InputError(f"could not be written ({error.strerror}).", path=target) from error
    return resolve(weight.name)


def _check_twin(weight: Weight, sha256: str, path: Path) -> None:
    """Raise `InputError` where the same bytes are there as another released model: one of the two is misnamed."""
    for other in WEIGHTS:
        there = folder() / other.file
        if not {weight.name, other.name} <= checked_names() or other == weight or not there.is_file():
            continue
        if there.stat().st_size == path.stat().st_size and known_hashes(there)["sha256"] == sha256:
            raise InputError(
                f"is the same file as {there}, which is there as {other.name}, not {weight.purpose}.",
                path=path,
                hint="One of the two is misnamed: get it again from its origin.",
            )


def download(name: str) -> Resolved:
    """Download a file into the weights folder and check it (`dawn_bench.weights_fetch.download`)."""
    from dawn_bench.weights_fetch import download as fetch  # which imports this module

    return fetch(name)
