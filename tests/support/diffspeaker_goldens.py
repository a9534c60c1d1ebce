"""Reference outputs of DiffSpeaker: cases from a folder's manifest, weights and inputs by its rule."""

from __future__ import annotations

import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig
from dawn_bench.models.diffspeaker.denoiser import Denoiser


def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The rule's normal numbers for a name."""
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)


def fill(module: torch.nn.Module) -> None:
    """Every tensor of the state dict by the rule; tables and integers stay."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith("PPE.pe") or not tensor.is_floating_point():
                continue
            value = draw(key, tuple(tensor.shape))
            if value.ndim >= 2:
                value = value / np.sqrt(np.prod(value.shape[1:]))
            else:
                value = 0.05 * value if key.endswith("bias") else 1 + 0.1 * value
            tensor.copy_(torch.from_numpy(value.astype(np.float32)))


class Folder:
    """One `diffspeaker` folder of goldens."""

    def __init__(self, manifest: Path) -> None:
        self.root, self.manifest = manifest.parent, json.loads(manifest.read_text())

    @cached_property
    def denoiser(self) -> dict[str, np.ndarray]:
        """Inputs and outputs of the denoiser by `CASE/NAME`."""
        return self._arrays("denoiser.npz")

    @cached_property
    def aux(self) -> dict[str, np.ndarray]:
        """Auxiliary arrays by name; what the manifest calls its prefix is the group of noised arrays."""
        prefix = f"{self.manifest.get('aux_prefix', 'add_noise')}/"
        loaded = self._arrays("aux.npz")
        return {f"add_noise/{k.removeprefix(prefix)}" if k.startswith(prefix) else k: v for k, v in loaded.items()}

    @property
    def letter(self) -> str:
        """What the names of this folder's inputs begin with."""
        return str(self.manifest["cases"][0]["name"]).split("_")[0]

    def file(self, name: str) -> Path:
        """A file of the folder; the test skips where a folder goes without."""
        if not (self.root / name).is_file():
            pytest.skip(f"{self.root} has no {name}")
        return self.root / name

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.file(name)) as loaded:
            return {k: loaded[k] for k in loaded.files}


class Case:
    """One denoiser of a manifest: its filled network, inputs and outputs."""

    def __init__(self, folder: Folder, facts: dict[str, Any]) -> None:
        self.folder, self.facts, self.name = folder, facts, facts["name"]
        c = facts["config"]
        self.config = DiffSpeakerConfig(
            vertices=c["nfeats"] // 3,
            latent=c["latent_dim"],
            ff=c["ff_size"],
            layers=c["num_layers"],
            heads=c["num_heads"],
            period=c["period"],
            subjects=tuple(map(str, range(c["id_dim"]))),
            audio=AudioConfig(hidden=c["audio_encoded_dim"]),
        )
        self.batch, self.frames = facts["B"], facts["T"]

    def network(self) -> Denoiser:
        """The filled denoiser."""
        network = Denoiser(self.config)
        fill(network)
        return network.eval()

    @property
    def every(self) -> int:
        """Every how many values of the last axis are stored."""
        stored = str(self.facts["stored"])
        return 1 if stored == "full" else int(stored.split("::")[1].rstrip("]"))

    def input(self, name: str) -> torch.Tensor:
        """A stored input, or one drawn by the rule."""
        key = f"{self.name}/{name}"
        if key in self.folder.denoiser:
            return torch.from_numpy(self.folder.denoiser[key])
        width = self.config.audio.hidden if name == "audio" else self.config.vertices * 3
        value = draw(key, (self.batch, self.frames, width))
        return torch.from_numpy(value * np.float32(0.5) if name == "verts" else value)

    def output(self, name: str) -> torch.Tensor:
        """A reference output of the case."""
        return torch.from_numpy(self.folder.denoiser[f"{self.name}/{name}"])

    def outputs(self, prefix: str) -> list[str]:
        """Names of the case's outputs that start with `prefix`, sorted."""
        start = f"{self.name}/{prefix}"
        return sorted(k.removeprefix(f"{self.name}/") for k in self.folder.denoiser if k.startswith(start))
