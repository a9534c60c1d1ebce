"""All training hyperparameters; saved with the run, overridden by `--set lfg.loop.steps=500`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config, UserPath
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import LFGConfig
from dawn_bench.models.dawn.lfg_loss import LFGLossConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.models.substitutes import SUBSTITUTES_FIELD, Substitutes
from dawn_bench.training.augment import JitterConfig
from dawn_bench.training.stage import LoopConfig
from dawn_bench.weights import Policy


class LFGTraining(Config):
    """Stage `lfg`: two frames of one clip, perceptual and equivariance losses (paper, Eq. 1 to 4)."""

    model: LFGConfig = LFGConfig()
    loss: LFGLossConfig = LFGLossConfig()
    loop: LoopConfig = LoopConfig()
    jitter: JitterConfig = JitterConfig()
    flip: bool = Field(True, description="random swapping and mirroring of the pair")
    perceptual: Policy = Field(
        "auto", description="VGG-19 weights; seeded: the pixel-based substitute, which is noted in the checkpoint"
    )
    init: UserPath | None = Field(
        None,
        description="initial weights: VoxCeleb's vox256.pth (MRAA), a released LFG_*.pth, or a checkpoint",
    )
    start: Literal["random", "voxceleb"] = Field(
        "random",
        description="weights without `init`: random, or voxceleb: vox256.pth in the weights folder, as the authors did",
    )


class A2VTraining(Config):
    """Stages `a2v-1` (short clips, source = first frame) and `a2v-2` (random source, random length); Section 3.5."""

    model: A2VConfig = A2VConfig()
    loop: LoopConfig = LoopConfig()
    jitter: JitterConfig = JitterConfig(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.04)
    frames: int = Field(20, ge=2, description="longest window, frames")
    min_frames: int | None = Field(None, ge=2, description="shortest window; None: always `frames`")
    stride: int = Field(1, ge=1, description="frame stride: 1 for all frames, more for a coarse temporal resolution")
    random_source: bool = Field(False, description="source is any frame of the clip, not the window's first")
    recompute: bool = Field(
        False,
        description="the backward pass computes the inside of the U-Net's blocks again: a sixth of the memory, a third"
        " more time, the same numbers",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_frames is not None and self.min_frames > self.frames:
            raise ValueError(f"min_frames {self.min_frames} is larger than frames {self.frames}")
        return self


class PBNetTraining(Config):
    """Stage `pbnet`: reconstruction, annealed KL, patch GAN (appendix A.2)."""

    model: PBNetConfig = PBNetConfig()
    loop: LoopConfig = LoopConfig()
    frames: int = Field(200, ge=24, description="window, frames; shorter clips are padded")
    steps_per_epoch: int | None = Field(
        None, ge=1, description="steps per epoch of the KL schedule; None: clips / batch size"
    )
    adversarial: bool = True


class TrainSettings(Config):
    """Settings of a whole training; `--preset` selects them and `--set` changes them."""

    preset: str
    note: str = Field("", description="purpose of the preset, shown in reports")
    substitutes: Substitutes = SUBSTITUTES_FIELD
    lfg: LFGTraining = LFGTraining()
    a2v_1: A2VTraining = A2VTraining()
    a2v_2: A2VTraining | None = None
    a2v_ttr: A2VTraining | None = Field(None, description="the coarse model of two temporal resolutions")
    pbnet: PBNetTraining | None = PBNetTraining()
