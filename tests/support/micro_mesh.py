"""The smallest mesh cache and the smallest DiffSpeaker run on it."""

from __future__ import annotations

from pathlib import Path

from dawn_bench.cache import Cache
from dawn_bench.config import resolve_config
from dawn_bench.models.diffspeaker.presets import DiffSpeakerSettings, preset
from dawn_bench.pipelines.meshes.write import write_meshes
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.workflow.train import train


def write_mesh_cache(folder: Path) -> Path:
    """Two subjects, three sequences each to train on, one to test on; 1.5 s long."""
    root = write_meshes(folder / "set", subjects=2, train=3, test=1, seconds=1.5)
    prepare(root, folder / "cache", PrepareSettings(dataset="embedded-mesh"))
    return folder / "cache"


def micro_mesh_settings(*overrides: str) -> DiffSpeakerSettings:
    """Four steps of the smallest model; `overrides` as on the command line."""
    small = [
        "model.latent=16", "model.ff=16", "model.layers=1", "model.audio.hidden=16", "model.steps=2", "loop.steps=4",
        "loop.batch_size=4", "loop.log_every=1", "loop.save_every=2", "loop.validate_every=null", "frames=20",
    ]  # fmt: skip
    return resolve_config(preset("tiny"), overrides=[*(f"diffspeaker.{s}" for s in small), *overrides])


def micro_mesh_train(cache: Path, run: Path, *overrides: str, resume: bool = False) -> Path:
    """Train and return the checkpoint."""
    done = train(
        Cache(cache),
        micro_mesh_settings(*overrides),
        out=run,
        stages=["all"],
        seed=0,
        device="cpu",
        resume=resume,
        model="diffspeaker",
    )
    return done["diffspeaker"]
