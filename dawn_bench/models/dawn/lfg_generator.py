"""The LFG's image branch: encode the source once, warp and decode it for each frame (paper, section 3.2, Eq. 4).

Shape letters: B batch, C channels, S image size, h = S / 2**levels, 2 is (x, y). Images are RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dawn_bench.models.dawn.flow import FlowPredictor, resize_flow, resize_map, warp
from dawn_bench.models.dawn.lfg_blocks import ConvNorm, Down, FewOut, MergedUp, ResidualBlock, widths
from dawn_bench.models.dawn.lfg_config import LFGConfig


@dataclass(frozen=True)
class EncodedSource:
    """The encoded source image, computed once per clip. A batch of 1 broadcasts over any number of frames."""

    picture_BCSS: Tensor  #: the source image
    maps: tuple[Tensor, ...]  #: encoder maps, full resolution first; the last is `features_BChh`

    @property
    def features_BChh(self) -> Tensor:
        """The source latent z_src of Eq. 4, non-negative; (B, 256, S/4, S/4) in the released model."""
        return self.maps[-1]

    def __getitem__(self, which: slice) -> EncodedSource:
        """A slice of the batch."""
        return EncodedSource(self.picture_BCSS[which], tuple(m[which] for m in self.maps))


class LFGGenerator(nn.Module):
    """Source encoder, flow predictor and decoder, in the published key layout."""

    def __init__(self, config: LFGConfig) -> None:
        super().__init__()
        self.pixelwise_flow_predictor = FlowPredictor(
            regions=config.num_regions,
            expansion=config.flow.block_expansion,
            depth=config.flow.num_blocks,
            limit=config.flow.max_features,
            factor=config.factor,
            align_corners=config.align_corners,
            padding=config.padding,
        )
        sizes = widths(config.block_expansion, config.num_down_blocks, config.max_features)
        pairs = list(pairwise(sizes))
        self.first = ConvNorm(3, sizes[0], kernel=7)
        self.down_blocks = nn.ModuleList(Down(fine, coarse) for fine, coarse in pairs)
        self.up_blocks = nn.ModuleList(MergedUp(coarse, fine) for fine, coarse in reversed(pairs))
        self.bottleneck = nn.Sequential()
        for i in range(config.num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResidualBlock(sizes[-1]))
        self.final = FewOut(sizes[0], 3, 7, padding=3)
        self.align_corners, self.padding = config.align_corners, config.padding

    def encode(self, picture_BCSS: Tensor) -> EncodedSource:
        """Encode source images (B, 3, S, S) in [0, 1]."""
        maps = [self.first(picture_BCSS)]
        for block in self.down_blocks:
            maps.append(block(maps[-1]))
        return EncodedSource(picture_BCSS, tuple(maps))

    def decode(self, source: EncodedSource, flow_Bhh2: Tensor, occlusion_B1hh: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) in [0, 1] for the given motion, and the warped source image.

        Eq. 4 has only the occluded warp of z; as in the released model, the warped encoder maps of all resolutions and
        the warped source image are also blended in, weighted by the occlusion map. Flow and occlusion are not clamped.
        """
        align, padding = self.align_corners, self.padding
        x = source.maps[-1]
        for level, (skip, up) in enumerate(zip(reversed(source.maps[1:]), self.up_blocks, strict=True)):
            size = (skip.shape[2], skip.shape[3])
            share = resize_map(occlusion_B1hh, size, align_corners=align)
            flow = resize_flow(flow_Bhh2, size, align_corners=align)
            moved = warp(skip, flow, align_corners=align, padding=padding)
            if level == 0:
                x = self.bottleneck(moved * share)
            x = up(_blend(x, moved, share))
        size = (source.picture_BCSS.shape[2], source.picture_BCSS.shape[3])
        share = resize_map(occlusion_B1hh, size, align_corners=align)
        flow = resize_flow(flow_Bhh2, size, align_corners=align)
        x = _blend(x, warp(source.maps[0], flow, align_corners=align, padding=padding), share)
        painted = torch.sigmoid(self.final(x))
        deformed = warp(source.picture_BCSS, flow, align_corners=align, padding=padding)
        return _blend(painted, deformed, share), deformed


def _blend(ours: Tensor, warped: Tensor, share: Tensor) -> Tensor:
    """Interpolate from `ours` to `warped` by `share`, in its dtype: under autocast the three dtypes differ."""
    return torch.lerp(ours.to(share.dtype), warped.to(share.dtype), share.expand_as(ours))
