"""The smallest training of DiT-Head that has every part: seconds on one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.config import resolve_config
from dawn_bench.models.dit_head.config import DiTConfig, MaskConfig, VQGANConfig, VQGANLossConfig
from dawn_bench.models.dit_head.presets import DitHeadSettings, DiTTraining, VQGANTraining
from dawn_bench.training.stage import LoopConfig
from dawn_bench.workflow.train import train


def micro_settings(*overrides: str) -> DitHeadSettings:
    """All three stages, 4 steps each, batches of 4; `overrides` as on the command line."""
    loop = LoopConfig(steps=4, batch_size=4, learning_rate=1e-3, log_every=1, save_every=2)
    model = VQGANConfig(channels=8, multipliers=(1, 1, 2), blocks=1, codes=32, groups=2)
    loss = VQGANLossConfig(adversarial_from=2, discriminator_channels=4, discriminator_layers=1)
    face = VQGANTraining(model=model, loss=loss, loop=loop, perceptual="seeded")
    settings = DitHeadSettings(
        preset="micro",
        vqgan_face=face,
        vqgan_masked=face.model_copy(update={"model": model.model_copy(update={"mask": MaskConfig()})}),
        dit=DiTTraining(
            model=DiTConfig(depth=2, dim=16, heads=2, timesteps=50),
            loop=loop.model_copy(update={"ema": 0.5}),
            reference_gap=10,
            scale_frames=8,
        ),
    )
    return resolve_config(settings, overrides=overrides)


def micro_train(cache: Path, out: Path, *overrides: str, stage: str = "all", **changes: Any) -> dict[str, Path]:
    """Train the micro settings; returns the checkpoints by stage."""
    arguments = {"seed": 0, "device": "cpu"} | changes
    return train(Cache(cache), micro_settings(*overrides), out=out, stages=[stage], model="dit-head", **arguments)
