"""Losses of the LFG: multi-scale perceptual reconstruction, and equivariance of the regions.

L_rec of the paper's Eq. 5: the MRAA losses as used in the released training. Images are RGB in [0, 1].
Shape letters: B batch, K regions, C channels, H height, W width, P control points, 2 is (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.config import Config
from dawn_bench.models.dawn.lfg import LFG, LFGOutput
from dawn_bench.models.dawn.lfg_blocks import AntiAliasDown
from dawn_bench.models.dawn.region import coordinate_grid, inverse_2x2
from dawn_bench.models.perceptual import PixelLoss, VGGLoss


class LFGLossConfig(Config):
    """Weights and scales of the LFG's losses; the defaults are those of the released training."""

    scales: tuple[int, ...] = Field(default=(1, 2, 4, 8), description="images are compared at 1/scale of their size")
    picture_weight: float = Field(default=10.0, ge=0)
    shift_weight: float = Field(default=10.0, ge=0, description="equivariance of region centres")
    affine_weight: float = Field(default=10.0, ge=0, description="equivariance of region axes")
    sigma_affine: float = Field(
        default=0.05, ge=0, description="standard deviation of the random affine map around the identity"
    )
    sigma_bend: float = Field(default=0.005, ge=0, description="standard deviation of the thin-plate term")
    bend_points: int = Field(default=5, ge=2, description="control points per side")


@dataclass(frozen=True)
class Deformation:
    """A random smooth map of positions in [-1, 1] per image: affine plus thin-plate bending."""

    theta_B23: Tensor
    bend_BP: Tensor
    points: int  #: control points per side

    @classmethod
    def draw(cls, batch: int, config: LFGLossConfig, *, generator: torch.Generator, like: Tensor) -> Deformation:
        """Draw a map near the identity for each of `batch` images, on the generator's device."""
        noise = torch.randn(batch, 6 + config.bend_points**2, generator=generator, device=generator.device).to(like)
        theta = config.sigma_affine * noise[:, :6].view(-1, 2, 3) + torch.eye(2, 3).to(like)
        return cls(theta, config.sigma_bend * noise[:, 6:], config.bend_points)

    def move(self, at_BN2: Tensor) -> Tensor:
        """Map positions (B, N, 2)."""
        moved = at_BN2 @ self.theta_B23[:, :, :2].transpose(1, 2) + self.theta_B23[:, None, :, 2]
        far = self._away(at_BN2).abs().sum(dim=-1)
        kernel = far.square() * torch.log(far + 1e-6)
        return moved + torch.einsum("bnp,bp->bn", kernel, self.bend_BP)[..., None]

    def slope(self, at_BN2: Tensor) -> Tensor:
        """The Jacobian of `move`, (B, N, 2, 2); the bending contributes equally to both rows."""
        away = self._away(at_BN2)
        far = away.abs().sum(dim=-1)
        rise = 2 * far * torch.log(far + 1e-6) + far.square() / (far + 1e-6)
        bend = torch.einsum("bnp,bnpi,bp->bni", rise, away.sign(), self.bend_BP)
        return self.theta_B23[:, None, :, :2] + bend[:, :, None, :]

    def warp(self, picture_BCHW: Tensor, *, align_corners: bool) -> Tensor:
        """Deform images (B, C, H, W), with reflection at the border."""
        height, width = picture_BCHW.shape[2:]
        grid = coordinate_grid(height, width, picture_BCHW).view(1, -1, 2)
        grid = self.move(grid.expand(picture_BCHW.shape[0], -1, -1)).view(-1, height, width, 2)
        return F.grid_sample(picture_BCHW, grid, padding_mode="reflection", align_corners=align_corners)

    def _away(self, at_BN2: Tensor) -> Tensor:
        points_P2 = coordinate_grid(self.points, self.points, at_BN2).view(-1, 2)
        return at_BN2[:, :, None] - points_P2


class LFGLoss(nn.Module):
    """The LFG's loss: reconstruction, and equivariance of regions under a random deformation of the driving frame."""

    def __init__(self, picture: VGGLoss | PixelLoss, config: LFGLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LFGLossConfig()
        self.picture = picture
        self.scales = nn.ModuleList(AntiAliasDown(3, scale) for scale in self.config.scales)

    def forward(
        self, lfg: LFG, source_BCSS: Tensor, driving_BCSS: Tensor, *, deformation: Deformation
    ) -> tuple[dict[str, Tensor], LFGOutput]:
        """Weighted scalars `picture`, `shift`, `affine` and their sum `total`; and the LFG's output."""
        out = lfg(source_BCSS, driving_BCSS)
        pairs = [(down(out.prediction_BCSS), down(driving_BCSS)) for down in self.scales]
        picture = torch.stack([self.picture(ours, theirs) for ours, theirs in pairs]).sum()

        # Equivariance: regions of the deformed frame, mapped by the deformation, must match those of the frame. In
        # float32, as the regions themselves: bfloat16 rounds the products of the affine maps to 1 part in 256.
        driving = out.motion.driving
        with torch.autocast(driving_BCSS.device.type, enabled=False):
            deformed = lfg.region_predictor(deformation.warp(driving_BCSS, align_corners=lfg.config.align_corners))
            shift = (driving.shift_BK2 - deformation.move(deformed.shift_BK2)).abs().mean()
            turn = inverse_2x2(driving.affine_BK22) @ deformation.slope(deformed.shift_BK2) @ deformed.affine_BK22
            turn = turn * torch.sign(turn[..., :1, :1])
            affine = (turn - torch.eye(2, dtype=turn.dtype, device=turn.device)).abs().mean()

        losses = {
            "picture": self.config.picture_weight * picture,
            "shift": self.config.shift_weight * shift,
            "affine": self.config.affine_weight * affine,
        }
        return {**losses, "total": torch.stack(list(losses.values())).sum()}, out
