"""Presets that learn in minutes: `tiny` (quickstart) and `small` (longer, both stages of the curriculum)."""

from __future__ import annotations

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_loss import LFGLossConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.models.dawn.settings import A2VTraining, LFGTraining, PBNetTraining, TrainSettings
from dawn_bench.training.augment import JitterConfig
from dawn_bench.training.stage import LoopConfig

#: Ranges in which a head that talks moves: degrees, then 3DDFA's scale and offsets in a crop of 120 pixels, then eye
#: aspect ratios. A short training learns only what moves by about a unit; with the released ranges a blink is a tenth.
_RANGES = {
    "pose_min": (-2.0, 4.0, -2.0, 4.2e-4, 59.0, 71.0),
    "pose_max": (2.0, 8.0, 2.0, 5.2e-4, 63.0, 75.0),
    "eye_range": (0.25, 0.30),
}
#: Tiny models are trained for few steps: colour jitter of the released strength would slow them too much.
_MILD = JitterConfig(brightness=0.05, contrast=0.05, saturation=0.05, hue=0.0)


#: Settings with which a small diffusion model learns in minutes: velocity prediction, motion of about unit scale, and
#: pose and blink differences on the scale of the audio features.
_QUICK = {
    "prediction": "velocity",
    "flow_scale": 12.0,
    "pose_scales": (1.0, 1.0, 1.0, 1000.0, 1.0, 1.0),
    "eye_scale": 20.0,
    "dim": 16,
    "dim_mults": (1, 2),
    "heads": 2,
    "head_dim": 16,
    "cross_heads": 4,
    "mask_dims": (4, 8),
}
_SHORT = {
    "final_learning_rate": 1e-5,
    "log_every": 5,
    "save_every": 100,
    "validate_every": 300,
    "validation_clips": 1,
    "clip_norm": 1.0,
}


def tiny() -> TrainSettings:
    """Models of less than a million parameters that show learning in minutes on two cores."""
    return TrainSettings(
        preset="tiny",
        note="tiny models, a few hundred steps: shows that the pipeline runs, not how good DAWN is",
        lfg=LFGTraining(
            model=LFGConfig.fixed(
                num_regions=6,
                block_expansion=16,
                max_features=64,
                num_bottleneck_blocks=1,
                region=HourglassConfig(block_expansion=12, max_features=64, num_blocks=2),
                flow=HourglassConfig(block_expansion=16, max_features=64, num_blocks=2),
                background=HourglassConfig(block_expansion=8, max_features=64, num_blocks=3),
            ),
            loss=LFGLossConfig(scales=(1, 2, 4)),
            loop=LoopConfig(steps=260, batch_size=8, learning_rate=1e-3, betas=(0.5, 0.999), **_SHORT),
            jitter=_MILD,
        ),
        a2v_1=A2VTraining(
            model=A2VConfig.fixed(**_QUICK),
            loop=LoopConfig(steps=280, batch_size=4, learning_rate=3e-3, warmup=30, ema=0.98, **_SHORT),
            jitter=_MILD,
            frames=10,
            random_source=True,
        ),
        pbnet=PBNetTraining(
            model=_small_pbnet(),
            loop=LoopConfig(steps=300, batch_size=8, learning_rate=5e-3, warmup=20, **_SHORT),
            frames=64,
            adversarial=False,
        ),
    )


def small() -> TrainSettings:
    """Larger and longer than `tiny`, with both stages of the curriculum."""
    base = tiny()
    lfg = base.lfg.model.model_copy(
        update={
            "num_regions": 10,
            "region": HourglassConfig(block_expansion=16, max_features=64, num_blocks=3),
            "flow": HourglassConfig(block_expansion=16, max_features=64, num_blocks=3),
            "background": HourglassConfig(block_expansion=8, max_features=64, num_blocks=4),
        }
    )
    first = LoopConfig(steps=700, batch_size=4, learning_rate=3e-3, warmup=30, ema=0.98, **_SHORT)
    second = first.model_copy(update={"steps": 400, "learning_rate": 1.5e-3})
    stage = base.a2v_1.model_copy(update={"loop": first, "random_source": False})
    assert base.pbnet is not None
    return base.model_copy(
        update={
            "preset": "small",
            "note": "small models, both stages of the curriculum: shows that they learn, not how good DAWN is",
            "lfg": base.lfg.model_copy(update={"model": lfg, "loop": base.lfg.loop.model_copy(update={"steps": 600})}),
            "a2v_1": stage,
            "a2v_2": stage.model_copy(update={"loop": second, "frames": 14, "min_frames": 8, "random_source": True}),
            "pbnet": base.pbnet.model_copy(
                update={"loop": base.pbnet.loop.model_copy(update={"steps": 800}), "frames": 96}
            ),
        }
    )


def _small_pbnet() -> PBNetConfig:
    """A code of one number a frame, with a heavy KL term: blinks then are its rare large values, which sampling draws.

    With a code of many channels, or a light KL term, blinks are reconstructed and never sampled.
    """
    return PBNetConfig.fixed(
        audio_latent_dim=64,
        pose_latent_dim=32,
        latent_dim=1,
        num_layers=1,
        dropout=0.0,
        bias_slope=2.0,
        head_dim=16,
        ff_size=64,
        kl_start=0,
        kl_ramp=100,
        kl_weight=0.5,
        **_RANGES,
    )
