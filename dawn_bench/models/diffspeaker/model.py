"""DiffSpeaker: vertices of all frames jointly, from audio, a neutral face and a speaking style.

B items, N samples, T frames, V vertex coordinates (vertices · 3), D latent size. Offsets are vertices minus the neutral
face, in the units of the dataset's files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dawn_bench.exact import float32_products
from dawn_bench.models.diffspeaker.audio import build_encoder, encode, frames_of, normalise, resample
from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig, Sampler
from dawn_bench.models.diffspeaker.denoiser import Denoiser
from dawn_bench.models.diffspeaker.schedule import add_noise, sample


class DiffSpeaker(nn.Module):
    """Audio encoder and denoiser, under their published names."""

    def __init__(self, config: DiffSpeakerConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = build_encoder(config.audio)
        self.denoiser = Denoiser(config)

    def encode_audio(self, waveform_BN: Tensor, *, frames: int | None = None, mask_BN: Tensor | None = None) -> Tensor:
        """Encode sound at 16 kHz (any scale) to memory (B,T,D); T is `frames`, by default the length of the sound."""
        features = encode(self.audio_encoder, normalise(waveform_BN, mask_BN), mask_BN)
        count = frames_of(features.shape[1], self.config.fps) if frames is None else frames
        return self.denoiser.audio_feature_map(resample(features, count))

    def losses(
        self,
        offsets_BTV: Tensor,
        waveform_BN: Tensor,
        style_B: Tensor,
        *,
        step_B: Tensor,
        noise_BTV: Tensor,
        valid_BT: Tensor,
        mask_BN: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses `rec`, `vel` and their sum `total` for clean offsets (B,T,V) at diffusion steps `step_B`."""
        memory = self.encode_audio(waveform_BN, frames=offsets_BTV.shape[1], mask_BN=mask_BN)
        noisy = add_noise(offsets_BTV, noise_BTV, step_B)
        predicted = self.denoiser(noisy, memory, step_B, style_B, valid_BT)
        return mesh_losses(predicted, offsets_BTV, valid_BT)

    @torch.no_grad()
    @float32_products("ieee")
    def generate(
        self,
        waveform_BN: Tensor,
        style_B: Tensor,
        *,
        generator: torch.Generator,
        frames: int | None = None,
        sampler: Sampler | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """Sample offsets (B,T,V) for the sound, with the configured smoothing; `sampler` and `steps` as configured by
        default. Always in full float32."""
        memory = self.encode_audio(waveform_BN, frames=frames)
        shape = (*memory.shape[:2], self.config.vertices * 3)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(memory.device)
        offsets = sample(
            lambda x, step: self.denoiser(x, memory, step, style_B),
            noise,
            steps=steps or self.config.steps,
            sampler=sampler or self.config.sampler,
        )
        return smoothed(offsets) if self.config.smooth else offsets


def mesh_losses(predicted_BTV: Tensor, true_BTV: Tensor, valid_BT: Tensor) -> dict[str, Tensor]:
    """Mean squared errors of positions (`rec`) and of frame-to-frame changes (`vel`), and their sum `total`.

    Padded frames are zeroed in both inputs and included in the mean, as in the released code. Both inputs
    (B,T,V) are offsets, or both absolute vertices.
    """
    weight = valid_BT[..., None].to(predicted_BTV)
    ours, theirs = predicted_BTV * weight, true_BTV * weight
    rec = (ours - theirs).square().mean()
    vel = (ours.diff(dim=1) - theirs.diff(dim=1)).square().mean()
    return {"total": rec + vel, "rec": rec, "vel": vel}


def smoothed(x_BTV: Tensor) -> Tensor:
    """Three-frame moving average along T; the first and the last frame are unchanged."""
    middle = (x_BTV[:, :-2] + x_BTV[:, 1:-1] + x_BTV[:, 2:]) / 3
    return torch.cat([x_BTV[:, :1], middle, x_BTV[:, -1:]], dim=1) if x_BTV.shape[1] > 2 else x_BTV
