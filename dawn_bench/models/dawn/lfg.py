"""The latent flow generator (LFG): motion of a driving frame relative to a source, and pictures from motion.

DAWN, section 3.2, Eq. 3 (motion) and Eq. 4 (pictures); published layout of Hanbo-Cheng/DAWN-pytorch (MRAA).
Shape letters: B batch, S picture size, h = S / 4 latent size, 2 is (x, y). Pictures are RGB in [0, 1]; flow holds
absolute sampling positions in about [-1, 1]; the occlusion (blocking) map is in (0, 1), 1 where the warped source may
be used as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dawn_bench.errors import InputError
from dawn_bench.models.dawn.lfg_config import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_generator import EncodedSource, Generator
from dawn_bench.models.dawn.region import BackgroundPredictor, RegionPredictor, Regions

__all__ = ["LFG", "EncodedSource", "HourglassConfig", "LFGConfig", "LFGOutput", "Motion"]


@dataclass(frozen=True)
class Motion:
    """How the source must be warped to become the driving frame."""

    flow_Bhh2: Tensor
    occlusion_B1hh: Tensor
    background_B23: Tensor
    source: Regions
    driving: Regions


@dataclass(frozen=True)
class LFGOutput:
    """Everything that training and inspection read."""

    prediction_BCSS: Tensor  #: the driving frame, rebuilt from the source
    deformed_BCSS: Tensor  #: the source, only warped
    motion: Motion
    encoded: EncodedSource


class LFG(nn.Module):
    """Generator, region predictor and background predictor under their published names."""

    def __init__(self, config: LFGConfig | None = None) -> None:
        super().__init__()
        config = config or LFGConfig()
        self.config = config
        self.generator = Generator(config)
        self.region_predictor = RegionPredictor(
            regions=config.num_regions,
            expansion=config.region.block_expansion,
            depth=config.region.num_blocks,
            limit=config.region.max_features,
            factor=config.factor,
            temperature=config.temperature,
            floor=config.covariance_floor,
        )
        self.bg_predictor = BackgroundPredictor(
            expansion=config.background.block_expansion,
            depth=config.background.num_blocks,
            limit=config.background.max_features,
        )

    def forward(self, source_BCSS: Tensor, driving_BCSS: Tensor) -> LFGOutput:
        """Rebuild the driving frames from the source frames."""
        motion = self.motion_details(source_BCSS, driving_BCSS)
        encoded = self.encode(source_BCSS)
        prediction, deformed = self.generator.decode(encoded, motion.flow_Bhh2, motion.occlusion_B1hh)
        return LFGOutput(prediction, deformed, motion, encoded)

    def encode(self, source_BCSS: Tensor) -> EncodedSource:
        """The source's encoder maps, needed once a clip; `.features_BChh` is the latent z that conditions A2V-FDM."""
        self._check(source_BCSS)
        return self.generator.encode(source_BCSS)

    def motion(self, source_BCSS: Tensor, driving_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (B, h, h, 2) and occlusion (B, 1, h, h). One source picture serves a batch of driving frames."""
        motion = self.motion_details(source_BCSS, driving_BCSS)
        return motion.flow_Bhh2, motion.occlusion_B1hh

    def motion_details(self, source_BCSS: Tensor, driving_BCSS: Tensor) -> Motion:
        """`motion` with the regions and the background's motion that it came from.

        Float32 under autocast too: bfloat16 has 8 bits for positions that must tell pixels apart.
        """
        self._check(driving_BCSS)
        batch = driving_BCSS.shape[0]
        with torch.autocast(driving_BCSS.device.type, enabled=False):
            source = self.region_predictor(source_BCSS).expand(batch)
            driving = self.region_predictor(driving_BCSS)
            source_BCSS = source_BCSS.expand(batch, -1, -1, -1)
            background = self.bg_predictor(source_BCSS, driving_BCSS)
            flow, occlusion = self.generator.pixelwise_flow_predictor(source_BCSS, source, driving, background)
        return Motion(flow, occlusion, background, source, driving)

    def decode(self, encoded: EncodedSource, flow_Bhh2: Tensor, occlusion_B1hh: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] for B motions; `encoded` holds one source or B."""
        return self.generator.decode(encoded, flow_Bhh2, occlusion_B1hh)[0]

    def decode_batches(
        self, encoded: EncodedSource, flow_Thh2: Tensor, occlusion_T1hh: Tensor, *, batch: int | None = None
    ) -> Iterator[Tensor]:
        """The pictures of a clip of T frames from one source, (<= batch, 3, S, S) at a time: bounded memory.

        By default 2 frames on a processor, whose caches hold no more, and 16 elsewhere.
        """
        batch = batch or (2 if flow_Thh2.device.type == "cpu" else 16)
        for flow, occlusion in zip(flow_Thh2.split(batch), occlusion_T1hh.split(batch), strict=True):
            yield self.decode(encoded, flow, occlusion)

    @torch.no_grad()
    def decode_clip(
        self, encoded: EncodedSource, flow_Thh2: Tensor, occlusion_T1hh: Tensor, *, batch: int | None = None
    ) -> Tensor:
        """`decode_batches` put together: (T, 3, S, S) in [0, 1], without gradients."""
        return torch.cat(list(self.decode_batches(encoded, flow_Thh2, occlusion_T1hh, batch=batch)))

    def _check(self, picture: Tensor) -> None:
        if picture.shape[2] % self.config.multiple or picture.shape[3] % self.config.multiple:
            raise InputError(
                f"pictures of {picture.shape[3]}x{picture.shape[2]} do not fit this LFG.",
                hint=f"Use a size that is a multiple of {self.config.multiple}, or fewer num_blocks.",
            )
