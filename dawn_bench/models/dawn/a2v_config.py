"""Configuration of the A2V-FDM: widths, conditions, diffusion, and one named switch per quirk of the released code."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config


class A2VConfig(Config):
    """The audio-to-video flow diffusion model. Defaults are the released model with its released behaviour.

    `A2VConfig.reference()` is required for released weights; `A2VConfig.fixed()` is for training from scratch: the same
    network with the bugs of the released code fixed. Both take overrides: `A2VConfig.fixed(dim=16, audio_dim=80)`.
    """

    # widths
    dim: int = Field(64, ge=2, description="width of the first U-Net level; a multiple of `norm_groups`")
    dim_mults: tuple[int, ...] = Field((1, 2, 4, 8), description="width of each U-Net level, in units of `dim`")
    heads: int = Field(8, ge=1, description="heads of the temporal and spatial attention")
    head_dim: int = Field(32, ge=2, description="width of a head; even, for the rotary embedding")
    cross_heads: int = Field(8, ge=1, description="heads of the cross-attention to a frame's conditions")
    cross_head_dim: int = Field(8, ge=1)
    norm_groups: int = Field(8, ge=1, description="groups of the group norm")
    audio_dim: int = Field(1024, ge=1, description="width of a frame's audio feature: 1024 HuBERT-large, 80 log-mel")
    pose_dim: int = Field(6, ge=1, description="yaw, pitch, roll, scale, tx, ty")
    eye_dim: int = Field(2, ge=1, description="left and right eye aspect ratio")
    source_dim: int = Field(256, ge=1, description="channels of the LFG's source feature")
    mask_dims: tuple[int, int] = Field((8, 16), description="channels of the two layers of the face-mask encoder")
    # diffusion
    timesteps: int = Field(1000, ge=2)
    prediction: Literal["noise", "velocity"] = Field(
        "noise", description="prediction target; velocity (Salimans & Ho 2022) converges faster in short trainings"
    )
    win_width: int | None = Field(
        40, ge=1, description="at inference a frame attends to this many frames in each direction; None: to all"
    )
    null_probability: float = Field(0.1, ge=0, le=1, description="probability of condition dropout in training")
    x0_weight: float = Field(
        0.15, ge=0, description="weight of the loss on the predicted motion x0 (0: Eq. 7 as printed)"
    )
    lip_weight: float = Field(0.15, ge=0, description="weight of the lip loss, w_lip of Eq. 7 (1 in the paper's text)")
    lip_normalisation: Literal["mask", "frame"] = Field(
        "mask",
        description="mask: the lip loss is summed over channels and divided by the area of the lip mask, as released;"
        " frame: it is averaged like the denoising loss, so that errors inside the mask count 1 + lip_weight times"
        " (Eq. 7 as printed)",
    )
    # diffusion target
    residual_flow: bool = Field(False, description="diffuse the flow minus the identity grid, not absolute positions")
    flow_scale: float = Field(1.0, gt=0, description="the flow is multiplied by this before diffusion")
    pose_scales: tuple[float, ...] = Field(
        (1.0,) * 6, description="factors on the pose differences at the network's input"
    )
    eye_scale: float = Field(1.0, ge=0, description="factor on the blink differences at the network's input")
    # quirks of the released code
    ddim_off_by_one: bool = Field(
        True, description="samplers evaluate the network at a timestep but use ᾱ of the previous timestep"
    )
    drop_per_frame: bool = Field(True, description="condition dropout acts on single frames instead of whole clips")
    swap_mask_axes: bool = Field(
        True, description="the face box's x is scaled by the image height and its y by the width"
    )
    mask_encoder: Literal["seed1234", "trained"] = Field(
        "seed1234",
        description="seed1234: the face-mask encoder keeps its initialisation by the training script's seed",
    )
    threshold: Literal["sample", "clamp"] = Field(
        "sample",
        description="predicted motion: dynamic thresholding of the whole sample at its 0.9 quantile, or clamping per"
        " channel",
    )
    stale_noise: bool = Field(
        True, description="samplers keep the noise estimate from before `threshold` changed the motion"
    )
    flow_bound: float = Field(1.5, gt=0, description="`threshold=clamp`: bound of the flow, in half image widths")
    silu_on_conditions: bool = Field(
        True, description="SiLU on the raw conditions, which attenuates negative differences"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim % self.norm_groups:
            raise ValueError(f"dim {self.dim} is not a multiple of norm_groups {self.norm_groups}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd")
        return self

    @property
    def condition_dim(self) -> int:
        """Width of one frame's condition: audio, then pose, then eyes (1032 in the released model)."""
        return self.audio_dim + self.pose_dim + self.eye_dim

    @property
    def driven(self) -> bool:
        """Whether pose and blinks condition the network; otherwise it infers them from the audio."""
        return any(self.pose_scales) or self.eye_scale > 0

    @classmethod
    def reference(cls, **changes: object) -> A2VConfig:
        """The released model and its behaviour, quirks included."""
        return cls.model_validate(changes)

    @classmethod
    def fixed(cls, **changes: object) -> A2VConfig:
        """The fixed model for training from scratch; loss weights as in the paper (Eq. 7, appendix A.1)."""
        fixes: dict[str, object] = {
            "x0_weight": 0.0,
            "lip_weight": 1.0,
            "residual_flow": True,
            "flow_scale": 4.0,
            "pose_scales": (0.1, 0.1, 0.1, 1.0, 0.1, 0.1),
            "eye_scale": 5.0,
            "ddim_off_by_one": False,
            "drop_per_frame": False,
            "swap_mask_axes": False,
            "mask_encoder": "trained",
            "threshold": "clamp",
            "stale_noise": False,
            "silu_on_conditions": False,
        }
        return cls.model_validate(fixes | changes)
