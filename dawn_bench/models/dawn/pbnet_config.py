"""Configuration of PBNet: widths, quirk switches, and units of the state."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config

#: Head pose channels in order: degrees, then 3DDFA's scale and its translation in a crop of 120 pixels.
POSE_CHANNELS = ("yaw", "pitch", "roll", "scale", "tx", "ty")


class PBNetConfig(Config):
    """The released pose-and-blink network by default; `eye_dim` 0 gives pose only, `pos_dim` 0 blinks only."""

    later = frozenset({"bias_slope", "eye_range"})

    pos_dim: int = Field(default=6, ge=0, description="head pose channels, see POSE_CHANNELS")
    eye_dim: int = Field(default=2, ge=0, description="eye aspect ratios: left, right")
    audio_dim: int = Field(default=1024, ge=1, description="audio features per frame: 1024 HuBERT-large, 80 log-mel")
    audio_latent_dim: int = Field(default=256, ge=1)
    pose_latent_dim: int = Field(default=64, ge=1, description="also the decoder's width")
    latent_dim: int = Field(default=256, ge=1, description="width of the latent code h of a frame")
    num_layers: int = Field(default=2, ge=1, description="layers of the encoder and of the decoder")
    num_heads: int = Field(default=4, ge=1)
    head_dim: int = Field(default=32, ge=2, description="head width of the decoder's attention")
    ff_size: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    num_buckets: int = Field(default=128, ge=4, description="buckets of the learned relative position bias")
    max_distance: int = Field(default=128, ge=4, description="distances from here on share a bucket")
    bias_slope: float = Field(
        default=0.0,
        ge=0,
        description="the position bias starts as minus this for each frame of distance, halved from head to head; 0: at"
        " random, as released. A short training does not learn to attend to near frames, and then learns no blinks",
    )
    window: int | None = Field(
        default=200,
        ge=1,
        description="in evaluation a frame attends to frames at most this far away (400 in total, as in the paper)",
    )

    pose_min: tuple[float, ...] = Field(
        default=(-90.0, -90.0, -90.0, 0.0, 0.0, 0.0),
        description="pose channels are normalised as (value - min) / (max - min). The default belongs to the released"
        " weights and maps scale, tx and ty close to 0.",
    )
    pose_max: tuple[float, ...] = Field(
        default=(90.0, 90.0, 90.0, 1.0, 720.0, 1080.0),
        description="see pose_min; where all channels shall weigh alike (30, 30, 30, 1e-3, 120, 120) and a pose_min of"
        " (-30, -30, -30, 0, 0, 0)",
    )

    eye_range: tuple[float, float] = Field(
        default=(0.0, 1.0),
        description="eye aspect ratios are normalised as pose channels are. With the released range a blink is a"
        " tenth of a unit, which a short training does not learn",
    )

    rec_weight: float = Field(default=1.0, ge=0)
    kl_weight: float = Field(default=0.004, ge=0, description="0.01 in the paper")
    reg_weight: float = Field(
        default=0.0005, ge=0, description="weight of a term without gradient that only shifts the logged loss"
    )
    gan_weight: float = Field(default=1.0, ge=0, description="0.6 in the paper")
    kl_start: int = Field(default=10_000, ge=0, description="epoch at which the KL term starts")
    kl_ramp: int = Field(default=70_000, ge=1, description="warm-up epochs from 0 to kl_weight")

    rotary_dim: int = Field(
        default=4,
        ge=2,
        description="Quirk switch. Channels per head with rotary positions: the reference uses min(32, heads) = 4 of"
        " 32, which released weights require; the whole head when fixed.",
    )
    kl_rises: bool = Field(
        default=False,
        description="Quirk switch. The reference (False) has max instead of min in its schedule: full weight from"
        " kl_start on, growing beyond it after kl_start + kl_ramp, and full weight at epoch 0. True: 0 until kl_start,"
        " then linear warm-up.",
    )
    gan_detached: bool = Field(
        default=False,
        description="Quirk switch. The reference (False) backpropagates both adversarial losses into both networks,"
        " which pulls the score of every fake towards 0.5. True: each loss updates its own network only.",
    )
    mask_padding: bool = Field(
        default=False,
        description="Quirk switch. In the reference (False) padding takes part in the decoder's attention and in the KL"
        " mean, and fakes are padded with their first state where real sequences have zeros. True: padding is masked.",
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
        """The released model's behaviour, required for its weights."""
        return cls(**changes)

    @classmethod
    def fixed(cls, **changes: Any) -> PBNetConfig:
        """The released model with its quirks fixed and the paper's loss weights, for training from scratch."""
        fixes: dict[str, Any] = {"kl_rises": True, "gan_detached": True, "mask_padding": True}
        fixes |= {"kl_weight": 0.01, "gan_weight": 0.6, "reg_weight": 0.0}
        fixes["rotary_dim"] = changes.get("head_dim", 32)
        return cls(**{**fixes, **changes})
