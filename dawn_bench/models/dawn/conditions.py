"""Conditions of the A2V-FDM: per-frame audio, pose and blinks, and the face mask of the source image.

Pure functions of tensors. Shape suffixes: B batch, F frames, A audio feature width, S image size, H, W latent size,
M mask channels, D condition width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Channels of the head pose that the networks use: yaw, pitch, roll, scale, tx, ty. The seventh, tz, is dropped.
POSE_DIM = 6
#: The training script's seed, and the number of draws before it initialises the face-mask encoder.
MASK_ENCODER_SEED, MASK_ENCODER_OFFSET = 1234, 115_785_680


def head_state(pose: Tensor, blink: Tensor) -> Tensor:
    """[..., 8] from pose [..., 6 or 7] and blinks [..., 2]: the channels of the head that the networks use."""
    return torch.cat((pose[..., :POSE_DIM], blink), dim=-1)


def build_condition(audio_BFA: Tensor, head_BF8: Tensor, source_head_B8: Tensor) -> Tensor:
    """Conditions cond_BFD: audio feature, then the head state relative to the source image (paper section 3.3).

    Raw units: degrees, scale, pixels; eye aspect ratios. `A2VFDM` applies scales. For heads see `head_state`.
    """
    return torch.cat((audio_BFA, head_BF8 - source_head_B8[:, None]), dim=-1)


def identity_grid(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """The LFG's coordinate grid [2, H, W], x then y, from −1 to 1 at the centres of the outermost pixels."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device), indexing="ij"
    )
    return torch.stack((x, y))


def drop_conditions(cond_BFD: Tensor, probability: float, *, per_frame: bool, generator: torch.Generator) -> Tensor:
    """Condition dropout: zero cond_BFD with `probability`, per clip or independently per frame (released code)."""
    shape = cond_BFD.shape[:2] if per_frame else cond_BFD.shape[:1]
    drawn = torch.rand(shape, generator=generator, device=generator.device).to(cond_BFD.device)
    kept = (drawn >= probability).view(*shape, *(1,) * (cond_BFD.dim() - len(shape)))
    return cond_BFD * kept


def condition_scales(audio_dim: int, pose_scales: Sequence[float], eye_scale: float, eye_dim: int) -> Tensor:
    """Scale factors [D] of a frame's condition: 1 for audio, then pose and eyes."""
    return torch.tensor([*[1.0] * audio_dim, *pose_scales, *[eye_scale] * eye_dim])


class FaceMaskEncoder(nn.Module):
    """Face mask [B, 1, S, S] -> features [B, M, S/4, S/4]."""

    def __init__(self, dims: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, dims[0], 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(dims[0], dims[1], 3, stride=2, padding=1)

    def forward(self, mask_B1SS: Tensor) -> Tensor:
        """Encode masks [B, 1, S, S] to [B, M, S/4, S/4]."""
        return self.conv2(self.conv1(mask_B1SS).relu()).relu()

    def draw_as_training_script(self) -> None:
        """Reproduce the initialisation by the released training script's seed.

        The script neither trains nor saves these weights: they are drawn after those of the LFG and the U-Net.
        """
        generator = torch.Generator().manual_seed(MASK_ENCODER_SEED)
        left = MASK_ENCODER_OFFSET
        while left:
            left -= torch.rand(min(left, 1 << 22), generator=generator).numel()
        with torch.no_grad():
            for conv in (self.conv1, self.conv2):
                bound = (conv.in_channels * 9) ** -0.5  # PyTorch's default: uniform within 1/√fan-in
                conv.weight.uniform_(-bound, bound, generator=generator)
                assert conv.bias is not None
                conv.bias.uniform_(-bound, bound, generator=generator)
