"""DiT-Head's training: settings of its three stages, and the presets `tiny`, `small`, `paper`.

The paper's summary gives no step counts, batch sizes or learning rates: those of every preset are ours (`paper` follows
the published settings of VQGAN and DiffTalk where available).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.models.dit_head.audio import ENCODER, encoder_of
from dawn_bench.models.dit_head.config import (
    OURS,
    DiTConfig,
    MaskConfig,
    VQGANConfig,
    VQGANLossConfig,
    origin,
    ours,
)
from dawn_bench.models.notes import training_notes
from dawn_bench.models.substitutes import (
    SUBSTITUTES_FIELD,
    Substitute,
    Substitutes,
    audio_note,
    audio_substitute,
    picture_substitute,
)
from dawn_bench.training.stage import LoopConfig
from dawn_bench.weights import Policy


class VQGANTraining(Config):
    """Stages `vqgan-face` (whole frames) and `vqgan-masked` (frames without the mouth)."""

    model: VQGANConfig = VQGANConfig()
    loss: VQGANLossConfig = VQGANLossConfig()
    loop: LoopConfig = LoopConfig()
    flip: bool = origin(True, OURS, "mirror half of the frames")
    perceptual: Policy = Field(
        "auto", description="VGG-19 weights; seeded: the pixel-based substitute, which is noted in the checkpoint"
    )


class DiTTraining(Config):
    """Stage `dit`: the denoiser on the latents of both frozen VQGANs."""

    model: DiTConfig = DiTConfig()
    loop: LoopConfig = LoopConfig()
    reference_gap: int = origin(
        25, OURS, "minimum distance of the reference frame in frames, if the clip is long enough", ge=0
    )
    scale_frames: int = origin(64, OURS, "number of frames for measuring the scale of the latents", ge=2)
    quick_steps: int = Field(10, ge=1, le=999, description="DDIM steps in validation")


class DitHeadSettings(Config):
    """Settings of a whole training of DiT-Head."""

    preset: str
    note: str = Field("", description="purpose of the preset, shown in reports")
    substitutes: Substitutes = SUBSTITUTES_FIELD
    vqgan_face: VQGANTraining = VQGANTraining()
    vqgan_masked: VQGANTraining = VQGANTraining(model=VQGANConfig(mask=MaskConfig()))
    dit: DiTTraining = DiTTraining()


#: A polygon that also hides the contour of the cheeks. A linear probe predicts the mouth opening from the contour
#: (correlation on held-out clips: 0.3 for real faces, 0.9 for the embedded faces), and a model trained for minutes
#: would follow the contour instead of the audio.
_WIDE = MaskConfig(jaw=(1, 15), pull=-0.25, chin=0.1)
_SHORT = {"final_learning_rate": 1e-5, "log_every": 5, "save_every": 100, "clip_norm": 1.0}
#: Validating a clip takes as long as about two steps of a VQGAN, or ten of the transformer: at most about 5 % of the
#: time of a stage (measured for `tiny` and `small` on two cores).
_LOOKS = {"validate_every": 100, "validation_clips": 4}


def tiny() -> DitHeadSettings:
    """Models of about a million parameters that show learning in minutes on two cores."""
    model = VQGANConfig(channels=16, multipliers=(1, 2, 4), blocks=1, codes=512, latent_channels=4, groups=4)
    loss = VQGANLossConfig(adversarial_from=300, adversarial_weight=0.1, discriminator_channels=8)
    loop = LoopConfig(steps=400, batch_size=8, learning_rate=2e-3, betas=(0.5, 0.9), warmup=10, **_SHORT, **_LOOKS)
    face = VQGANTraining(model=model, loss=loss, loop=loop)
    return DitHeadSettings(
        preset="tiny",
        note="tiny models, a few hundred steps: shows that the pipeline runs, not how good DiT-Head is",
        vqgan_face=face,
        vqgan_masked=face.model_copy(
            update={
                "model": model.model_copy(update={"mask": _WIDE}),
                "loss": loss.model_copy(update={"adversarial_from": 120}),
                "loop": loop.model_copy(update={"steps": 150}),
            }
        ),
        dit=DiTTraining(
            model=DiTConfig(
                depth=4, dim=128, heads=4, latent_channels=4, masked_channels=4, prediction="velocity", mouth_weight=4.0
            ),
            loop=LoopConfig(
                steps=900, batch_size=16, learning_rate=1e-3, warmup=30, ema=0.98, validate_every=450, **_SHORT
            ),
            quick_steps=3,
        ),
    )


def small() -> DitHeadSettings:
    """Wider and longer than `tiny`: hours on a CPU, minutes on a GPU."""
    base = tiny()

    def longer(stage: VQGANTraining, steps: int) -> VQGANTraining:
        model = stage.model.model_copy(update={"channels": 32, "codes": 2048, "groups": 8})
        loss = stage.loss.model_copy(update={"adversarial_from": steps // 2, "discriminator_channels": 32})
        loop = stage.loop.model_copy(update={"steps": steps, "validate_every": steps // 8})
        return stage.model_copy(update={"model": model, "loss": loss, "loop": loop})

    dit = base.dit.model.model_copy(update={"depth": 6, "dim": 192, "heads": 6})
    return base.model_copy(
        update={
            "preset": "small",
            "note": "small models, a few thousand steps: shows that they learn, not how good DiT-Head is",
            "vqgan_face": longer(base.vqgan_face, 4000),
            "vqgan_masked": longer(base.vqgan_masked, 2000),
            "dit": base.dit.model_copy(
                update={
                    "model": dit,
                    "loop": base.dit.loop.model_copy(
                        update={"steps": 6000, "ema": 0.999, "validate_every": 1000, "validation_clips": 4}
                    ),
                }
            ),
        }
    )


def paper() -> DitHeadSettings:
    """Full size: VQGANs as DiffTalk's first stage, a DiT-S/2 of 29 million parameters; for GPUs."""
    loop = LoopConfig(
        steps=200_000,
        batch_size=8,
        learning_rate=3.6e-5,
        betas=(0.5, 0.9),
        amp=True,
        save_every=5000,
        validate_every=5000,
        validation_clips=8,
        workers=4,
    )
    face = VQGANTraining(loop=loop)
    return DitHeadSettings(
        preset="paper",
        note="the paper's design at full size; sizes, steps and rates missing in the paper are ours",
        substitutes="refuse",
        vqgan_face=face,
        vqgan_masked=face.model_copy(update={"model": VQGANConfig(mask=MaskConfig())}),
        dit=DiTTraining(
            loop=LoopConfig(
                steps=400_000,
                batch_size=32,
                learning_rate=1e-4,
                betas=(0.9, 0.999),
                ema=0.9999,
                clip_norm=1.0,
                amp=True,
                save_every=5000,
                validate_every=5000,
                validation_clips=4,
                workers=4,
            )
        ),
    )


