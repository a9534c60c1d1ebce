"""DAWN's inference on arrays (paper, Section 3, Eq. 10): a portrait and audio features in, a clip of any length out.

T frames, S picture side, h latent side. One diffusion sample covers the whole clip: nothing is autoregressive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from dawn_bench.exact import float32_products
from dawn_bench.masks import released_box_mask
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.conditions import POSE_DIM, build_condition, head_state
from dawn_bench.models.dawn.lfg import LFG, EncodedSource
from dawn_bench.models.dawn.options import Precision, SamplingOptions
from dawn_bench.models.dawn.pbnet import PBNet, SeparatePBNets
from dawn_bench.models.inputs import Portrait
from dawn_bench.pixels import from_frames, to_frames
from dawn_bench.progress import Meter


@dataclass(frozen=True)
class Scene:
    """All inputs of one diffusion sample, on the device; `generator` draws its noise."""

    encoded: EncodedSource
    mask_B1SS: torch.Tensor
    cond_BFD: torch.Tensor
    generator: torch.Generator


_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DawnNetworks:
    """LFG, A2V-FDM and PBNet on one device; `pbnet` is None if the A2V-FDM was trained without pose and blinks.

    `coarse` is another A2V-FDM at a lower frame rate, for two temporal resolutions.
    """

    def __init__(
        self,
        lfg: LFG,
        a2v: A2VFDM,
        pbnet: PBNet | SeparatePBNets | None,
        *,
        coarse: A2VFDM | None = None,
        device: str = "cpu",
    ) -> None:
        self.lfg: LFG = lfg.to(device).eval()
        self.a2v: A2VFDM = a2v.to(device).eval()
        self.pbnet: PBNet | SeparatePBNets | None = None if pbnet is None else pbnet.to(device).eval()
        self.coarse: A2VFDM | None = None if coarse is None else coarse.to(device).eval()
        self.device = device

    @torch.no_grad()
    def talk(
        self,
        source: Portrait,
        audio: np.ndarray,
        *,
        seed: int,
        options: SamplingOptions = SamplingOptions(),
        pose: np.ndarray | None = None,
        blink: np.ndarray | None = None,
        progress: Meter | None = None,
    ) -> np.ndarray:
        """Frames uint8 (T,S,S,3) RGB for audio features (T,A).

        `pose` (T,≥6) and `blink` (T,2) drive the head, if given; otherwise PBNet generates them from the audio and the
        state of the source. The same seed gives the same clip.
        """
        scene = self.scene(source, audio, seed=seed, pose=pose, blink=blink)
        return self.show(scene, self.sample(scene, options, progress=progress), precision=options.precision)

    @torch.no_grad()
    @float32_products("ieee")
    def scene(
        self,
        source: Portrait,
        audio: np.ndarray,
        *,
        seed: int,
        pose: np.ndarray | None = None,
        blink: np.ndarray | None = None,
    ) -> Scene:
        """Encode the source and build the conditions of every frame, in float32; arguments as in `talk`."""
        device = self.device
        generator = torch.Generator(device=device).manual_seed(seed)
        audio_BFA = self._tensor(audio)
        source_B8 = self._state(source.pose, source.blink)
        if (pose is None or blink is None) and self.pbnet is not None:
            drawn_BF8 = self.pbnet.generate(source_B8, audio_BFA, generator=generator)
        else:
            drawn_BF8 = source_B8[:, None].expand(-1, audio_BFA.shape[1], -1)
        pose_BF6, blink_BF2 = drawn_BF8[..., :POSE_DIM], drawn_BF8[..., POSE_DIM:]
        if pose is not None:
            pose_BF6 = self._tensor(pose)
        if blink is not None:
            blink_BF2 = self._tensor(blink)

        picture_BCSS = from_frames(torch.as_tensor(np.array(source.frame), device=device)[None])
        size = picture_BCSS.shape[-1]
        box_B4 = self._tensor(source.bbox)
        height, width = torch.tensor(source.hw or (size, size), dtype=torch.float32, device=device)
        swap = self.a2v.config.swap_mask_axes
        return Scene(
            self.lfg.encode(picture_BCSS),
            released_box_mask(box_B4, size, height=height, width=width, swap_axes=swap)[:, None],
            build_condition(audio_BFA, head_state(pose_BF6, blink_BF2), source_B8),
            generator,
        )

    @torch.no_grad()
    @float32_products("ieee")
    def tracks(self, source: Portrait, audio: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Head pose (T,6) and blinks (T,2), float32, that `talk` uses with this seed.

        Without PBNet, they are those of the source in every frame.
        """
        state_B8 = self._state(source.pose, source.blink)
        if self.pbnet is None:
            drawn = state_B8.repeat(len(audio), 1)
        else:
            generator = torch.Generator(device=self.device).manual_seed(seed)
            drawn = self.pbnet.generate(state_B8, self._tensor(audio), generator=generator)[0]
        values = drawn.cpu().numpy()
        return values[:, :POSE_DIM], values[:, POSE_DIM:]

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """An array as float32 [1, ...] on the device."""
        return torch.as_tensor(np.array(values, np.float32), device=self.device)[None]

    def _state(self, pose: np.ndarray, blink: np.ndarray) -> torch.Tensor:
        return head_state(self._tensor(pose), self._tensor(blink))

    @torch.no_grad()
    def sample(
        self,
        scene: Scene,
        options: SamplingOptions,
        *,
        model: A2VFDM | None = None,
        fixed: tuple[torch.Tensor, torch.Tensor] | None = None,
        progress: Meter | None = None,
    ) -> torch.Tensor:
        """Sample motion z (1,3,T,h,h) with `model`, by default the A2V-FDM; `fixed` as in `A2VFDM.sample`."""
        with self._in(options.precision):
            return (model or self.a2v).sample(
                scene.encoded.features_BChh,
                scene.mask_B1SS,
                scene.cond_BFD,
                steps=options.steps,
                eta=options.eta,
                cond_scale=options.cond_scale,
                win_width=options.window,
                solver=options.solver,
                generator=scene.generator,
                fixed=fixed,
                compiled=options.compile,
                progress=progress,
            )

    @torch.no_grad()
    def show(self, scene: Scene, z_B3Fhh: torch.Tensor, *, precision: Precision = "fp32") -> np.ndarray:
        """Decode motion to frames uint8 (T,S,S,3) RGB."""
        flow_BFhh2, occlusion_BF1hh = self.a2v.unpack_motion(z_B3Fhh)
        with self._in(precision):
            batches = self.lfg.decode_batches(scene.encoded, flow_BFhh2[0], occlusion_BF1hh[0])
            truncate = self.lfg.config.truncate_pixels
            return np.concatenate([to_frames(pictures.float(), truncate=truncate) for pictures in batches])

    @contextmanager
    def _in(self, precision: Precision) -> Iterator[None]:
        """A context in which convolutions and matrix products run in `precision`; sums, norms and warps in float32.

        What `bf16` and `fp16` leave in float32 is exact.
        """
        kind, half = torch.device(self.device).type, _TYPES.get(precision)
        autocast = nullcontext() if half is None else torch.autocast(kind, dtype=half)
        with float32_products("tf32" if precision == "tf32" else "ieee"), autocast:
            yield
