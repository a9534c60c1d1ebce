"""The smallest training that has every part: seconds a run on one core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.config import resolve_config
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_loss import LFGLossConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.models.dawn.settings import A2VTraining, LFGTraining, PBNetTraining, TrainSettings
from dawn_bench.training.stage import LoopConfig
from dawn_bench.workflow.train import train


def micro_settings(*overrides: str) -> TrainSettings:
    """All four stages, 4 steps each, batches of 4; `overrides` as on the command line."""
    small = HourglassConfig(block_expansion=4, max_features=8, num_blocks=2)
    loop = LoopConfig(steps=4, batch_size=4, learning_rate=1e-3, log_every=1, save_every=2)
    a2v = A2VTraining(
        model=A2VConfig.fixed(
            dim=8,
            dim_mults=(1, 2),
            heads=2,
            head_dim=4,
            cross_heads=2,
            cross_head_dim=4,
            mask_dims=(2, 4),
            timesteps=50,
        ),
        loop=loop.model_copy(update={"ema": 0.5}),
        frames=4,
    )
    settings = TrainSettings(
        preset="micro",
        lfg=LFGTraining(
            model=LFGConfig.fixed(
                num_regions=2,
                block_expansion=4,
                max_features=16,
                num_bottleneck_blocks=1,
                region=small,
                flow=small,
                background=small,
            ),
            loss=LFGLossConfig(scales=(1, 2)),
            loop=loop,
            perceptual="seeded",
        ),
        a2v_1=a2v,
        a2v_2=a2v.model_copy(update={"min_frames": 3, "random_source": True}),
        pbnet=PBNetTraining(
            model=PBNetConfig.fixed(
                audio_latent_dim=16, pose_latent_dim=8, latent_dim=8, num_layers=1, head_dim=4, ff_size=8
            ),
            loop=loop,
            frames=24,
        ),
    )
    return resolve_config(settings, overrides=overrides)


def micro_train(cache: Path, out: Path, *overrides: str, stage: str = "all", **changes: Any) -> dict[str, Path]:
    """Train the micro settings; returns the checkpoints by stage."""
    arguments = {"seed": 0, "device": "cpu"} | changes
    return train(Cache(cache), micro_settings(*overrides), out=out, stages=[stage], **arguments)


def losses(out: Path, stage: str) -> list[dict[str, float]]:
    """The log of a stage without what depends on the clock."""
    lines = [json.loads(line) for line in (out / stage / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "data_share"} for line in lines]
