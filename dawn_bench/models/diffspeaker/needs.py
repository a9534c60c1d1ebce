"""The published files that DiffSpeaker takes: the speech encoder that its training starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dawn_bench.models.diffspeaker.presets import DiffSpeakerSettings
    from dawn_bench.weights_needs import Needs

#: Registry names of the pretrained encoders, the preferred format first.
PRETRAINED = {"hubert": ("hubert-base",), "wav2vec2": ("wav2vec2-base", "wav2vec2-base-bin")}


def needs(settings: DiffSpeakerSettings | None) -> Needs:
    """The speech encoder that training starts from; a trained model holds its own."""
    if settings is None or not settings.diffspeaker.pretrained:
        return ()
    encoder = settings.diffspeaker.model.audio.encoder
    return (PRETRAINED[encoder],) if encoder in PRETRAINED else ()
