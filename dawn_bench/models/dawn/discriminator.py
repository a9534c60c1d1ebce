"""The patch discriminator of PBNet, over overlapping segments of a pose and blink sequence (paper, A.2).

Shape letters: B batch, D state channels, N frames, P patches.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: Minimum sequence length in frames; shorter ones yield no patch.
SHORTEST = 24


class PatchBlock(nn.Module):
    """Convolution over 4 frames, batch norm, leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv1d(c_in, c_out, 4, stride, padding=1), nn.BatchNorm1d(c_out), nn.LeakyReLU(0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, N) -> (B, c_out, N'), N' = (N - 2) // stride + 1."""
        return self.model(x)


class SequenceDiscriminator(nn.Module):
    """Logits of "real" for overlapping segments; sequences need at least `SHORTEST` frames."""

    def __init__(self, state_dim: int, *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(state_dim, width, 4, stride=2, padding=1)
        self.model = nn.Sequential(
            PatchBlock(width, 2 * width, 2),
            PatchBlock(2 * width, 4 * width, 2),
            PatchBlock(4 * width, 4 * width, 1),
            nn.Conv1d(4 * width, 1, 4, stride=1, padding=1),
        )

    def forward(self, state_BDN: Tensor) -> Tensor:
        """Logits (B, 1, P) for normalised, absolute states (B, D, N)."""
        return self.model(F.leaky_relu(self.conv1(state_BDN), 0.2))
