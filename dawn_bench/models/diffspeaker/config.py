"""Configuration of DiffSpeaker; `published` gives the four released variants.

The released HuBERT configuration for VOCASET names the wav2vec2 encoder by mistake; here each variant names its own.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config
from dawn_bench.pipelines.datasets import biwi, vocaset

EncoderName = Literal["wav2vec2", "hubert", "logmel"]
Sampler = Literal["official011", "textbook"]


class AudioConfig(Config):
    """The audio encoder. HuBERT-base and wav2vec2-base share one architecture and one set of keys.

    `logmel` is ours, for tiny models without a pretrained encoder: log-mel energies and two convolutions.
    """

    encoder: EncoderName = "wav2vec2"
    hidden: int = Field(768, ge=1)
    layers: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    ff: int = Field(3072, ge=1)
    conv: int = Field(512, ge=1, description="channels of the seven strided convolutions")
    position_kernel: int = Field(128, ge=1)
    position_groups: int = Field(16, ge=1)


class DiffSpeakerConfig(Config):
    """Network, schedule and sampling. `subjects` are the speaking styles in the order of their embeddings."""

    vertices: int = Field(5023, ge=1)
    latent: int = Field(512, ge=2, multiple_of=2)
    ff: int = Field(1024, ge=1)
    layers: int = Field(1, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    fps: int = Field(30, ge=1)
    period: int = Field(
        30, ge=1, description="period in frames of the positional encoding and of the attention bias steps"
    )
    subjects: tuple[str, ...] = vocaset.TRAIN_SUBJECTS
    audio: AudioConfig = AudioConfig()
    smooth: bool = Field(
        False, description="three-frame moving average of the sampled motion, ends unchanged (VOCASET)"
    )
    steps: int = Field(50, ge=1, le=1000, description="sampling steps")
    sampler: Sampler = Field("official011", description="released weights require official011; see schedule.py")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.latent % self.heads or not self.subjects:
            raise ValueError(
                f"latent {self.latent} must be a multiple of heads {self.heads}, and subjects must not be empty"
            )
        return self


def published(dataset: Literal["biwi", "vocaset"], encoder: EncoderName) -> DiffSpeakerConfig:
    """A released variant: BIWI (23,370 vertices, 25 fps) or VOCASET (5,023 vertices, 30 fps, smoothed)."""
    audio = AudioConfig(encoder=encoder)
    if dataset == "vocaset":
        return DiffSpeakerConfig(audio=audio, smooth=True)
    return DiffSpeakerConfig(
        vertices=23370, latent=1024, ff=2048, fps=25, period=25, subjects=biwi.TRAIN_SUBJECTS, audio=audio
    )
