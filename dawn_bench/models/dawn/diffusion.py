"""Gaussian diffusion around the U-Net: schedule buffers, predicted motion, losses.

Shape suffixes: B batch, F frames, H, W latent size, D condition width; motion z has 3 channels (flow x, y, occlusion).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.schedule import cosine_schedule
from dawn_bench.models.dawn.unet import FLOW_CHANNELS, UNet3D

#: Quantile of |x0| for the dynamic thresholding of the released code.
THRESHOLD_QUANTILE = 0.9


class A2VLosses(NamedTuple):
    """Scalar losses. `total` = eps + x0_weight · x0 + lip_weight · lip is minimised (Eq. 7); eps is Eq. 2."""

    total: Tensor
    eps: Tensor
    x0: Tensor
    lip: Tensor


class Diffusion(nn.Module):
    """Noise prediction (paper Eq. 1 and 2) with the cosine schedule; `denoise_fn` is the U-Net."""

    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor

    def __init__(self, config: A2VConfig) -> None:
        super().__init__()
        self.config = config
        for name, value in cosine_schedule(config.timesteps).items():
            self.register_buffer(name, value)
        self.denoise_fn = UNet3D(config)

    def add_noise(self, z_B3FHW: Tensor, t_B: Tensor, noise_B3FHW: Tensor) -> Tensor:
        """x_t of Eq. 1."""
        return _at(self.sqrt_alphas_cumprod, t_B) * z_B3FHW + _at(self.sqrt_one_minus_alphas_cumprod, t_B) * noise_B3FHW

    def clean_and_noise(self, x_B3FHW: Tensor, t_B: Tensor, predicted_B3FHW: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted clean motion, thresholded as configured, and the matching noise estimate.

        The noise is recomputed from the thresholded motion, so that the two recombine to `x_B3FHW`. With `stale_noise`
        they do not: each sampling step loses the difference, and the error grows with the number of steps.
        """
        signal, spread = _at(self.sqrt_alphas_cumprod, t_B), _at(self.sqrt_one_minus_alphas_cumprod, t_B)
        if self.config.prediction == "velocity":
            x0, eps = signal * x_B3FHW - spread * predicted_B3FHW, spread * x_B3FHW + signal * predicted_B3FHW
        else:
            recip, recipm1 = _at(self.sqrt_recip_alphas_cumprod, t_B), _at(self.sqrt_recipm1_alphas_cumprod, t_B)
            x0, eps = recip * x_B3FHW - recipm1 * predicted_B3FHW, predicted_B3FHW
        x0 = self.threshold(x0)
        return x0, eps if self.config.stale_noise else (x_B3FHW - signal * x0) / spread

    def threshold(self, x0: Tensor) -> Tensor:
        """Constrain `x0_B3FHW` to the range of motion, by the configured method."""
        if self.config.threshold == "sample":
            return dynamic_threshold(x0)
        flow_bound = self.config.flow_bound * self.config.flow_scale
        flow, occlusion = x0.split([FLOW_CHANNELS, 1], dim=1)
        return torch.cat((flow.clamp(-flow_bound, flow_bound), occlusion.clamp(-1, 1)), dim=1)

    def losses(
        self,
        z_B3FHW: Tensor,
        t_B: Tensor,
        noise_B3FHW: Tensor,
        *,
        source_BCHW: Tensor,
        mask_BMHW: Tensor,
        cond_BFD: Tensor,
        lip_mask_BFHW: Tensor | None,
        lip_area: float | None = None,
    ) -> A2VLosses:
        """The losses at given timesteps and noise.

        The lip term is the squared error inside the lip mask. With `lip_normalisation` `mask` it is summed over the
        three channels and divided by the mask's area (released code); with `frame` it is averaged over everything, as
        the denoising loss is (Eq. 7). The weight of a pixel inside relative to one outside is 1 + 3 w / (the mask's
        share of the frame) with the former and 1 + w with the latter: 69 and 2 for w = 1 and a share of 4.4 %.

        `lip_area` replaces the mask's area in a part of a batch (`dawn_bench.training.masked_means`).
        """
        x = self.add_noise(z_B3FHW, t_B, noise_B3FHW)
        predicted = self.denoise_fn(x, t_B, source_BCHW=source_BCHW, mask_BMHW=mask_BMHW, cond_BFD=cond_BFD)
        target = noise_B3FHW
        if self.config.prediction == "velocity":
            target = _at(self.sqrt_alphas_cumprod, t_B) * noise_B3FHW
            target = target - _at(self.sqrt_one_minus_alphas_cumprod, t_B) * z_B3FHW
        error = (target - predicted).square()
        eps_loss = total = error.mean()
        x0_loss, lip_loss = eps_loss.new_zeros(()), eps_loss.new_zeros(())
        if self.config.x0_weight:
            x0_loss = self.motion_error(self.clean_and_noise(x, t_B, predicted)[0], z_B3FHW).mean()
            total = total + self.config.x0_weight * x0_loss
        if lip_mask_BFHW is not None and self.config.lip_weight:
            inside = error * lip_mask_BFHW[:, None]
            by_frame = self.config.lip_normalisation == "frame"
            area = lip_mask_BFHW.sum().clamp(min=1) if lip_area is None else lip_area
            lip_loss = inside.mean() if by_frame else inside.sum() / area
            total = total + self.config.lip_weight * lip_loss
        return A2VLosses(total, eps_loss, x0_loss, lip_loss)

    def motion_error(self, x0_B3FHW: Tensor, z_B3FHW: Tensor) -> Tensor:
        """Squared error of the flow, with that of the occlusion map added to both channels: [B, 2, F, H, W].

        Both are in the units of the LFG's output, whatever `flow_scale` is: flow in half image widths, occlusion in
        [0, 1], half the range of z's third channel.
        """
        flow, occlusion = (x0_B3FHW - z_B3FHW).square().split([FLOW_CHANNELS, 1], dim=1)
        return flow / self.config.flow_scale**2 + occlusion / 4


def dynamic_threshold(x0: Tensor) -> Tensor:
    """Clamp each sample to ±s and divide by s, where s = max(1, 0.9 quantile of its absolute values).

    Saharia et al. 2022 ("Imagen"), section 2.3, applied to a whole clip: it also scales down the flow of pixels within
    the bounds. Sorting avoids the size limit of `torch.quantile`, so clips can have any length.
    """
    ordered = x0.flatten(1).abs().sort(dim=1).values
    place = THRESHOLD_QUANTILE * (ordered.shape[1] - 1)
    low = int(place)
    quantile = torch.lerp(ordered[:, low], ordered[:, min(low + 1, ordered.shape[1] - 1)], place - low)
    bound = quantile.clamp(min=1).view(-1, *(1,) * (x0.dim() - 1))
    return x0.clamp(-bound, bound) / bound


def _at(buffer: Tensor, t_B: Tensor) -> Tensor:
    return buffer[t_B].view(-1, 1, 1, 1, 1)
