"""DiffSpeaker's training settings, the preset `tiny`, and the four released presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig, EncoderName, published
from dawn_bench.models.notes import training_notes
from dawn_bench.models.substitutes import Substitute
from dawn_bench.training.data import training_ids
from dawn_bench.training.stage import LoopConfig


class DiffSpeakerTraining(Config):
    """Stage `diffspeaker`: encoder and denoiser together, on sequences of vertices."""

    model: DiffSpeakerConfig = DiffSpeakerConfig()
    loop: LoopConfig = LoopConfig()
    frames: int | None = Field(None, ge=2, description="longest window, frames; None: whole sequences, as released")
    pretrained: bool = Field(True, description="start from the published speech encoder, whose file must be present")
    own_subjects: bool = Field(
        False, description="use the cache's training subjects as styles, not the published subjects"
    )


class DiffSpeakerSettings(Config):
    """Settings of a whole training of DiffSpeaker."""

    preset: str
    note: str = Field("", description="purpose of the preset, shown in reports")
    diffspeaker: DiffSpeakerTraining = DiffSpeakerTraining()


def tiny() -> DiffSpeakerSettings:
    """A model of half a million parameters on log mel energies: learns the embedded meshes in a minute or two."""
    return DiffSpeakerSettings(
        preset="tiny",
        note="a tiny model on log mel energies: shows that the pipeline runs, not how good DiffSpeaker is",
        diffspeaker=DiffSpeakerTraining(
            model=DiffSpeakerConfig(
                latent=64, ff=128, layers=2, audio=AudioConfig(encoder="logmel", hidden=64), steps=10
            ),
            loop=LoopConfig(
                steps=450,
                batch_size=8,
                learning_rate=2e-3,
                final_learning_rate=2e-5,
                warmup=20,
                clip_norm=1.0,
                log_every=5,
                save_every=200,
                validate_every=150,
            ),
            frames=50,
            pretrained=False,
            own_subjects=True,
        ),
    )


#: Epochs, sequences per epoch, items per step (over all devices) and steps between saves, as released.
_RELEASED: dict[tuple[str, str], tuple[int, int, int]] = {
    ("biwi", "hubert"): (500, 192 * 20, 128),
    ("biwi", "wav2vec2"): (700, 192 * 20, 128),
    ("vocaset", "hubert"): (10_000, 314, 32),
    ("vocaset", "wav2vec2"): (9000, 314, 32),
}


def released(dataset: Literal["biwi", "vocaset"], encoder: EncoderName) -> DiffSpeakerSettings:
    """The authors' launch settings of a variant: AdamW at a constant 1e-4, without gradient clipping or averaging.

    BIWI: 16 items on each of 8 devices; an epoch has every sequence 20 times.
    """
    epochs, sequences, batch = _RELEASED[dataset, encoder]
    return DiffSpeakerSettings(
        preset=f"{dataset}-{encoder}",
        note=f"the released settings for {dataset} with {encoder}",
        diffspeaker=DiffSpeakerTraining(
            model=published(dataset, encoder),
            loop=LoopConfig(
                steps=epochs * -(-sequences // batch),
                batch_size=batch,
                learning_rate=1e-4,
                final_learning_rate=1e-4,
                betas=(0.9, 0.999),
                weight_decay=0.01,
                save_every=1000,
                validate_every=1000,
                workers=4,
            ),
        ),
    )


PRESETS: dict[str, Callable[[], DiffSpeakerSettings]] = {
    "tiny": tiny,
    **{f"{data}-{encoder}": partial(released, data, encoder) for data, encoder in _RELEASED},  # type: ignore[arg-type]
}


def preset(name: str) -> DiffSpeakerSettings:
    """The preset called `name`; raises `InputError` listing the known names."""
    if name not in PRESETS:
        raise UnknownNameError(f"DiffSpeaker has no preset called {name!r}.", hint=nearest(name, PRESETS))
    return PRESETS[name]()


def fit_to_cache(settings: DiffSpeakerSettings, cache: Cache) -> DiffSpeakerSettings:
    """Set vertices, frame rate and subjects from the data where the preset leaves them open; otherwise compare.

    Raises `InputError` when the cache holds no meshes, or meshes that do not fit the preset.
    """
    clip = next(iter(cache))
    if "vertices" not in clip:
        raise InputError(
            "holds videos; DiffSpeaker learns from meshes.",
            path=cache.root,
            hint="Prepare one with --dataset biwi, vocaset or embedded-mesh.",
        )
    training = settings.diffspeaker
    model, vertices = training.model, clip["vertices"].shape[1]
    speakers = tuple(sorted({cache[i].speaker for i in training_ids(cache)}))
    if training.own_subjects:
        changes = {"vertices": vertices, "fps": clip.fps, "period": clip.fps, "subjects": speakers}
        model = model.model_copy(update=changes)
    strangers = [s for s in speakers if s not in model.subjects]
    if (model.vertices, model.fps) != (vertices, clip.fps) or strangers:
        raise InputError(
            f"has {vertices} vertices at {clip.fps} fps of {', '.join(strangers or speakers)}; preset "
            f"{settings.preset!r} is for {model.vertices} vertices at {model.fps} fps of {', '.join(model.subjects)}.",
            path=cache.root,
            hint="Use another --preset, or --set diffspeaker.own_subjects=true.",
        )
    return settings.model_copy(update={"diffspeaker": training.model_copy(update={"model": model})})


def facts(cache: Cache) -> Mapping[str, Any]:
    """Facts on the data: vertices and frame rate of the meshes."""
    clip = next(iter(cache))
    return {"vertices": clip["vertices"].shape[1], "fps": clip.fps}


#: The report's sentences on a speech encoder that is not pretrained, and on one that is not the paper's.
_RANDOM = "DiffSpeaker's speech encoder started from random weights, not from pretrained weights."
_LOGMEL = "DiffSpeaker's speech encoder is a small network on log mel energies, not the paper's Wav2Vec2 or HuBERT."


def substitutes(settings: DiffSpeakerSettings, cache: Cache, stage: str) -> list[Substitute]:
    """What the stage trains with in place of a pretrained speech encoder, which the settings decide.

    Settings with `pretrained` need the published file, and are refused without it where the stage is built.
    """
    training = settings.diffspeaker
    ours = training.model.audio.encoder == "logmel"
    return [
        *([Substitute(_LOGMEL, _LOGMEL)] if ours else []),
        *([] if training.pretrained and not ours else [Substitute(_RANDOM.replace("started", "starts"), _RANDOM)]),
    ]


def report_notes(run: Path) -> list[str]:
    """Notes for the report on a run: preset, and a speech encoder without pretraining."""

    def more(stage: str, provenance: Mapping[str, Any]) -> list[str]:
        encoder = str(provenance.get("speech_encoder"))
        if ":user:" in encoder:
            return ["DiffSpeaker's speech encoder started from a file that is not the published one."]
        return [_RANDOM] if encoder == "random weights" else []

    return training_notes(run, title="DiffSpeaker", main="diffspeaker", stages=("diffspeaker",), more=more)
