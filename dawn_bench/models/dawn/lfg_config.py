"""Widths and switches of the latent flow generator."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dawn_bench.config import Config

#: What warping samples beyond the image.
Padding = Literal["zeros", "border"]


class HourglassConfig(Config):
    """Widths of one hourglass: `block_expansion * 2**level` channels, at most `max_features`, over `num_blocks`."""

    block_expansion: int = Field(default=64, ge=1)
    max_features: int = Field(default=1024, ge=1)
    num_blocks: int = Field(default=5, ge=1)


class LFGConfig(Config):
    """The released LFG by default; all widths can be reduced. The image size is any multiple of `multiple`."""

    later = frozenset({"padding"})

    num_regions: int = Field(default=10, ge=1)
    block_expansion: int = Field(default=64, ge=1, description="channels of the generator at full resolution")
    max_features: int = Field(default=512, ge=1, description="maximum channels of the generator")
    num_down_blocks: int = Field(
        default=2, ge=1, description="downsampling steps from image to latent: latent size = S / 2**n"
    )
    num_bottleneck_blocks: int = Field(default=6, ge=0)
    region: HourglassConfig = HourglassConfig(block_expansion=32)
    flow: HourglassConfig = HourglassConfig(block_expansion=64)
    background: HourglassConfig = HourglassConfig(block_expansion=32)
    temperature: float = Field(default=0.1, gt=0, description="softmax temperature of the region heat maps")
    align_corners: bool = Field(
        default=False,
        description="Quirk switch. The reference (False) places the outermost pixel centres of grids at -1 and 1, but"
        " samples as if these were the image edges, so the identity flow shrinks an image by (S-1)/S. True samples and"
        " resizes in the grid's own convention: the identity flow is the identity.",
    )
    padding: Padding = Field(
        default="zeros",
        description="Quirk switch. The reference (zeros) warps black in from beyond the image: dark marks at the edges"
        " where the head moves away from them. border: the nearest pixel.",
    )
    truncate_pixels: bool = Field(
        default=True,
        description="Quirk switch. The reference (True) truncates 0…255 images to integers; False rounds.",
    )
    covariance_floor: float = Field(
        default=0.0,
        ge=0,
        description="Quirk switch. Added to the diagonal of each region's covariance. The reference (0) divides by zero"
        " when a heat map collapses to one pixel, which can happen in a small model trained from scratch.",
    )

    @property
    def factor(self) -> int:
        """Image size over latent size."""
        return 2**self.num_down_blocks

    @property
    def multiple(self) -> int:
        """Image sizes must be multiples of this."""
        return max(self.factor * 2 ** max(self.region.num_blocks, self.flow.num_blocks), 2**self.background.num_blocks)

    @property
    def latent_channels(self) -> int:
        """Channels of the source's latent z."""
        return min(self.max_features, self.block_expansion * self.factor)

    @classmethod
    def reference(cls, **changes: Any) -> LFGConfig:
        """The released model's behaviour, required for its weights."""
        return cls(**changes)

    @classmethod
    def fixed(cls, **changes: Any) -> LFGConfig:
        """The released model with its quirks fixed, for training from scratch."""
        fixes = {"align_corners": True, "padding": "border", "covariance_floor": 1e-4, "truncate_pixels": False}
        return cls(**{**fixes, **changes})
