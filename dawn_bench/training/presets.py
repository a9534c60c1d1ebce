"""Presets: `tiny` (quickstart), `small` (longer, both stages of the curriculum), `dawn-128`, `dawn-256` (as released).

`dawn-*` carries the settings of the released training files; where the paper's text differs, `dawn-128-paper` has the
paper's. The audio width is taken from the cache (`fit_to_cache`).
"""

from __future__ import annotations

from collections.abc import Callable

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_loss import LFGLossConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.training.augment import JitterConfig
from dawn_bench.training.settings import A2VTraining, LFGTraining, PBNetTraining, TrainSettings
from dawn_bench.training.stage import LoopConfig

#: Ranges in which our pose lies: degrees, then 3DDFA's scale and offsets in a crop of 120 pixels; blinks and pose then
#: weigh alike in PBNet's loss, which the released ranges do not give.
_POSE_RANGE = {"pose_min": (-30.0, -30.0, -30.0, 0.0, 0.0, 0.0), "pose_max": (30.0, 30.0, 30.0, 1e-3, 120.0, 120.0)}
#: Tiny models see few pictures: colour changes as wide as the released ones would cost steps they do not have.
_MILD = JitterConfig(brightness=0.05, contrast=0.05, saturation=0.05, hue=0.0)


#: What lets a small diffusion model learn in minutes: it predicts velocity, motion has about unit size, and pose and
#: blink differences reach it at the size of the sound features.
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
_SHORT = {"final_learning_rate": 1e-5, "log_every": 5, "save_every": 100, "clip_norm": 1.0}


def tiny() -> TrainSettings:
    """Models of under a million parameters that learn something in minutes on two cores."""
    return TrainSettings(
        preset="tiny",
        note="tiny models, a few hundred steps: proves that the job runs, not how good DAWN is",
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
            loop=LoopConfig(steps=300, batch_size=8, learning_rate=1e-3, betas=(0.5, 0.999), **_SHORT),
            jitter=_MILD,
        ),
        a2v_1=A2VTraining(
            model=A2VConfig.fixed(**_QUICK),
            loop=LoopConfig(steps=420, batch_size=4, learning_rate=3e-3, warmup=30, ema=0.98, **_SHORT),
            jitter=_MILD,
            frames=10,
            random_source=True,
        ),
        pbnet=PBNetTraining(
            model=_small_pbnet(),
            loop=LoopConfig(steps=300, batch_size=8, learning_rate=2e-3, warmup=20, **_SHORT),
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
    """The KL weight is below the paper's: at a few hundred steps the code would otherwise carry nothing."""
    return PBNetConfig.fixed(
        audio_latent_dim=64,
        pose_latent_dim=32,
        latent_dim=32,
        head_dim=16,
        ff_size=64,
        kl_start=0,
        kl_ramp=100,
        kl_weight=0.002,
        **_POSE_RANGE,
    )


def dawn_128() -> TrainSettings:
    """The released 128 px training: LFG 1000 epochs at 4e-4 (batch 82), A2V-FDM in two stages, PBNet 100,000 epochs.

    Steps are epochs times the released passes over HDTF's 369 training clips; LFG in fp32, A2V-FDM in mixed precision.
    """
    stage = LoopConfig(
        steps=250_000,
        batch_size=20,
        learning_rate=2e-4,
        betas=(0.9, 0.99),
        clip_norm=2.0,
        amp=True,
        save_every=5000,
        workers=4,
    )
    a2v = A2VTraining(model=A2VConfig.fixed(x0_weight=0.15, lip_weight=0.15), loop=stage, frames=20)
    return TrainSettings(
        preset="dawn-128",
        note="the released settings at 128 px",
        lfg=LFGTraining(
            model=LFGConfig.fixed(),
            loop=LoopConfig(
                steps=450_000,
                batch_size=82,
                learning_rate=4e-4,
                final_learning_rate=2e-6,
                betas=(0.5, 0.999),
                save_every=5000,
                workers=4,
            ),
        ),
        a2v_1=a2v,
        a2v_2=a2v.model_copy(
            update={
                "loop": stage.model_copy(update={"steps": 125_000, "batch_size": 40}),
                "frames": 40,
                "min_frames": 30,
                "random_source": True,
            }
        ),
        pbnet=PBNetTraining(
            model=PBNetConfig.fixed(),
            loop=LoopConfig(
                steps=1_000_000,
                batch_size=40,
                learning_rate=4e-4,
                final_learning_rate=2e-5,
                betas=(0.9, 0.999),
                weight_decay=0.01,
                clip_norm=2.0,
                save_every=10_000,
                workers=2,
            ),
        ),
    )


def dawn_128_paper() -> TrainSettings:
    """`dawn-128` with what the paper's text says where it differs: lip weight 1, no x0 term (Eq. 7), LFG 400 epochs."""
    base = dawn_128()
    eq7 = {"model": A2VConfig.fixed(x0_weight=0.0, lip_weight=1.0)}
    assert base.a2v_2 is not None
    return base.model_copy(
        update={
            "preset": "dawn-128-paper",
            "note": "the paper's settings at 128 px",
            "lfg": base.lfg.model_copy(update={"loop": base.lfg.loop.model_copy(update={"steps": 180_000})}),
            "a2v_1": base.a2v_1.model_copy(update=eq7),
            "a2v_2": base.a2v_2.model_copy(update=eq7),
        }
    )


def dawn_256() -> TrainSettings:
    """The released 256 px training: LFG 400 epochs at 6e-4 (batch 20), A2V-FDM as at 128 px."""
    base = dawn_128()
    loop = base.lfg.loop.model_copy(update={"steps": 738_000, "batch_size": 20, "learning_rate": 6e-4})
    return base.model_copy(
        update={
            "preset": "dawn-256",
            "note": "the released settings at 256 px",
            "lfg": base.lfg.model_copy(update={"loop": loop}),
        }
    )


PRESETS: dict[str, Callable[[], TrainSettings]] = {
    "tiny": tiny,
    "small": small,
    "dawn-128": dawn_128,
    "dawn-128-paper": dawn_128_paper,
    "dawn-256": dawn_256,
}


def preset(name: str) -> TrainSettings:
    """The preset called `name`; raises `InputError` listing the known ones."""
    if name not in PRESETS:
        raise InputError(f"there is no preset called {name!r}.", mend=f"Known: {', '.join(PRESETS)}.")
    return PRESETS[name]()


def fit_to_cache(settings: TrainSettings, cache: Cache) -> TrainSettings:
    """Set what only the data knows: the audio features' width; and that A2V-FDM fits the LFG."""
    clip = next(iter(cache))
    audio = clip[clip.audio_encoder].shape[1]
    shared = {"audio_dim": audio, "source_dim": settings.lfg.model.latent_channels}

    def a2v(stage: A2VTraining) -> A2VTraining:
        return stage.model_copy(update={"model": stage.model.model_copy(update=shared)})

    model = settings.pbnet.model.model_copy(update={"audio_dim": audio})
    return settings.model_copy(
        update={
            "a2v_1": a2v(settings.a2v_1),
            "a2v_2": a2v(settings.a2v_2) if settings.a2v_2 is not None else None,
            "pbnet": settings.pbnet.model_copy(update={"model": model}),
        }
    )
