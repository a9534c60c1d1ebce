"""PBNet's losses (paper, A.2, Eq. 11 to 13).

Shape letters: B batch, N frames, D state channels, A audio channels, Z latent channels. States are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dawn_bench.models.dawn.discriminator import PatchDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.dawn.pbnet_config import PBNetConfig


@dataclass(frozen=True)
class PBNetLosses:
    """Scalars of one batch, `total` being Eq. 13.

    `total.backward()` gives the gradients of both networks; step both optimisers after it.
    """

    total: Tensor
    mixed: Tensor  #: reconstruction, KL and reg under their weights
    rc: Tensor  #: mean squared error of the change, valid frames (Eq. 11)
    kl: Tensor  #: divergence of the code from a standard normal, a mean over its elements
    reg: Tensor  #: roughness of the true change; it has no gradient
    gan_g: Tensor  #: the generator's adversarial loss (Eq. 12); 0 without a discriminator
    gan_d: Tensor  #: the discriminator's loss; 0 without one


def kl_weight(epoch: int, config: PBNetConfig) -> float:
    """The weight of the KL term in an epoch: none at first, then rising (or the reference's slip, see `kl_rises`)."""
    past = epoch - config.kl_start
    if config.kl_rises:
        return config.kl_weight * min(max(past, 0) / config.kl_ramp, 1.0)
    if epoch == 0:
        return config.kl_weight
    return 0.0 if past < 0 else config.kl_weight * max(past, config.kl_ramp) / config.kl_ramp


def pbnet_losses(
    model: PBNet,
    x_BND: Tensor,
    audio_BNA: Tensor,
    valid_BN: Tensor,
    *,
    epoch: int,
    noise_NBZ: Tensor,
    discriminator: PatchDiscriminator | None = None,
) -> tuple[PBNetLosses, Tensor]:
    """Losses and the predicted change (B, N, D) of one batch; z = mean + noise * deviation.

    Padding: `x_BND` is 0 where `valid_BN` is False.
    """
    mu, logvar = model.encode(x_BND, audio_BNA, valid_BN)
    z = mu + noise_NBZ * torch.exp(0.5 * logvar)
    out = model.decode(x_BND[:, 0], z, audio_BNA, valid_BN)
    return score(model.config, x_BND, out, mu, logvar, valid_BN, epoch=epoch, discriminator=discriminator), out


def score(
    config: PBNetConfig,
    x_BND: Tensor,
    out_BND: Tensor,
    mu_NBZ: Tensor,
    logvar_NBZ: Tensor,
    valid_BN: Tensor,
    *,
    epoch: int,
    discriminator: PatchDiscriminator | None = None,
) -> PBNetLosses:
    """The losses of a prediction that is already made."""
    change = x_BND - x_BND[:, :1]
    rc = F.mse_loss(out_BND[valid_BN], change[valid_BN])
    divergence = -0.5 * (1 + logvar_NBZ - mu_NBZ.square() - logvar_NBZ.exp())
    counted = valid_BN if config.mask_padding else torch.ones_like(valid_BN)
    kl = divergence.transpose(0, 1)[counted].mean()
    reg = change.diff(dim=1)[counted[:, 1:]].square().mean().detach()
    mixed = config.rec_weight * rc + kl_weight(epoch, config) * kl + config.reg_weight * reg
    gan_g = gan_d = torch.zeros_like(rc)
    if discriminator is not None:
        fake = out_BND + x_BND[:, :1]
        if config.mask_padding:
            fake = fake * valid_BN[..., None]
        gan_g, gan_d = adversarial(discriminator, x_BND, fake, detached=config.gan_detached)
    # The discriminator's own optimiser does not care for a weight; the reference has weight 1 on the sum of both.
    total = mixed + config.gan_weight * gan_g + (1.0 if config.gan_detached else config.gan_weight) * gan_d
    return PBNetLosses(total, mixed, rc, kl, reg, gan_g, gan_d)


def adversarial(
    discriminator: PatchDiscriminator, real_BND: Tensor, fake_BND: Tensor, *, detached: bool
) -> tuple[Tensor, Tensor]:
    """Losses of generator (fake called real) and discriminator (real real, fake fake), as cross entropies.

    `detached`: the first one's gradient stops at the discriminator's weights, the second one's at the fake sequence.
    """
    real = discriminator(real_BND.transpose(1, 2))
    if detached:
        judged = discriminator(fake_BND.detach().transpose(1, 2))
        frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
        offered = torch.func.functional_call(discriminator, frozen, (fake_BND.transpose(1, 2),))
    else:
        judged = offered = discriminator(fake_BND.transpose(1, 2))
    truth = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    lie = F.binary_cross_entropy_with_logits(judged, torch.zeros_like(judged))
    return F.binary_cross_entropy_with_logits(offered, torch.ones_like(offered)), truth + lie
