"""What trains a VQGAN (Esser et al. 2021, Eq. 4 to 7): colours, perception, codes, and a patch discriminator.

Shape letters: B batch, C channels, S picture side, P patches a side. Pictures are RGB in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dawn.lfg_loss import PixelLoss, VGGLoss
from dawn_bench.models.dit_head.config import VQGANLossConfig
from dawn_bench.models.dit_head.vqgan import VQGAN

#: The adaptive weight is kept below this, as in the released VQGAN.
_LARGEST_WEIGHT = 1e4


class PatchDiscriminator(nn.Module):
    """Logits of "real" (B,1,P,P) of overlapping patches (Isola et al. 2017); group norms let batches be cut."""

    def __init__(self, *, channels: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        c_in = channels
        for layer in range(1, layers + 1):
            c_out = channels * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            parts += [nn.Conv2d(c_in, c_out, 4, stride=stride, padding=1, bias=False)]
            parts += [nn.GroupNorm(4, c_out), nn.LeakyReLU(0.2)]
            c_in = c_out
        self.layers = nn.Sequential(*parts, nn.Conv2d(c_in, 1, 4, padding=1))

    def forward(self, picture_B3SS: Tensor) -> Tensor:
        return self.layers(picture_B3SS)


def vqgan_losses(
    vqgan: VQGAN,
    discriminator: PatchDiscriminator,
    picture_B3SS: Tensor,
    *,
    perceptual: VGGLoss | PixelLoss,
    config: VQGANLossConfig,
    step: int,
) -> dict[str, Tensor]:
    """Named scalars; `total` trains both networks at once, each by its own part.

    The discriminator's weights are held while the VQGAN is judged, and the VQGAN's pictures while it learns to judge.
    """
    rebuilt, codes = vqgan(picture_B3SS)
    colour = F.l1_loss(rebuilt, picture_B3SS)
    seen = perceptual((rebuilt + 1) / 2, (picture_B3SS + 1) / 2)
    likeness = colour + config.perceptual_weight * seen
    quantise = codes.codebook + config.commitment * codes.commitment
    total = likeness + quantise
    judged = told = weight = torch.zeros_like(total)
    if step >= config.adversarial_from:
        frozen = {name: value.detach() for name, value in discriminator.named_parameters()}
        judged = -torch.func.functional_call(discriminator, frozen, (rebuilt,)).mean()
        weight = adaptive_weight(likeness, judged, vqgan.decoder.out.weight)
        told = hinge(discriminator(picture_B3SS.detach()), discriminator(rebuilt.detach()))
        total = total + config.adversarial_weight * weight * judged + told
    return {
        "total": total,
        "colour": colour,
        "perceptual": seen,
        "quantise": quantise,
        "codes_used": codes.index_Bhh.unique().numel() * torch.ones_like(colour),
        "adversarial": judged,
        "adaptive_weight": weight,
        "discriminator": told,
    }


def adaptive_weight(likeness: Tensor, judged: Tensor, last: Tensor) -> Tensor:
    """The weight at which both losses pull the last layer alike (Esser et al. 2021, Eq. 7)."""
    of_likeness, of_judged = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (likeness, judged))
    return (of_likeness.norm() / (of_judged.norm() + 1e-4)).clamp(0, _LARGEST_WEIGHT).detach()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: real patches above 1, made ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
