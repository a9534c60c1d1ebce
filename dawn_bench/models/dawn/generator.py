"""DAWN's whole inference (paper, Section 3, Eq. 10): a source picture and sound in, a talking clip out, any length.

T frames, S picture side, h latent side. One diffusion sample covers the whole clip: nothing is autoregressive.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.masks import released_box_mask
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.conditions import build_condition
from dawn_bench.models.dawn.lfg import LFG, EncodedSource
from dawn_bench.models.dawn.pbnet import PBNet, SeparatePBNets
from dawn_bench.models.dawn.solver import SolverName
from dawn_bench.pixels import to_frames, to_unit
from dawn_bench.progress import Meter
from dawn_bench.provenance import fingerprint, sha256_file

#: Where `dawn-bench train` leaves each model in a run's folder, the best first.
RUN_FILES = {
    "lfg": ("lfg/model.safetensors",),
    "a2v": ("a2v-2/model.safetensors", "a2v-1/model.safetensors"),
    "pbnet": ("pbnet/model.safetensors",),
}


#: The coarse A2V-FDM of the strategy of two temporal resolutions, where the run has one.
COARSE_FILE = "a2v-ttr/model.safetensors"


@dataclass(frozen=True)
class Source:
    """The portrait: `frame` uint8 (S,S,3) RGB, `pose` (7,), `blink` (2,), `bbox` (4,) x0,y0,x1,y1.

    `bbox` is in pixels of a picture of `hw` (height, width), by default of the frame itself.
    """

    frame: np.ndarray
    pose: np.ndarray
    blink: np.ndarray
    bbox: np.ndarray
    hw: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scene:
    """Everything that one diffusion sample is made from, on the device; `generator` is where its noise comes from."""

    encoded: EncodedSource
    mask_B1SS: torch.Tensor
    cond_BFD: torch.Tensor
    generator: torch.Generator


Precision = Literal["fp32", "bf16", "fp16"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class SamplingOptions(Config):
    """How the diffusion is sampled; the defaults are the released ones."""

    steps: int = Field(20, ge=1, le=999)
    eta: float = Field(1.0, ge=0, le=1, description="randomness of `ddim`: 0 none, 1 as released")
    cond_scale: float = Field(1.0, ge=0, allow_inf_nan=False, description="classifier-free guidance; 1 none")
    solver: SolverName = "ddim"
    window: int | None = Field(None, ge=1, description="frames seen each way; None: the checkpoint's own")
    precision: Precision = Field("fp32", description="of convolutions and matrix products; bf16 and fp16 for GPUs")
    compile: bool = Field(False, description="compile the U-Net: pays on a GPU, for several clips of one length")


class DawnGenerator:
    """LFG, A2V-FDM and PBNet of one trained run; no PBNet where the A2V-FDM was trained without pose and blinks.

    `coarse` is a further A2V-FDM at a lower frame rate, for two temporal resolutions.
    """

    def __init__(
        self,
        lfg: LFG,
        a2v: A2VFDM,
        pbnet: PBNet | SeparatePBNets | None,
        *,
        coarse: A2VFDM | None = None,
        device: str = "cpu",
        identity: str = "",
        facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.lfg: LFG = lfg.to(device).eval()
        self.a2v: A2VFDM = a2v.to(device).eval()
        self.pbnet: PBNet | SeparatePBNets | None = None if pbnet is None else pbnet.to(device).eval()
        self.coarse: A2VFDM | None = None if coarse is None else coarse.to(device).eval()
        self.device, self.identity, self.facts = device, identity, facts

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on, pixels."""
        return int(self.facts["lfg"]["size"])

    @property
    def audio_encoder(self) -> str:
        """Name of the audio features that it was trained on."""
        return str(self.facts["a2v"]["audio_encoder"])

    @classmethod
    def load(cls, run: Path, *, device: str = "cpu", stage: str | None = None) -> DawnGenerator:
        """The models of a run folder; `stage` names the A2V-FDM's (`a2v-1`, `a2v-2`), by default the last there is.

        Raises `InputError` naming the model that is missing.
        """
        modules: dict[str, Any] = {"pbnet": None}
        hashes, facts = [], {}
        for kind, names in RUN_FILES.items():
            if kind == "pbnet" and not modules["a2v"].config.driven:
                continue
            if kind == "a2v" and stage is not None:
                names = (f"{stage}/model.safetensors",)
            path = next((run / n for n in names if (run / n).is_file()), None)
            if path is None:
                raise InputError(
                    f"holds no trained {stage if kind == 'a2v' and stage else kind}.",
                    path=run,
                    hint=f"Train it: dawn-bench train --stage all --cache CACHE --out {run}",
                )
            modules[kind], facts[kind] = load_checkpoint(path, kind)
            hashes.append(sha256_file(path))
        if (run / COARSE_FILE).is_file():
            modules["coarse"], facts["coarse"] = load_checkpoint(run / COARSE_FILE, "a2v")
            hashes.append(sha256_file(run / COARSE_FILE))
        return cls(**modules, device=device, identity=fingerprint(hashes), facts=facts)

    @torch.no_grad()
    def talk(
        self,
        source: Source,
        audio: np.ndarray,
        *,
        seed: int,
        options: SamplingOptions = SamplingOptions(),
        pose: np.ndarray | None = None,
        blink: np.ndarray | None = None,
        progress: Meter | None = None,
    ) -> np.ndarray:
        """Frames uint8 (T,S,S,3) RGB for audio features (T,A).

        `pose` (T,≥6) and `blink` (T,2) drive the head where given; else PBNet draws them from the sound and the
        source's own state. The same seed gives the same clip.
        """
        scene = self.scene(source, audio, seed=seed, pose=pose, blink=blink)
        return self.show(scene, self.sample(scene, options, progress=progress), precision=options.precision)

    @torch.no_grad()
    def scene(
        self,
        source: Source,
        audio: np.ndarray,
        *,
        seed: int,
        pose: np.ndarray | None = None,
        blink: np.ndarray | None = None,
    ) -> Scene:
        """The source encoded, and the conditions of every frame; see `talk`."""
        device = self.device
        generator = torch.Generator(device=device).manual_seed(seed)
        audio_BFA = torch.as_tensor(np.array(audio, np.float32), device=device)[None]
        source_pose_B6 = torch.as_tensor(np.array(source.pose, np.float32)[None, :6], device=device)
        source_blink_B2 = torch.as_tensor(np.array(source.blink, np.float32)[None], device=device)
        drawn_BF8 = torch.cat([source_pose_B6, source_blink_B2], 1)
        if (pose is None or blink is None) and self.pbnet is not None:
            drawn_BF8 = self.pbnet.generate(drawn_BF8, audio_BFA, generator=generator)
        else:
            drawn_BF8 = drawn_BF8[:, None].expand(-1, audio_BFA.shape[1], -1)
        pose_BF6, blink_BF2 = drawn_BF8[..., :6], drawn_BF8[..., 6:]
        if pose is not None:
            pose_BF6 = torch.as_tensor(np.array(pose, np.float32)[None, :, :6], device=device)
        if blink is not None:
            blink_BF2 = torch.as_tensor(np.array(blink, np.float32)[None], device=device)

        picture_BCSS = _picture(source.frame, device)
        size = picture_BCSS.shape[-1]
        box_B4 = torch.tensor([[float(edge) for edge in source.bbox]], device=device)
        height, width = torch.tensor(source.hw or (size, size), dtype=torch.float32, device=device)
        swap = self.a2v.config.swap_mask_axes
        return Scene(
            self.lfg.encode(picture_BCSS),
            released_box_mask(box_B4, size, height=height, width=width, swap_axes=swap)[:, None],
            build_condition(audio_BFA, pose_BF6, blink_BF2, source_pose_B6, source_blink_B2),
            generator,
        )

    @torch.no_grad()
    def sample(
        self,
        scene: Scene,
        options: SamplingOptions,
        *,
        model: A2VFDM | None = None,
        held: tuple[torch.Tensor, torch.Tensor] | None = None,
        progress: Meter | None = None,
    ) -> torch.Tensor:
        """Motion z (1,3,T,h,h) by `model` (by default this talker's), with some frames `held` (see `A2VFDM.sample`)."""
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
                held=held,
                compiled=options.compile,
                progress=progress,
            )

    @torch.no_grad()
    def show(self, scene: Scene, z_B3Fhh: torch.Tensor, *, precision: Precision = "fp32") -> np.ndarray:
        """The pictures of a motion, uint8 (T,S,S,3) RGB."""
        flow_BFhh2, occlusion_BF1hh = self.a2v.unpack_motion(z_B3Fhh)
        with self._in(precision):
            pieces = self.lfg.decode_batches(scene.encoded, flow_BFhh2[0], occlusion_BF1hh[0])
            down = self.lfg.config.truncate_pixels
            return np.concatenate([to_frames(piece.float(), truncate=down) for piece in pieces])

    def _in(self, precision: Precision) -> AbstractContextManager[object]:
        """A block whose convolutions and matrix products run in `precision`; sums, norms and warps stay in float32."""
        kind = torch.device(self.device).type
        return nullcontext() if precision == "fp32" else torch.autocast(kind, dtype=_TYPES[precision])


def _picture(frame: np.ndarray, device: str) -> torch.Tensor:
    """uint8 (S,S,3) -> float (1,3,S,S) in [0,1]."""
    return to_unit(torch.as_tensor(np.array(frame), device=device).permute(2, 0, 1)[None])
