"""Dense motion from regions: backward flow and the occlusion map.

Shape letters: B batch, K regions, M = K + 1 motions (background first), C channels, H height, W width; 2 is (x, y).
Flow holds absolute sampling positions in about [-1, 1]: output pixel p is sampled at source position flow[p].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dawn.lfg_blocks import AntiAliasDown, Hourglass
from dawn_bench.models.dawn.lfg_config import Padding
from dawn_bench.models.dawn.region import Regions, coordinate_grid, inverse_2x2, repeated


def warp(x_BCHW: Tensor, flow_BHW2: Tensor, *, align_corners: bool, padding: Padding = "zeros") -> Tensor:
    """Bilinear samples of `x` at the flow's positions; an image batch of 1 broadcasts over the flows.

    Outside the image they are 0, or the nearest pixel's with `border`.
    """
    if x_BCHW.shape[0] != flow_BHW2.shape[0]:
        x_BCHW = x_BCHW.expand(flow_BHW2.shape[0], -1, -1, -1)
    return F.grid_sample(x_BCHW, flow_BHW2, padding_mode=padding, align_corners=align_corners)


def resize_map(x_BCHW: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Bilinear resize to `size` (height, width); the same tensor if it already has that size."""
    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=align_corners)


def resize_flow(flow_BHW2: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Resize a flow; sampling positions keep their values."""
    return resize_map(flow_BHW2.permute(0, 3, 1, 2), size, align_corners=align_corners).permute(0, 2, 3, 1)


def region_heat(regions: Regions, grid_HW2: Tensor) -> Tensor:
    """Gaussian heat maps (B, K, H, W): exp(-d' inv(covar) d / 2) around each region's centre."""
    away = grid_HW2 - regions.shift_BK2[:, :, None, None, :]
    return torch.exp(-0.5 * torch.einsum("bkhwi,bkij,bkhwj->bkhw", away, inverse_2x2(regions.covar_BK22), away))


def sparse_motions(source: Regions, driving: Regions, background_B23: Tensor, grid_HW2: Tensor) -> Tensor:
    """Source positions (B, M, H, W, 2) of all driving positions under the background's and each region's motion."""
    still = torch.einsum("bij,hwj->bhwi", background_B23[:, :, :2], grid_HW2) + background_B23[:, None, None, :, 2]
    turn = source.affine_BK22 @ inverse_2x2(driving.affine_BK22)
    # The axes of an ellipse are defined up to sign: undo a half turn between the two images.
    turn = turn * torch.sign(turn[..., :1, :1])
    away = grid_HW2 - driving.shift_BK2[:, :, None, None, :]
    moved = torch.einsum("bkij,bkhwj->bkhwi", turn, away) + source.shift_BK2[:, :, None, None, :]
    return torch.cat([still[:, None], moved], dim=1)


class FlowPredictor(nn.Module):
    """Blends the sparse motions into one dense flow and predicts the occlusion map (f and m of the paper's Eq. 3)."""

    def __init__(
        self,
        *,
        regions: int,
        expansion: int,
        depth: int,
        limit: int,
        factor: int,
        align_corners: bool,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.hourglass = Hourglass((regions + 1) * 4, expansion=expansion, depth=depth, limit=limit)
        self.mask = nn.Conv2d(self.hourglass.c_out, regions + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.c_out, 1, 7, padding=3)
        self.down = AntiAliasDown(3, factor)
        self.align_corners, self.padding = align_corners, padding

    def forward(
        self, picture_BCHW: Tensor, source: Regions, driving: Regions, background_B23: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Flow (B, H, W, 2) and occlusion map (B, 1, H, W) in (0, 1), at 1/factor of the source image size.

        A source image belongs to as many driving frames in succession as there are for each.
        """
        batch = len(background_B23)
        small = repeated(self.down(picture_BCHW), batch)
        height, width = small.shape[-2:]
        grid = coordinate_grid(height, width, small)
        heat = region_heat(driving, grid) - region_heat(source, grid)
        heat = F.pad(heat, (0, 0, 0, 0, 1, 0))[:, :, None]  # the background has no heat
        motion = sparse_motions(source, driving, background_B23, grid)
        copies = small[:, None].expand(-1, motion.shape[1], -1, -1, -1)
        flat = (copies.flatten(0, 1), motion.flatten(0, 1))
        moved = warp(*flat, align_corners=self.align_corners, padding=self.padding)
        evidence = torch.cat([heat, moved.view(batch, -1, 3, height, width)], dim=2).flatten(1, 2)
        features = self.hourglass(evidence)
        share = self.mask(features).softmax(dim=1)
        flow = torch.einsum("bmhw,bmhwi->bhwi", share, motion)
        return flow, torch.sigmoid(self.occlusion(features))
