"""Reading of PBNet's reference outputs and filling its weights by the rule of their key table."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from goldens import goldens_roots
from torch import nn

from dawn_bench.models.dawn.pbnet_config import PBNetConfig


@cache
def key_table(folder: Path) -> dict[str, dict]:
    """Variant name to its configuration and keys; from the first root that has the table when `folder` has none."""
    for place in (folder, *(root / "pbnet" for root in goldens_roots())):
        if (place / "pbnet_state_keys.json").is_file():
            return json.loads((place / "pbnet_state_keys.json").read_text())
    raise FileNotFoundError(f"no pbnet_state_keys.json next to {folder}")


def config_of(folder: Path, variant: str, **changes: object) -> PBNetConfig:
    """The configuration of a variant in the table; the sixth architecture has half the window of the fifth."""
    facts = key_table(folder)[variant]["config"]
    names = ("pos_dim", "eye_dim", "audio_dim", "audio_latent_dim", "latent_dim", "num_layers", "ff_size")
    known = {name: facts[name] for name in (*names, "num_buckets", "max_distance", "dropout")}
    return PBNetConfig.reference(**known, window=100 if facts["archiname"].endswith("6") else 200, **changes)


def fill(module: nn.Module, folder: Path, variant: str) -> None:
    """Overwrite a module's weights by the rule that the table gives for each key."""
    table = key_table(folder)[variant]["state"]
    prefix = "disc." if variant.startswith("disc_") else ""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            rule = table[prefix + key]
            noise = np.random.default_rng(zlib.crc32((prefix + key).encode())).standard_normal(tuple(tensor.shape))
            value = {
                "fan_in": lambda n=noise, r=rule: r["scale"] * n,
                "norm_weight": lambda n=noise: 1 + 0.1 * n,
                "bias": lambda n=noise: 0.05 * n,
                "running_mean": lambda n=noise: 0.1 * n,
                "running_var": lambda n=noise: 1 + 0.2 * np.abs(n),
                "keep": lambda: None,
            }[rule["init"]]()
            if value is not None:
                tensor.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))


def load_case(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of one case; half precision is widened."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if file[key].dtype.kind in "fi"}
    return {k: torch.from_numpy(a.astype(np.float32) if a.dtype == np.float16 else a) for k, a in arrays.items()}


def valid_frames(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """(B, N) True before each clip's length."""
    return torch.arange(frames)[None] < lengths[:, None]
