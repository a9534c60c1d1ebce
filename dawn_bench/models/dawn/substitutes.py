"""What DAWN's stages train with in place of what the paper and the release use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.dawn.lfg_config import LFGConfig
from dawn_bench.models.dawn.needs import AUDIO, BLINK, POSE, VOXCELEB
from dawn_bench.models.dawn.settings import LFGTraining, TrainSettings
from dawn_bench.models.substitutes import Substitute, audio_note, audio_substitute, picture_substitute
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.weights_needs import how_to_get

#: Head poses and blinks: their words, the field, the extractor of the release, and its name in sentences.
_HEAD = (
    ("head poses", "pose", POSE, "the paper's 3DDFA_V2"),
    ("blinks", "blink", BLINK, f"the release's one-pair ratio ({BLINK})"),
)
_RANDOM = "Stage lfg started from random weights, not from VoxCeleb's."


def substitutes(settings: TrainSettings, cache: Cache, stage: str) -> list[Substitute]:
    """The substitutes of one stage; raises `InputError` where a file that the settings name is missing."""
    if stage == "lfg":
        return [*picture_substitute(stage, settings.lfg.perceptual), *_start(settings.lfg)]
    clip = next(iter(cache))
    encoder = audio_encoder_of(clip)
    width = clip[encoder].shape[1]
    return [
        *audio_substitute("DAWN", encoder, width, paper=AUDIO, name="HuBERT"),
        *_head(cache),
    ]


def of_checkpoint(stage: str, provenance: Mapping[str, Any]) -> list[str]:
    """The report's sentences on a checkpoint, also on one written before these were stored in its provenance."""
    if stage == "lfg":
        return [_RANDOM] if provenance.get("init") is None else []
    encoder = str(provenance.get("audio_encoder", AUDIO))
    return [audio_note("DAWN", encoder, name="HuBERT")] if encoder != AUDIO else []


def first_weights(training: LFGTraining) -> Path | None:
    """The file that the LFG starts from; None for random weights.

    Raises `InputError` that says where to get VoxCeleb's weights, where the settings ask for them and they are missing.
    """
    if training.init is not None or training.start == "random":
        return training.init
    resolved = weights.resolve(VOXCELEB)
    if resolved.path is None:
        raise InputError(
            "VoxCeleb's weights of the LFG, from which these settings start, are missing.",
            path=weights.folder() / resolved.weight.file,
            hint=f"Start from another file: --set lfg.init=FILE, or from random weights: --set lfg.start=random. "
            f"{how_to_get(((VOXCELEB,),))}",
        )
    return resolved.path


def _start(training: LFGTraining) -> list[Substitute]:
    """Random weights, or VoxCeleb's in another file than the published one."""
    if first_weights(training) is None:
        fits = training.model.block_expansion == LFGConfig().block_expansion
        how = " (to start from those: --set lfg.start=voxceleb)" if fits else ""
        return [Substitute(f"Stage lfg starts from random weights, not from VoxCeleb's{how}.", _RANDOM)]
    if training.init is None and weights.resolve(VOXCELEB).state != "canonical":
        note = "Stage lfg: the file of VoxCeleb's weights that it starts from is not the published one."
        return [Substitute(note, note)]
    return []


def _head(cache: Cache) -> list[Substitute]:
    """Head poses and blinks of other extractors than the release's, where the cache says which it used."""
    substitutes = []
    for words, field, paper, name in _HEAD:
        used = cache.extractors.get(field)
        if used is not None and used.name != paper:
            note = f"DAWN's {words} are those of extractor {used.name}, not of {name}."
            substitutes.append(Substitute(note, note))
    return substitutes
