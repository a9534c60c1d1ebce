"""Region prediction (soft centres, covariance, principal axes), and background motion.

Shape letters: B batch, K regions, C channels, H height, W width; 2 is (x, y). Positions are in [-1, 1], where ±1 are
the centres of the outermost pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dawn_bench.models.dawn.lfg_blocks import AntiAliasDown, Hourglass, HourglassEncoder


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Positions (x, y) in [-1, 1], (height, width, 2), with the dtype and device of `like`."""
    x = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    y = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)


def inverse_2x2(m: Tensor) -> Tensor:
    """Inverse of (..., 2, 2) matrices by cofactors."""
    a, b, c, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    cofactors = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return cofactors / (a * d - b * c)[..., None, None]


def principal_axes(covar: Tensor) -> tuple[Tensor, Tensor]:
    """Eigen-decomposition of symmetric (..., 2, 2) matrices in closed form.

    Returns `axes` (..., 2, 2), whose columns are unit vectors with determinant +1, and `spread` (..., 2), the
    eigenvalues in descending order. It replaces the reference's SVD, which agrees up to the signs of the columns. The
    flow does not depend on them: the determinant is the same for all matrices, and the overall sign cancels.
    """
    a, b, c = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    middle, half = (a + c) / 2, (a - c) / 2
    # A circular region has half = b = 0: the floor keeps the gradients of sqrt and atan2 finite there.
    radius = torch.sqrt((half.square() + b.square()).clamp_min(1e-30))
    angle = torch.atan2(b, half) / 2
    cos, sin = torch.cos(angle), torch.sin(angle)
    axes = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return axes, torch.stack([middle + radius, (middle - radius).clamp_min(1e-12)], -1)


def repeated(x: Tensor, batch: int) -> Tensor:
    """Each item of the first axis in succession, `batch` in all; a single item, or `batch` of them, are not copied."""
    if len(x) == batch:
        return x
    return x.expand(batch, *x.shape[1:]) if len(x) == 1 else x.repeat_interleave(batch // len(x), dim=0)


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of images."""

    shift_BK2: Tensor  #: centres
    covar_BK22: Tensor  #: covariance of each region's heat
    axes_BK22: Tensor  #: unit principal axes, in columns
    spread_BK2: Tensor  #: eigenvalues, descending
    heat_BKHW: Tensor  #: heat maps, each summing to 1

    @property
    def affine_BK22(self) -> Tensor:
        """Axes scaled by the square roots of the eigenvalues; maps the unit circle to the region's ellipse."""
        return self.axes_BK22 * self.spread_BK2.sqrt()[..., None, :]

    def expand(self, batch: int) -> Regions:
        """The regions of each image `batch / B` times in succession."""
        fields = (self.shift_BK2, self.covar_BK22, self.axes_BK22, self.spread_BK2, self.heat_BKHW)
        return Regions(*(repeated(t, batch) for t in fields))


class RegionPredictor(nn.Module):
    """Heat maps of K regions and their first two moments (principal-axis version, no Jacobian head)."""

    def __init__(
        self, *, regions: int, expansion: int, depth: int, limit: int, factor: int, temperature: float, floor: float
    ) -> None:
        super().__init__()
        self.predictor = Hourglass(3, expansion=expansion, depth=depth, limit=limit)
        self.regions = nn.Conv2d(self.predictor.c_out, regions, 7, padding=3)
        self.down = AntiAliasDown(3, factor)
        self.temperature, self.floor = temperature, floor

    def forward(self, picture_BCHW: Tensor) -> Regions:
        """Regions of images (B, 3, H, W) in [0, 1]."""
        logits = self.regions(self.predictor(self.down(picture_BCHW)))
        heat = (logits.flatten(2) / self.temperature).softmax(dim=-1).view_as(logits)
        grid = coordinate_grid(heat.shape[2], heat.shape[3], heat)
        # Sums instead of matrix products: they round less, and the flow is sensitive to it.
        shift = (heat[..., None] * grid).sum(dim=(2, 3))
        away = grid - shift[:, :, None, None, :]
        covar = (heat[..., None, None] * (away[..., :, None] * away[..., None, :])).sum(dim=(2, 3))
        if self.floor:
            covar = covar + self.floor * torch.eye(2, dtype=covar.dtype, device=covar.device)
        axes, spread = principal_axes(covar)
        return Regions(shift, covar, axes, spread, heat)


class BackgroundPredictor(nn.Module):
    """Affine background motion from driving to source; initialised to the identity."""

    def __init__(self, *, expansion: int, depth: int, limit: int) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(6, expansion=expansion, depth=depth, limit=limit)
        self.fc = nn.Linear(self.encoder.c_out, 6)
        nn.init.zeros_(self.fc.weight)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def forward(self, source_BCHW: Tensor, driving_BCHW: Tensor) -> Tensor:
        """Affine matrices (B, 2, 3) that map driving positions to source positions."""
        features = self.encoder(torch.cat([source_BCHW, driving_BCHW], dim=1))[-1]
        return self.fc(features.mean(dim=(2, 3))).view(-1, 2, 3)
