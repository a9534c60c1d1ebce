"""VQGAN losses (Esser et al. 2021, Eq. 4 to 7): reconstruction, perceptual, codebook and adversarial.

Shape letters: B batch, C channels, S image side, P patches per side. Images are RGB in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.models.dit_head.config import VQGANLossConfig
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.perceptual import PixelLoss, VGGLoss

#: Upper bound of the adaptive weight, as in the released VQGAN.
_LARGEST_WEIGHT = 1e4


class PatchDiscriminator(nn.Module):
    """Logits of "real" (B,1,P,P) for overlapping patches (Isola et al. 2017); group norms allow batches to be split."""

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
        """Images (B,3,S,S) in [-1, 1] -> logits (B,1,P,P)."""
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
    """Named scalar losses; `total` trains both networks at once, each through its own terms.

    The VQGAN's adversarial loss does not reach the discriminator's weights, nor the discriminator's loss the VQGAN.
    """
    rebuilt, codes = vqgan(picture_B3SS)
    colour = F.l1_loss(rebuilt, picture_B3SS)
    seen = perceptual((rebuilt + 1) / 2, (picture_B3SS + 1) / 2)
    likeness = colour + config.perceptual_weight * seen
    quantise = codes.codebook + config.commitment * codes.commitment
    total = likeness + quantise
    adversarial = discriminator_loss = weight = torch.zeros_like(total)
    if step >= config.adversarial_from:
        frozen = {name: value.detach() for name, value in discriminator.named_parameters()}
        adversarial = -torch.func.functional_call(discriminator, frozen, (rebuilt,)).mean()
        weight = adaptive_weight(likeness, adversarial, vqgan.decoder.out.weight)
        discriminator_loss = hinge(discriminator(picture_B3SS.detach()), discriminator(rebuilt.detach()))
        total = total + config.adversarial_weight * weight * adversarial + discriminator_loss
    return {
        "total": total,
        "colour": colour,
        "perceptual": seen,
        "quantise": quantise,
        "codes_used": codes.index_Bhh.unique().numel() * torch.ones_like(colour),
        "adversarial": adversarial,
        "adaptive_weight": weight,
        "discriminator": discriminator_loss,
    }


def adaptive_weight(likeness: Tensor, judged: Tensor, last: Tensor) -> Tensor:
    """The weight that equalises the gradient norms of both losses at the last layer (Esser et al. 2021, Eq. 7)."""
    of_likeness, of_judged = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (likeness, judged))
    return (of_likeness.norm() / (of_judged.norm() + 1e-4)).clamp(0, _LARGEST_WEIGHT).detach()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator, from its logits for real and fake patches."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
