"""Run folders of the micro models without any training: random weights, written as training writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from marked import marked_clip
from micro import micro_settings
from micro_dit_head import micro_settings as dit_head_settings
from micro_mesh import micro_mesh_settings
from torch import nn

from dawn_bench.clip import Clip
from dawn_bench.config import Config
from dawn_bench.models.checkpoint import checkpoint_kind, save_checkpoint
from dawn_bench.models.dawn.presets import fit_to_cache as dawn_fit
from dawn_bench.models.dit_head.presets import fit_to_cache as dit_head_fit

FACTS = {"size": 32, "audio_encoder": "logmel"}


class _OneClip:
    """As much of a cache as the models are fitted to."""

    size, root = 32, Path("cache")

    def __iter__(self) -> Iterator[Clip]:
        return iter([marked_clip(0, 2)])


def random_module(kind: str, config: Config, *, seed: int = 0) -> nn.Module:
    """A module of one kind of checkpoint in evaluation mode; layers that begin at zero are drawn too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = checkpoint_kind(kind).classes()[1](config).eval()
        for parameter in module.parameters():
            if not parameter.detach().any():
                nn.init.normal_(parameter, std=0.3)
    return module


def _write(folder: Path, kind: str, config: Config, *, seed: int = 0, **facts: Any) -> None:
    module = random_module(kind, config, seed=seed)
    save_checkpoint(folder / "model.safetensors", module, config=module.config, kind=kind, provenance=FACTS | facts)


def dawn_run(run: Path, *, coarse: bool = False) -> Path:
    """LFG, both stages of the A2V-FDM, PBNet and, if wanted, the coarse A2V-FDM; no two have equal weights."""
    settings = dawn_fit(micro_settings(), _OneClip())  # type: ignore[arg-type]
    _write(run / "lfg", "lfg", settings.lfg.model, stage="lfg")
    for number, stage in enumerate(("a2v-1", "a2v-2", *(("a2v-ttr",) if coarse else ())), start=1):
        _write(run / stage, "a2v", settings.a2v_1.model, seed=number, stage=stage)
    _write(run / "pbnet", "pbnet", settings.pbnet.model, stage="pbnet")
    return run


def dit_head_run(run: Path) -> Path:
    """Both VQGANs and the DiT."""
    settings = dit_head_fit(dit_head_settings(), _OneClip())  # type: ignore[arg-type]
    _write(run / "vqgan-face", "dit-head-vqgan", settings.vqgan_face.model, stage="vqgan-face")
    _write(run / "vqgan-masked", "dit-head-vqgan", settings.vqgan_masked.model, seed=1, stage="vqgan-masked")
    _write(run / "dit", "dit-head-dit", settings.dit.model, stage="dit")
    return run


def diffspeaker_run(run: Path, *, vertices: int = 5, fps: int = 25) -> Path:
    """A speaking mesh of two subjects."""
    changes = {"vertices": vertices, "fps": fps, "subjects": ("a", "b"), "period": fps}
    config = micro_mesh_settings().diffspeaker.model.model_copy(update=changes)
    _write(run / "diffspeaker", "diffspeaker", config, stage="diffspeaker")
    return run
