"""PBNet's losses (paper, A.2, Eq. 11 to 13).

Shape letters: B batch, N frames, D state channels, A audio channels, Z latent channels. States are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dawn_bench.models.dawn.discriminator import SequenceDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.dawn.pbnet_config import PBNetConfig


@dataclass(frozen=True)
class PBNetLosses:
    """Scalar losses of one batch; `total` is Eq. 13.

    `total.backward()` computes the gradients of both networks; step both optimisers after it.
    """

    total: Tensor
    mixed: Tensor  #: weighted sum of reconstruction, KL and reg
    rc: Tensor  #: mean squared error of the change in valid frames (Eq. 11)
    kl: Tensor  #: KL divergence of the code from a standard normal, mean over its elements
    reg: Tensor  #: roughness of the ground-truth change, without gradient
    gan_g: Tensor  #: the generator's adversarial loss (Eq. 12); 0 without a discriminator
    gan_d: Tensor  #: the discriminator's loss; 0 without one


def kl_weight(epoch: int, config: PBNetConfig) -> float:
    """Weight of the KL term in an epoch: 0, then linear warm-up; or the reference's schedule, see `kl_rises`."""
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
    discriminator: SequenceDiscriminator | None = None,
    counts: Mapping[str, float] | None = None,
) -> tuple[PBNetLosses, Tensor]:
    """Losses and the predicted change (B, N, D) of one batch; z = mean + noise * standard deviation.

    `x_BND` must be 0 where `valid_BN` is False (padding). `counts` as in `score`.
    """
    mu, logvar = model.encode(x_BND, audio_BNA, valid_BN)
    z = mu + noise_NBZ * torch.exp(0.5 * logvar)
    out = model.decode(x_BND[:, 0], z, audio_BNA, valid_BN)
    losses = score(
        model.config, x_BND, out, mu, logvar, valid_BN, epoch=epoch, discriminator=discriminator, counts=counts
    )
    return losses, out


def score(
    config: PBNetConfig,
    x_BND: Tensor,
    out_BND: Tensor,
    mu_NBZ: Tensor,
    logvar_NBZ: Tensor,
    valid_BN: Tensor,
    *,
    epoch: int,
    discriminator: SequenceDiscriminator | None = None,
    counts: Mapping[str, float] | None = None,
) -> PBNetLosses:
    """The losses of a given prediction `out_BND` (change) and latent distribution.

    `counts` replaces numbers of valid frames in a part of a batch, as `frame_counts` (`training.masked_means`).
    """
    counts = counts or {}

    def scaled(name: str, mean: Tensor, mask: Tensor) -> Tensor:
        """A mean over a mask, which is divided by the count given for it instead of the mask's own."""
        return mean * (mask.sum().to(mean) / counts[name]) if name in counts else mean

    change = x_BND - x_BND[:, :1]
    rc = scaled("rc", F.mse_loss(out_BND[valid_BN], change[valid_BN]), valid_BN)
    divergence = -0.5 * (1 + logvar_NBZ - mu_NBZ.square() - logvar_NBZ.exp())
    counted = valid_BN if config.mask_padding else torch.ones_like(valid_BN)
    kl = scaled("kl", divergence.transpose(0, 1)[counted].mean(), counted)
    reg = scaled("reg", change.diff(dim=1)[counted[:, 1:]].square().mean().detach(), counted[:, 1:])
    mixed = config.rec_weight * rc + kl_weight(epoch, config) * kl + config.reg_weight * reg
    gan_g = gan_d = torch.zeros_like(rc)
    if discriminator is not None:
        fake = out_BND + x_BND[:, :1]
        if config.mask_padding:
            fake = fake * valid_BN[..., None]
        gan_g, gan_d = adversarial(discriminator, x_BND, fake, detached=config.gan_detached)
    # A weight does not matter to the discriminator's own optimiser; the reference weights the sum of both.
    total = mixed + config.gan_weight * gan_g + (1.0 if config.gan_detached else config.gan_weight) * gan_d
    return PBNetLosses(total, mixed, rc, kl, reg, gan_g, gan_d)


def frame_counts(config: PBNetConfig, valid_BN: Tensor) -> dict[str, float]:
    """The numbers of frames that losses are means over, by loss; without losses that are means over all frames."""
    counts = {"rc": valid_BN}
    if config.mask_padding:
        counts |= {"kl": valid_BN, "reg": valid_BN[:, 1:]}
    return {name: max(float(mask.sum()), 1.0) for name, mask in counts.items()}


def adversarial(
    discriminator: SequenceDiscriminator, real_BND: Tensor, fake_BND: Tensor, *, detached: bool
) -> tuple[Tensor, Tensor]:
    """Generator and discriminator losses (binary cross-entropy) for real and fake sequences (B, N, D).

    With `detached` the generator loss does not reach the discriminator's weights, nor the discriminator loss the
    generator.
    """
    real = discriminator(real_BND.transpose(1, 2))
    if detached:
        fake_logits = discriminator(fake_BND.detach().transpose(1, 2))
        frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
        generator_logits = torch.func.functional_call(discriminator, frozen, (fake_BND.transpose(1, 2),))
    else:
        fake_logits = generator_logits = discriminator(fake_BND.transpose(1, 2))
    real_loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    fake_loss = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    generator_loss = F.binary_cross_entropy_with_logits(generator_logits, torch.ones_like(generator_logits))
    return generator_loss, real_loss + fake_loss
