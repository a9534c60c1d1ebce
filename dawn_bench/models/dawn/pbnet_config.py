"""Widths, switches and units of PBNet."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config

#: Head pose channels in their order: degrees, then 3DDFA's scale and its offsets in a crop of 120 pixels.
POSE_CHANNELS = ("yaw", "pitch", "roll", "scale", "tx", "ty")


class PBNetConfig(Config):
    """The released pose-and-blink network by default; pose only has `eye_dim` 0, blink only `pos_dim` 0."""

    pos_dim: int = Field(default=6, ge=0, description="head pose channels, see POSE_CHANNELS")
    eye_dim: int = Field(default=2, ge=0, description="eye aspect ratios: left, right")
    audio_dim: int = Field(default=1024, ge=1, description="features a frame: 1024 of HuBERT-large, 80 of a log-mel")
    audio_latent_dim: int = Field(default=256, ge=1)
    pose_latent_dim: int = Field(default=64, ge=1, description="also the decoder's width")
    latent_dim: int = Field(default=256, ge=1, description="of the code h that is drawn for every frame")
    num_layers: int = Field(default=2, ge=1, description="of the encoder and of the decoder")
    num_heads: int = Field(default=4, ge=1)
    head_dim: int = Field(default=32, ge=2, description="of the decoder's attention")
    ff_size: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    num_buckets: int = Field(default=128, ge=4, description="of the learned bias by relative position")
    max_distance: int = Field(default=128, ge=4, description="from here on all distances share a bucket")
    window: int | None = Field(
        default=200,
        ge=1,
        description="in evaluation a frame attends to frames at most this far away (the paper's window of 400)",
    )

    pose_min: tuple[float, ...] = Field(
        default=(-90.0, -90.0, -90.0, 0.0, 0.0, 0.0),
        description="pose channels enter the network as (value - min) / (max - min). The default belongs to the"
        " released weights, where scale, tx and ty come out near 0; for pose in pixels of the cached frame give the"
        " ranges of the data, e.g. (-90, -90, -90, 0, 0, 0).",
    )
    pose_max: tuple[float, ...] = Field(
        default=(90.0, 90.0, 90.0, 1.0, 720.0, 1080.0),
        description="see pose_min; for pose in pixels of a cached frame of S pixels e.g. (90, 90, 90, S, S, S)",
    )

    rec_weight: float = Field(default=1.0, ge=0)
    kl_weight: float = Field(default=0.004, ge=0, description="0.01 in the paper")
    reg_weight: float = Field(default=0.0005, ge=0, description="of a term without gradient that only shifts the log")
    gan_weight: float = Field(default=1.0, ge=0, description="0.6 in the paper")
    kl_start: int = Field(default=10_000, ge=0, description="epoch at which the KL term sets in")
    kl_ramp: int = Field(default=70_000, ge=1, description="epochs over which it is meant to rise to kl_weight")

    rotary_dim: int = Field(
        default=4,
        ge=2,
        description="Quirk switch. Channels of a head that rotary positions turn: the reference asks for min(32, heads)"
        " = 4 of 32, and released weights need that; the whole head when mended.",
    )
    kl_rises: bool = Field(
        default=False,
        description="Quirk switch. The reference (False) has max for min in its schedule: full weight from kl_start on,"
        " growing past it after kl_start + kl_ramp, and full weight at epoch 0. True: 0, then a straight rise.",
    )
    gan_detached: bool = Field(
        default=False,
        description="Quirk switch. The reference (False) sends both adversarial losses into both networks, which pull"
        " every fake towards one half. True: each loss reaches its own network only.",
    )
    mask_padding: bool = Field(
        default=False,
        description="Quirk switch. In the reference (False) the padding of unequal clips takes part in the decoder's"
        " attention and in the KL mean, and fakes are padded with their first state where real ones have zeros.",
    )

    @property
    def state_dim(self) -> int:
        """Channels of the state: pose, then eyes."""
        return self.pos_dim + self.eye_dim

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.state_dim:
            raise ValueError("pos_dim and eye_dim are both 0: there is nothing to predict")
        if min(len(self.pose_min), len(self.pose_max)) < self.pos_dim:
            raise ValueError(f"pose_min and pose_max need {self.pos_dim} values each")
        if self.rotary_dim % 2 or self.rotary_dim > self.head_dim:
            raise ValueError("rotary_dim must be even and at most head_dim")
        if (2 * self.pose_latent_dim + self.audio_latent_dim) % (2 * self.num_heads):
            raise ValueError("2 * pose_latent_dim + audio_latent_dim must be a multiple of 2 * num_heads")
        return self

    @classmethod
    def reference(cls, **changes: Any) -> PBNetConfig:
        """The released model's behaviour: needed for its weights."""
        return cls(**changes)

    @classmethod
    def fixed(cls, **changes: Any) -> PBNetConfig:
        """The quirks mended and the paper's loss weights: for training from scratch."""
        mended: dict[str, Any] = {"kl_rises": True, "gan_detached": True, "mask_padding": True}
        mended |= {"kl_weight": 0.01, "gan_weight": 0.6, "reg_weight": 0.0}
        mended["rotary_dim"] = changes.get("head_dim", 32)
        return cls(**{**mended, **changes})
