"""The A2V-FDM: motion of all frames jointly, from source features, audio, pose and blinks (paper Eq. 6).

Shape suffixes: B batch, F frames, C source channels, S image size, H, W latent size (S/4), D condition width.
Motion z has 3 channels: flow x, flow y (sampling positions, −1…1 over the image) and 2·occlusion − 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dawn_bench.models.dawn import fast
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.conditions import FaceMaskEncoder, condition_scales, drop_conditions, identity_grid
from dawn_bench.models.dawn.diffusion import A2VLosses, Diffusion
from dawn_bench.models.dawn.fast.captured import captured
from dawn_bench.models.dawn.fast.compiled import Compiled, compiled_clip
from dawn_bench.models.dawn.fast.unet import FastUNet
from dawn_bench.models.dawn.unet import FLOW_CHANNELS, MOTION_CHANNELS, UNet3D
from dawn_bench.models.diffusion.levels import sampling_steps
from dawn_bench.models.diffusion.solvers import Denoise, SolverName, ddim, dpm_solver_2m, with_fixed_frames
from dawn_bench.progress import Meter

Generators = torch.Generator | Sequence[torch.Generator]


class A2VFDM(nn.Module):
    """Diffusion over motion with per-frame conditions. `diffusion` and `face_loc_emb` have the published keys."""

    condition_scales: Tensor

    def __init__(self, config: A2VConfig) -> None:
        super().__init__()
        self.config = config
        self.diffusion = Diffusion(config)
        self.face_loc_emb = FaceMaskEncoder(config.mask_dims)
        if config.mask_encoder == "seed1234":
            self.face_loc_emb.draw_as_training_script()
            self.face_loc_emb.requires_grad_(False)
        scales = condition_scales(config.audio_dim, config.pose_scales, config.eye_scale, config.eye_dim)
        self.register_buffer("condition_scales", scales, persistent=False)

    def pack_motion(self, flow_BFHW2: Tensor, occlusion_BF1HW: Tensor) -> Tensor:
        """The diffusion target z_B3FHW from the LFG's flow (sampling positions) and occlusion map (0…1)."""
        flow_B2FHW = flow_BFHW2.permute(0, 4, 1, 2, 3)
        if self.config.residual_flow:
            flow_B2FHW = flow_B2FHW - self._grid(flow_B2FHW)
        return torch.cat((flow_B2FHW * self.config.flow_scale, occlusion_BF1HW.transpose(1, 2) * 2 - 1), dim=1)

    def unpack_motion(self, z_B3FHW: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `pack_motion`: (flow_BFHW2, occlusion_BF1HW), without clamping."""
        flow_B2FHW = z_B3FHW[:, :FLOW_CHANNELS] / self.config.flow_scale
        if self.config.residual_flow:
            flow_B2FHW = flow_B2FHW + self._grid(flow_B2FHW)
        return flow_B2FHW.permute(0, 2, 3, 4, 1), (z_B3FHW[:, FLOW_CHANNELS:].transpose(1, 2) + 1) / 2

    @staticmethod
    def _grid(flow_B2FHW: Tensor) -> Tensor:
        return identity_grid(*flow_B2FHW.shape[-2:], device=flow_B2FHW.device)[:, None]

    def loss(
        self,
        z_B3FHW: Tensor,
        source_feat_BCHW: Tensor,
        face_mask_B1SS: Tensor,
        cond_BFD: Tensor,
        lip_mask_BFHW: Tensor | None,
        *,
        generator: torch.Generator,
    ) -> A2VLosses:
        """The losses of a batch; timesteps, noise and condition dropout are drawn from `generator`.

        `z_B3FHW` comes from `pack_motion`, `cond_BFD` from `build_condition` in raw units; masks are 0 or 1.
        """
        device = z_B3FHW.device
        t_B = torch.randint(self.config.timesteps, (len(z_B3FHW),), generator=generator, device=generator.device).to(
            device
        )
        noise = torch.randn(z_B3FHW.shape, generator=generator, device=generator.device).to(device)
        cond_BFD = drop_conditions(
            cond_BFD * self.condition_scales,
            self.config.null_probability,
            per_frame=self.config.drop_per_frame,
            generator=generator,
        )
        return self.diffusion.losses(
            z_B3FHW,
            t_B,
            noise,
            source_BCHW=source_feat_BCHW,
            mask_BMHW=self.face_loc_emb(face_mask_B1SS),
            cond_BFD=cond_BFD,
            lip_mask_BFHW=lip_mask_BFHW,
        )

    @torch.no_grad()
    def sample(
        self,
        source_feat_BCHW: Tensor,
        face_mask_B1SS: Tensor,
        cond_BFD: Tensor,
        *,
        steps: int = 20,
        eta: float = 1.0,
        cond_scale: float = 1.0,
        win_width: int | None = None,
        generator: Generators | None = None,
        noise: Tensor | None = None,
        progress: Meter | None = None,
        solver: SolverName = "ddim",
        fixed: tuple[Tensor, Tensor] | None = None,
        compiled: bool = False,
    ) -> Tensor:
        """Sample motion z_B3FHW of any length, all frames jointly.

        Takes `steps` network calls per clip, twice that with classifier-free guidance (`cond_scale` ≠ 1). `eta` is the
        stochasticity of `ddim` (0 deterministic, 1 as released); `dpm2m` is deterministic. `win_width` overrides the
        attention window of the config (a window as long as the clip disables it). Noise comes from `generator` (one
        for all clips, or one per clip, which makes a clip's motion independent of its batch), or is given as `noise`
        [n, B, 3, F, H, W]: the initial noise, then one for each step but the last. `progress` advances by one per step.

        `fixed` is (indices [n], motion z_B3nHW) of frames with known motion: these are kept, and the other frames are
        sampled consistently with them. `compiled` runs the fast U-Net through the compiler, in clips padded to one of
        a few lengths.
        """
        window = self.config.win_width if win_width is None else win_width
        clips = []
        for b, cond_FD in enumerate(cond_BFD * self.condition_scales):
            fresh = _noise_source(
                (1, MOTION_CHANNELS, len(cond_FD), *source_feat_BCHW.shape[-2:]),
                generator=generator[b] if isinstance(generator, Sequence) else generator,
                given=None if noise is None else noise[:, b : b + 1],
                device=cond_FD.device,
            )
            mask_MHW = self.face_loc_emb(face_mask_B1SS[b : b + 1])[0]
            denoise = self._denoiser(
                source_feat_BCHW[b], mask_MHW, cond_FD, window, cond_scale, progress, compiled=compiled
            )
            times = sampling_steps(self.diffusion.alphas_cumprod, steps, off_by_one=self.config.ddim_off_by_one)
            if fixed is not None:
                denoise = with_fixed_frames(denoise, fixed[0], fixed[1][b : b + 1], times)
            if solver == "ddim":
                clips.append(ddim(denoise, fresh(0), times, eta=eta, noise=fresh))
            else:
                clips.append(dpm_solver_2m(denoise, fresh(0), times))
        return torch.cat(clips)

    def _denoiser(
        self,
        source_CHW: Tensor,
        mask_MHW: Tensor,
        cond_FD: Tensor,
        win_width: int | None,
        cond_scale: float,
        progress: Meter | None,
        *,
        compiled: bool,
    ) -> Denoise:
        """The denoiser for one clip, with classifier-free guidance: null + (conditioned − null) · cond_scale."""

        unet = self.diffusion.denoise_fn
        fast_unet = FastUNet(unet) if fast.enabled() else None

        def clip(cond: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            inputs: Any = {"source_CHW": source_CHW, "mask_MHW": mask_MHW, "cond_FD": cond, "win_width": win_width}
            if fast_unet is None:
                plain = plain_clip(unet, **inputs)
                return Compiled(plain) if compiled else plain
            step = compiled_clip(fast_unet, **inputs) if compiled else fast_unet.prepare(**inputs)
            return captured(step, frames=len(cond), device=cond.device)

        conditioned = clip(cond_FD)
        null = clip(torch.zeros_like(cond_FD)) if cond_scale != 1 else None

        def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            t_B = torch.tensor([t], device=x.device)
            predicted = conditioned(x[0], t_B)
            if null is not None:
                predicted = torch.lerp(null(x[0], t_B), predicted, cond_scale)
            if progress is not None:
                progress.advance()
            return self.diffusion.clean_and_noise(x, t_B, predicted[None])

        return denoise


def plain_clip(
    unet: UNet3D, *, source_CHW: Tensor, mask_MHW: Tensor, cond_FD: Tensor, win_width: int | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The plain U-Net of one clip, called as `fast.unet.FastClip`: (noisy motion [3, F, H, W], timestep [1])."""

    def predict(x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        clip = {"source_BCHW": source_CHW[None], "mask_BMHW": mask_MHW[None], "cond_BFD": cond_FD[None]}
        return unet(x_3FHW[None], t_B, win_width=win_width, **clip)[0]

    return predict


def _noise_source(
    shape: tuple[int, ...], *, generator: torch.Generator | None, given: Tensor | None, device: torch.device
) -> Callable[[int], Tensor]:
    """noise(i): the i-th given noise, or the next draw from the generator (on its device)."""

    def draw(i: int) -> Tensor:
        if given is not None:
            return given[i]
        on = device if generator is None else generator.device
        return torch.randn(shape, generator=generator, device=on).to(device)

    return draw
