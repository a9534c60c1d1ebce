"""The published files that DiT-Head takes: Wav2Vec2 for its sound, VGG-19 for the loss of its VQGANs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dawn_bench.models.dit_head.presets import DitHeadSettings
    from dawn_bench.weights_needs import Needs


def needs(settings: DitHeadSettings | None) -> Needs:
    """The speech encoder of the paper, and with settings the loss network, unless substitutes are allowed."""
    from dawn_bench.models.dit_head.audio import ENCODER
    from dawn_bench.models.substitutes import loss_needs
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    encoder = EXTRACTORS[ENCODER].weights
    if settings is None:
        return encoder
    losses = [settings.vqgan_face.perceptual, settings.vqgan_masked.perceptual]
    return (
        *(encoder if settings.substitutes == "refuse" else ()),
        *loss_needs(losses, substitutes=settings.substitutes),
    )
