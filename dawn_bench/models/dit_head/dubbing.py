"""DiT-Head's inference on arrays: a video with masked mouth and speech in, the video with new lips out.

Used in validation and generation. It reads no pixel inside the mask, and changes no pixel outside it.
Shape letters: T frames, S picture side, A audio features, Z latent channels, h latent side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dawn_bench.config import Config
from dawn_bench.exact import float32_products
from dawn_bench.models.dit_head.audio import windows
from dawn_bench.models.dit_head.config import OURS, PAPER, origin
from dawn_bench.models.dit_head.diffusion import sample
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.mask import mouth_mask
from dawn_bench.models.dit_head.pictures import cut_out, paste
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.inputs import ping_pong
from dawn_bench.pixels import from_frames, to_frames
from dawn_bench.progress import Meter

#: Number of frames sampled at once.
BATCH = 64


class DubOptions(Config):
    """Options of dubbing. The paper uses DDIM and then interpolates frames, without giving details."""

    steps: int = origin(50, OURS, "DDIM steps", ge=1, le=999)
    eta: float = origin(0.0, PAPER, "stochasticity of the sampler; 0: DDIM", ge=0, le=1)
    guidance: float = origin(1.0, OURS, "scale of classifier-free guidance by the audio; 1: none", ge=0)
    interpolation: Literal["none", "blend"] = Field(
        "none",
        description="blend: each latent is averaged with its neighbours by ¼, ½, ¼, in place of RIFE",
        json_schema_extra={"origin": OURS},
    )
    seam: float = origin(0.06, OURS, "colours are matched at the mask's edge over this share of the side", ge=0, le=1)


class DitHeadNetworks:
    """Both VQGANs and the DiT on one device, in evaluation mode."""

    def __init__(self, face: VQGAN, masked: VQGAN, dit: DiT, *, device: str = "cpu") -> None:
        self.face: VQGAN = face.to(device).eval()
        self.masked: VQGAN = masked.to(device).eval()
        self.dit: DiT = dit.to(device).eval()
        self.device = device

    @torch.no_grad()
    @float32_products("ieee")
    def dub(
        self,
        frames: np.ndarray,
        landmarks: np.ndarray,
        audio: np.ndarray,
        *,
        seed: int,
        options: DubOptions = DubOptions(),
        reference: np.ndarray | None = None,
        progress: Meter | None = None,
    ) -> np.ndarray:
        """Frames uint8 (T,S,S,3) RGB for audio features (T,A): `frames` (T',S,S,3) with lips that follow the speech.

        A video shorter than the speech plays in ping-pong; a longer video is cut. `landmarks` (T',68,2) define the
        mask; `reference` (S,S,3), by default the first frame, shows the unmasked face. Pixels outside the mask are
        unchanged. The same seed gives the same clip. Always in full float32.
        """
        order = ping_pong(len(frames), len(audio))
        given = np.asarray(frames)[order]
        hole = mouth_mask(np.asarray(landmarks)[order], given.shape[1], self.dit.config.mask)
        sound = windows(audio, self.dit.config.window)
        shown = given[0] if reference is None else reference
        generator = torch.Generator(device=self.device).manual_seed(seed)
        side = given.shape[1] // self.face.config.factor
        shape = (1, self.dit.config.latent_channels, side, side)
        noise = torch.randn(
            shape, generator=generator, device=self.device
        )  # shared by all frames, against jitter [ours]
        reference_1Zhh = self.dit.scale_face(self.face.encode(self._picture(shown[None])))
        latents = []
        for start in range(0, len(given), BATCH):
            part = slice(start, start + BATCH)
            latents.append(self._latents(given[part], hole[part], sound[part], reference_1Zhh, noise, options, seed))
            if progress is not None:
                progress.advance(len(latents[-1]))
        z_TZhh = torch.cat(latents)
        if options.interpolation == "blend":
            z_TZhh = blend(z_TZhh)
        decoded = [to_frames(self.face.decode(self.dit.unscale_face(z)), signed=True) for z in z_TZhh.split(BATCH)]
        return paste(np.concatenate(decoded), given, hole, seam=options.seam)

    def _latents(
        self,
        given: np.ndarray,
        hole: np.ndarray,
        sound: np.ndarray,
        reference_1Zhh: Tensor,
        noise_1Zhh: Tensor,
        options: DubOptions,
        seed: int,
    ) -> Tensor:
        count, dit = len(given), self.dit
        seen = cut_out(self._picture(given), torch.as_tensor(hole, device=self.device))
        fixed = {
            "reference_BZhh": reference_1Zhh.expand(count, -1, -1, -1),
            "masked_BZhh": dit.scale_masked(self.masked.encode(seen)),
            "audio_BWA": torch.as_tensor(sound, device=self.device),
        }
        kept = torch.ones(count, dtype=torch.bool, device=self.device)

        def predict(x_BZhh: Tensor, t_B: Tensor) -> Tensor:
            with_sound = dit(x_BZhh, t_B, **fixed, kept_B=kept)
            if options.guidance == 1:
                return with_sound
            return torch.lerp(dit(x_BZhh, t_B, **fixed, kept_B=~kept), with_sound, options.guidance)

        start = noise_1Zhh.repeat(count, 1, 1, 1)
        return sample(predict, start, dit.levels, dit.config, steps=options.steps, eta=options.eta, seed=seed)

    def _picture(self, frames: np.ndarray) -> Tensor:
        return from_frames(torch.as_tensor(np.require(frames, requirements="W"), device=self.device), signed=True)


def blend(z_TZhh: Tensor) -> Tensor:
    """Moving average of the latents with weights ¼, ½, ¼ over time; the ends are repeated [ours]."""
    padded = torch.cat([z_TZhh[:1], z_TZhh, z_TZhh[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
