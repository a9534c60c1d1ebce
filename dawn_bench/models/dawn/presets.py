"""Presets: `tiny` (quickstart), `small` (longer, both stages of the curriculum), `dawn-128`, `dawn-256` (as released).

`dawn-128` and `dawn-256` have the released settings, `dawn-128-fixed` the same without the bugs of the released code,
and `dawn-128-paper` the settings in the paper's text where they differ. `NAME+ABLATION` is a preset with one of the
paper's ablations (`ABLATIONS`). The audio width is taken from the cache (`fit_to_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, unknown_name
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_loss import LFGLossConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.models.dawn.settings import A2VTraining, LFGTraining, PBNetTraining, TrainSettings
from dawn_bench.models.notes import training_notes
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.progress import console
from dawn_bench.training.augment import JitterConfig
from dawn_bench.training.stage import LoopConfig

#: Ranges of the cached pose: degrees, then 3DDFA's scale and offsets in a crop of 120 pixels. With them pose and blinks
#: have equal weight in PBNet's loss, unlike with the released ranges.
_POSE_RANGE = {"pose_min": (-30.0, -30.0, -30.0, 0.0, 0.0, 0.0), "pose_max": (30.0, 30.0, 30.0, 1e-3, 120.0, 120.0)}
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
#: Frame stride of the coarse model of two temporal resolutions.
TTR_STRIDE = 4
#: The former suffix of the names of `-fixed` presets.
_FORMER_ENDING = "-mended"
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
    """The KL weight is below the paper's: otherwise the latent code collapses within a few hundred steps."""
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
    """The released training at 128 px, including the quirks of the released code, so that released weights fit.

    LFG 1000 epochs at 4e-4 (batch 82), A2V-FDM in two stages, PBNet 100,000 epochs. Steps are epochs times the
    released number of batches for HDTF's 369 training clips: an LFG epoch has each clip 100 times, a PBNet epoch has
    10 batches of up to 40. Mixed precision is bfloat16 where the released A2V-FDM has float16 with loss scaling.
    """
    stage = LoopConfig(
        steps=250_000,
        batch_size=20,
        learning_rate=2e-4,
        final_learning_rate=1e-6,
        betas=(0.9, 0.99),
        clip_norm=2.0,
        amp=True,
        save_every=5000,
        validate_every=5000,
        workers=4,
    )
    a2v = A2VTraining(model=A2VConfig.reference(), loop=stage, frames=20)
    return TrainSettings(
        preset="dawn-128",
        note="the released settings at 128 px",
        lfg=LFGTraining(
            model=LFGConfig.reference(),
            loop=LoopConfig(
                steps=450_000,
                batch_size=82,
                learning_rate=4e-4,
                final_learning_rate=2e-6,
                betas=(0.5, 0.999),
                save_every=5000,
                validate_every=5000,
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
            model=PBNetConfig.reference(),
            loop=LoopConfig(
                steps=1_000_000,
                batch_size=40,
                learning_rate=4e-4,
                final_learning_rate=2e-5,
                betas=(0.9, 0.999),
                weight_decay=0.01,
                clip_norm=2.0,
                save_every=10_000,
                validate_every=10_000,
                workers=2,
            ),
            steps_per_epoch=10,
        ),
    )


def dawn_128_fixed() -> TrainSettings:
    """`dawn-128` without the bugs of the released code: for training from scratch."""
    return _with_models(
        dawn_128(),
        preset="dawn-128-fixed",
        note="the released settings at 128 px, with the bugs of the released code fixed",
        lfg=LFGConfig.fixed(),
        a2v=A2VConfig.fixed(x0_weight=0.15, lip_weight=0.15),
        pbnet=PBNetConfig.fixed(kl_weight=0.004, gan_weight=1.0, reg_weight=0.0005),
    )


def dawn_128_paper() -> TrainSettings:
    """`dawn-128-fixed` with the settings in the paper's text where they differ (Eq. 7, appendix A.2).

    Lip weight 1 and no x0 term; LFG 400 epochs; PBNet 1600 epochs of 25 passes, no KL term for 400 of them, then a
    warm-up to 0.01 at the end; adversarial weight 0.6.
    """
    base = _with_models(
        dawn_128(),
        preset="dawn-128-paper",
        note="the paper's settings at 128 px",
        lfg=LFGConfig.fixed(),
        a2v=A2VConfig.fixed(x0_weight=0.0, lip_weight=1.0),
        pbnet=PBNetConfig.fixed(kl_weight=0.01, gan_weight=0.6, kl_start=10_000, kl_ramp=30_000),
    )
    assert base.pbnet is not None
    lfg = base.lfg.loop.model_copy(update={"steps": 180_000})
    pbnet = base.pbnet.loop.model_copy(update={"steps": 400_000})
    return base.model_copy(
        update={
            "lfg": base.lfg.model_copy(update={"loop": lfg}),
            "pbnet": base.pbnet.model_copy(update={"loop": pbnet}),
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


def _with_models(
    base: TrainSettings, *, preset: str, note: str, lfg: LFGConfig, a2v: A2VConfig, pbnet: PBNetConfig
) -> TrainSettings:
    """`base` with other models; loops and data unchanged."""
    assert base.a2v_2 is not None and base.pbnet is not None
    return base.model_copy(
        update={
            "preset": preset,
            "note": note,
            "lfg": base.lfg.model_copy(update={"model": lfg}),
            "a2v_1": base.a2v_1.model_copy(update={"model": a2v}),
            "a2v_2": base.a2v_2.model_copy(update={"model": a2v}),
            "pbnet": base.pbnet.model_copy(update={"model": pbnet}),
        }
    )


PRESETS: dict[str, Callable[[], TrainSettings]] = {
    "tiny": tiny,
    "small": small,
    "dawn-128": dawn_128,
    "dawn-128-fixed": dawn_128_fixed,
    "dawn-128-paper": dawn_128_paper,
    "dawn-256": dawn_256,
}


def only_stage_1(settings: TrainSettings) -> TrainSettings:
    """The first stage alone, for as many training frames as both stages have together (paper, Section 4.5)."""
    first = settings.a2v_1
    steps = round(_frames(settings) / (_length(first) * first.loop.batch_size))
    loop = first.loop.model_copy(update={"steps": steps})
    return settings.model_copy(update={"a2v_1": first.model_copy(update={"loop": loop}), "a2v_2": None})


def only_stage_2(settings: TrainSettings) -> TrainSettings:
    """The second stage alone and from scratch, as stage `a2v-1`, for as many training frames as both have together."""
    second = _second(settings)
    steps = round(_frames(settings) / (_length(second) * second.loop.batch_size))
    loop = settings.a2v_1.loop.model_copy(update={"steps": steps, "batch_size": second.loop.batch_size})
    return settings.model_copy(update={"a2v_1": second.model_copy(update={"loop": loop}), "a2v_2": None})


def no_pbnet(settings: TrainSettings) -> TrainSettings:
    """A2V-FDM is conditioned on audio only and generates head pose and blinks itself; no PBNet (Table 4)."""
    audio_only = {"pose_scales": (0.0,) * settings.a2v_1.model.pose_dim, "eye_scale": 0.0}
    stages = {"a2v_1": settings.a2v_1, "a2v_2": settings.a2v_2}
    changed = {
        name: stage.model_copy(update={"model": stage.model.model_copy(update=audio_only)})
        for name, stage in stages.items()
        if stage is not None
    }
    return settings.model_copy(update={**changed, "pbnet": None})


def ttr(settings: TrainSettings) -> TrainSettings:
    """Another A2V-FDM at a quarter of the frame rate, for the strategy of two temporal resolutions (Table 2)."""
    coarse = settings.a2v_1.model_copy(update={"stride": TTR_STRIDE, "random_source": True})
    return settings.model_copy(update={"a2v_ttr": coarse})


#: The paper's ablations of training by name.
ABLATIONS: dict[str, Callable[[TrainSettings], TrainSettings]] = {
    "only-stage-1": only_stage_1,
    "only-stage-2": only_stage_2,
    "no-pbnet": no_pbnet,
    "ttr": ttr,
}


def _second(settings: TrainSettings) -> A2VTraining:
    if settings.a2v_2 is None:
        raise InputError(
            f"preset {settings.preset!r} has one stage of A2V-FDM, which cannot be left out.",
            hint="Use small or dawn-128.",
        )
    return settings.a2v_2


def _length(stage: A2VTraining) -> float:
    """Mean length of a window, frames."""
    return (stage.frames + (stage.min_frames or stage.frames)) / 2


def _frames(settings: TrainSettings) -> float:
    """Total number of training frames of both stages of A2V-FDM."""
    both = (settings.a2v_1, _second(settings))
    return sum(_length(stage) * stage.loop.batch_size * stage.loop.steps for stage in both)


def preset(name: str) -> TrainSettings:
    """The preset called `name`, or `name+ablation`; raises `InputError` listing the known names.

    The former suffix `-mended` of `-fixed` still works, with a note.
    """
    base, plus, change = name.partition("+")
    if base.endswith(_FORMER_ENDING):
        base = base.removesuffix(_FORMER_ENDING) + "-fixed"
        console().print(f"preset {name} is now called {base}{plus}{change}", markup=False)
        name = f"{base}{plus}{change}"
    if base not in PRESETS:
        raise unknown_name("preset", base, PRESETS)
    if not change:
        return PRESETS[base]()
    if change not in ABLATIONS:
        raise unknown_name("ablation", change, ABLATIONS)
    changed = ABLATIONS[change](PRESETS[base]())
    return changed.model_copy(update={"preset": name, "note": f"{changed.note}; {change}"})


def fit_to_cache(settings: TrainSettings, cache: Cache) -> TrainSettings:
    """Set the width of the audio features from the data, and the widths of the A2V-FDM from the LFG."""
    clip = next(iter(cache))
    audio = clip[audio_encoder_of(clip)].shape[1]
    shared = {"audio_dim": audio, "source_dim": settings.lfg.model.latent_channels}

    def fitted(stage: Any, changes: dict[str, int]) -> Any:
        return stage and stage.model_copy(update={"model": stage.model.model_copy(update=changes)})

    a2v = {name: fitted(getattr(settings, name), shared) for name in ("a2v_1", "a2v_2", "a2v_ttr")}
    return settings.model_copy(update={**a2v, "pbnet": fitted(settings.pbnet, {"audio_dim": audio})})


def facts(cache: Cache) -> Mapping[str, Any]:
    """Facts on the data: frame size and audio features."""
    return {"size": cache.size, "audio_encoder": audio_encoder_of(next(iter(cache)))}


def report_notes(run: Path) -> list[str]:
    """Notes for the report on a run: preset and substituted losses."""
    return training_notes(run, title="DAWN", main="lfg", stages=("lfg", "a2v-1", "a2v-2", "a2v-ttr", "pbnet"))
