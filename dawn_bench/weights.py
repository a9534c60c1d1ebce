"""The weights registry: every network's file, public origin, sha256, licence, and how a number made with it counts.

States: `canonical` (the file's hash is the published one), `user` (a file is there with another hash, or none was
published), `seeded` (a deterministic stand-in). Only canonical scores compare with papers, and the state travels with
every number.

Files are looked for in the folder `DAWN_BENCH_WEIGHTS`, else in the user's cache folder; nothing is ever downloaded
by a worker or a metric, only by `dawn-bench weights fetch`.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from platformdirs import user_cache_path

from dawn_bench.errors import InputError
from dawn_bench.provenance import sha256_file
from dawn_bench.weights_table import WEIGHTS, Weight

if TYPE_CHECKING:
    import torch

ENVIRONMENT = "DAWN_BENCH_WEIGHTS"
State = Literal["canonical", "user", "seeded"]
#: `auto` uses a file where there is one and the stand-in elsewhere; `seeded` always the stand-in; `files` only files.
Policy = Literal["auto", "seeded", "files"]
SEEDED_SALT = "dawn-bench/"


@dataclass(frozen=True)
class Resolved:
    """What a network will be filled with: its registry entry, the state, the file (None when seeded) and its sha256."""

    weight: Weight
    state: State
    path: Path | None
    sha256: str

    @property
    def identity(self) -> str:
        """A short text for fingerprints: entry, state and hash."""
        return f"{self.weight.name}:{self.state}:{self.sha256[:16]}"


def folder() -> Path:
    """Where weight files live: `DAWN_BENCH_WEIGHTS`, else the user's cache folder."""
    return Path(os.environ.get(ENVIRONMENT) or user_cache_path("dawn-bench") / "weights")


def entry(name: str) -> Weight:
    """The registry entry called `name`; raises `InputError` listing the known names."""
    for weight in WEIGHTS:
        if weight.name == name:
            return weight
    raise InputError(f"there are no weights called {name!r}.", mend=f"Known: {', '.join(w.name for w in WEIGHTS)}.")


def resolve(name: str, policy: Policy = "auto") -> Resolved:
    """Decide what fills the network `name` under `policy`.

    Raises `InputError` when `policy` is `files` and the file is absent; the message says where to put it.
    """
    weight = entry(name)
    path = folder() / weight.file
    if policy != "seeded" and path.is_file():
        digest = _cached_sha256(path)
        return Resolved(weight, "canonical" if digest == weight.sha256 else "user", path, digest)
    if policy == "files":
        raise InputError(
            f"the weights of {weight.purpose} are missing.",
            path=path,
            mend=f"Put {weight.file} (from {weight.origin}) there, or: dawn-bench weights fetch {name}",
        )
    return Resolved(weight, "seeded", None, SEEDED_SALT + name)


def load_into(
    module: torch.nn.Module,
    resolved: Resolved,
    *,
    gain: float = 1.0,
    adapt: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
) -> None:
    """Fill `module` from the resolved file, or with the seeded stand-in. `adapt` renames published keys to ours.

    Raises `InputError` when the file's keys or shapes do not fit the network.
    """
    if resolved.path is None:
        seeded_fill(module, salt=resolved.sha256, gain=gain)
        return
    state = read_state_dict(resolved.path)
    try:
        module.load_state_dict(adapt(state) if adapt else state, strict=True)
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(f"does not fit {resolved.weight.purpose}: {first[0].strip()}", path=resolved.path) from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from `.safetensors`, or from a `.pth`/`.pt` read with `weights_only` (no code in it is ever run).

    Raises `InputError` in one line for a truncated, foreign or unsafe file.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no such checkpoint.", path=path) from error
    except Exception as error:  # torch and safetensors raise a dozen types for a bad file
        foreign = "weights_only" in str(error).lower()
        kind = "holds objects other than tensors, which could run code" if foreign else "is damaged or no checkpoint"
        mend = "Get the file again from its origin."
        raise InputError(f"{kind}; it was not loaded.", path=path, mend=mend) from error


def seeded_fill(module: torch.nn.Module, *, salt: str, gain: float = 1.0) -> None:
    """Fill a network deterministically: each tensor depends only on `salt`, its key and its shape.

    Weights have standard deviation gain/√fan-in, so that signals keep their size through the depth.
    """
    import torch

    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(seeded_array(salt + key, tuple(tensor.shape), gain=gain)))


def seeded_array(key: str, shape: tuple[int, ...], *, gain: float = 1.0) -> np.ndarray:
    """The float32 stand-in for one tensor, by the role that its key's last part tells."""
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


def add(path: Path, name: str | None = None) -> Resolved:
    """Copy a user's file into the weights folder under the registry's file name, found by name or by file name.

    Raises `InputError` when no entry matches.
    """
    if not path.is_file():
        raise InputError("there is no such file.", path=path)
    if name is None:
        digest = sha256_file(path)
        matches = [w for w in WEIGHTS if w.sha256 == digest] or [w for w in WEIGHTS if w.file == path.name]
        if not matches:
            raise InputError(
                "is none of the registry's files by hash or name.",
                path=path,
                mend="Say which: weights add PATH --name NAME",
            )
        name = matches[0].name
    weight = entry(name)
    target = folder() / weight.file
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(target.suffix + ".part")
    shutil.copyfile(path, partial)
    partial.replace(target)
    return resolve(name)


def _cached_sha256(path: Path) -> str:
    """The file's sha256, remembered beside it by size and mtime: large files are hashed once."""
    note = path.with_name(path.name + ".sha256.json")
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    try:
        held = json.loads(note.read_text())
        if held["stamp"] == stamp:
            return held["sha256"]
    except (OSError, ValueError, KeyError):
        held = None
    digest = sha256_file(path)
    try:
        note.write_text(json.dumps({"stamp": stamp, "sha256": digest}))
    except OSError:
        return digest  # a read-only weights folder only costs hashing again
    return digest


def download(name: str) -> Resolved:
    """Fetch a file from its public origin into the weights folder, atomically, and check its hash.

    Raises `InputError` when there is no direct address, the network fails, or the hash is not the published one.
    """
    import urllib.error
    import urllib.request

    from dawn_bench.progress import meter

    weight = entry(name)
    if weight.url is None:
        raise InputError(
            f"{weight.file} has no direct address.",
            mend=f"Get it from {weight.origin}, then: dawn-bench weights add FILE",
        )
    target = folder() / weight.file
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(target.suffix + ".part")
    try:
        with urllib.request.urlopen(weight.url, timeout=60) as answer, partial.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or weight.bytes
            with meter(weight.file, total=size and size / 1e6, unit="MB") as progress:
                while block := answer.read(1 << 20):
                    file.write(block)
                    progress.advance(len(block) / 1e6)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"could not be downloaded ({error}).",
            path=weight.url,
            mend="On a machine without network: dawn-bench weights add FILE",
        ) from error
    if weight.sha256 is not None and (digest := sha256_file(partial)) != weight.sha256:
        partial.unlink()
        raise InputError(f"has sha256 {digest}, published is {weight.sha256}; it was deleted.", path=weight.url)
    partial.replace(target)
    return resolve(name)