PRESETS: dict[str, Callable[[], DitHeadSettings]] = {"tiny": tiny, "small": small, "paper": paper}


def preset(name: str) -> DitHeadSettings:
    """The preset called `name`; raises `InputError` listing the known names."""
    if name not in PRESETS:
        raise UnknownNameError(f"DiT-Head has no preset called {name!r}.", hint=nearest(name, PRESETS))
    return PRESETS[name]()


def fit_to_cache(settings: DitHeadSettings, cache: Cache) -> DitHeadSettings:
    """Set the width of the audio features from the data, and make both VQGANs, their masks and the DiT consistent.

    Raises `InputError` when the frame size is not a multiple of the models' downsampling factors.
    """
    clip = next(iter(cache))
    face, masked, dit = settings.vqgan_face.model, settings.vqgan_masked.model, settings.dit.model
    for model in (face, masked):
        if model.factor != face.factor or cache.size % (model.factor * dit.patch):
            raise InputError(
                f"holds frames of {cache.size} px, which VQGANs of factor {face.factor} and {masked.factor} and "
                f"patches of {dit.patch} do not divide.",
                path=cache.root,
                hint="Prepare with another --size, or set the multipliers of both VQGANs alike.",
            )
    widths = {
        "audio_dim": clip[encoder_of(clip)].shape[1],
        "latent_channels": face.latent_channels,
        "masked_channels": masked.latent_channels,
        "mask": masked.mask or MaskConfig(),
    }
    masked = masked.model_copy(update={"mask": widths["mask"]})
    return settings.model_copy(
        update={
            "vqgan_face": settings.vqgan_face.model_copy(update={"model": face.model_copy(update={"mask": None})}),
            "vqgan_masked": settings.vqgan_masked.model_copy(update={"model": masked}),
            "dit": settings.dit.model_copy(update={"model": dit.model_copy(update=widths)}),
        }
    )


def facts(cache: Cache) -> Mapping[str, Any]:
    """Facts on the data: frame size, and the audio features, Wav2Vec2 or a substitute."""
    return {"size": cache.size, "audio_encoder": encoder_of(next(iter(cache)))}


def substitutes(settings: DitHeadSettings, cache: Cache, stage: str) -> list[Substitute]:
    """What a stage trains with in place of Wav2Vec2 and of the perceptual loss; raises as `picture_substitute`."""
    if stage != "dit":
        training = settings.vqgan_face if stage == "vqgan-face" else settings.vqgan_masked
        return picture_substitute(stage, training.perceptual)
    clip = next(iter(cache))
    encoder = encoder_of(clip)
    return audio_substitute("DiT-Head", encoder, clip[encoder].shape[1], paper=ENCODER, name="Wav2Vec2")


def choices(stage: VQGANTraining | DiTTraining) -> dict[str, Any]:
    """The settings of a stage that the paper does not state, for the checkpoint's provenance and the report."""
    settings = {f"model.{name}": value for name, value in ours(stage.model).items()}
    if isinstance(stage, VQGANTraining):
        settings |= {f"loss.{name}": value for name, value in ours(stage.loss).items()}
    else:
        settings |= {"reference_gap": stage.reference_gap, "scale_frames": stage.scale_frames}
    loop = stage.loop
    return settings | {
        "loop": {"steps": loop.steps, "batch_size": loop.batch_size, "learning_rate": loop.learning_rate}
    }


def report_notes(run: Path) -> list[str]:
    """Notes for the report on a run: preset, substitutes, and every setting that the paper does not state."""

    def more(stage: str, provenance: Mapping[str, Any]) -> list[str]:
        encoder = provenance.get("audio_encoder")
        if stage != "dit" or encoder == ENCODER:
            return []
        return [audio_note("DiT-Head", str(encoder), name="Wav2Vec2")]

    return training_notes(run, title="DiT-Head", main="dit", stages=("vqgan-face", "vqgan-masked", "dit"), more=more)
