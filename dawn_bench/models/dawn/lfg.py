"""The latent flow generator (LFG): motion of a driving frame relative to a source, and images from motion.

DAWN, section 3.2, Eq. 3 (motion) and Eq. 4 (images); published layout of Hanbo-Cheng/DAWN-pytorch (MRAA).
Shape letters: B batch, S image size, h = S / 4 latent size, 2 is (x, y). Images are RGB in [0, 1]; flow holds absolute
sampling positions in about [-1, 1]; the occlusion map is in (0, 1), 1 where the warped source is visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dawn_bench.errors import InputError
from dawn_bench.models.dawn.lfg_config import HourglassConfig, LFGConfig
from dawn_bench.models.dawn.lfg_generator import EncodedSource, LFGGenerator
from dawn_bench.models.dawn.region import BackgroundPredictor, RegionPredictor, Regions, repeated

__all__ = ["LFG", "EncodedSource", "HourglassConfig", "LFGConfig", "LFGOutput", "Motion"]


@dataclass(frozen=True)
class Motion:
    """The warp from the source to the driving frame."""

    flow_Bhh2: Tensor
    occlusion_B1hh: Tensor
    background_B23: Tensor
    source: Regions
    driving: Regions


@dataclass(frozen=True)
class LFGOutput:
    """All outputs of a forward pass, for training and inspection."""

    prediction_BCSS: Tensor  #: the driving frame, reconstructed from the source
    deformed_BCSS: Tensor  #: the warped source
    motion: Motion
    encoded: EncodedSource


class LFG(nn.Module):
    """Generator, region predictor and background predictor under their published names."""

    def __init__(self, config: LFGConfig | None = None) -> None:
        super().__init__()
        config = config or LFGConfig()
        self.config = config
        self.generator = LFGGenerator(config)
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
        """Reconstruct the driving frames from the source frames."""
        motion = self.motion_details(source_BCSS, driving_BCSS)
        encoded = self.encode(source_BCSS)
        prediction, deformed = self.generator.decode(encoded, motion.flow_Bhh2, motion.occlusion_B1hh)
        return LFGOutput(prediction, deformed, motion, encoded)

    def encode(self, source_BCSS: Tensor) -> EncodedSource:
        """Encode the source, once per clip; `.features_BChh` is the latent z that conditions the A2V-FDM."""
        self._check(source_BCSS)
        return self.generator.encode(source_BCSS)

    def motion(self, source_BCSS: Tensor, driving_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (B, h, h, 2) and occlusion (B, 1, h, h); each source is of B / sources driving frames in succession.

        What depends on a source alone is computed once for it.
        """
        motion = self.motion_details(source_BCSS, driving_BCSS)
        return motion.flow_Bhh2, motion.occlusion_B1hh

    def motion_details(self, source_BCSS: Tensor, driving_BCSS: Tensor) -> Motion:
        """`motion` with the regions and the background motion that it is derived from.

        Always in float32, also under autocast: the 8 significant bits of bfloat16 cannot resolve pixel positions.
        """
        self._check(driving_BCSS)
        batch = driving_BCSS.shape[0]
        with torch.autocast(driving_BCSS.device.type, enabled=False):
            source = self.region_predictor(source_BCSS).expand(batch)
            driving = self.region_predictor(driving_BCSS)
            background = self.bg_predictor(repeated(source_BCSS, batch), driving_BCSS)
            flow, occlusion = self.generator.pixelwise_flow_predictor(source_BCSS, source, driving, background)
        return Motion(flow, occlusion, background, source, driving)

    def decode(self, encoded: EncodedSource, flow_Bhh2: Tensor, occlusion_B1hh: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] for B motions; `encoded` holds 1 or B sources."""
        return self.generator.decode(encoded, flow_Bhh2, occlusion_B1hh)[0]

    def decode_batches(
        self, encoded: EncodedSource, flow_Thh2: Tensor, occlusion_T1hh: Tensor, *, batch: int | None = None
    ) -> Iterator[Tensor]:
        """Decode a clip of T frames from one source in batches (<= batch, 3, S, S), with bounded memory.

        The default batch is 2 frames on a CPU, to stay within its caches, and 16 elsewhere.
        """
        batch = batch or (2 if flow_Thh2.device.type == "cpu" else 16)
        for flow, occlusion in zip(flow_Thh2.split(batch), occlusion_T1hh.split(batch), strict=True):
            yield self.decode(encoded, flow, occlusion)

    @torch.no_grad()
    def decode_clip(
        self, encoded: EncodedSource, flow_Thh2: Tensor, occlusion_T1hh: Tensor, *, batch: int | None = None
    ) -> Tensor:
        """The concatenated output of `decode_batches`: (T, 3, S, S) in [0, 1], without gradients."""
        return torch.cat(list(self.decode_batches(encoded, flow_Thh2, occlusion_T1hh, batch=batch)))

    def _check(self, picture: Tensor) -> None:
        if picture.shape[2] % self.config.multiple or picture.shape[3] % self.config.multiple:
            raise InputError(
                f"images of {picture.shape[3]}x{picture.shape[2]} do not fit this LFG.",
                hint=f"Use a size that is a multiple of {self.config.multiple}, or fewer num_blocks.",
            )
