"""DAWN's whole inference (paper, Section 3): a source picture and sound in, a talking clip out, any length.

T frames, S picture side, h latent side. One diffusion sample covers the whole clip: nothing is autoregressive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from pydantic import Field

from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.checkpoint import load_checkpoint
from dawn_bench.models.dawn.conditions import box_mask, build_condition
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.pbnet import PBNet
from dawn_bench.models.dawn.solver import SolverName
from dawn_bench.progress import Meter
from dawn_bench.provenance import fingerprint, sha256_file

#: Where `dawn-bench train` leaves each model in a run's folder, the best first.
RUN_FILES = {
    "lfg": ("lfg/model.safetensors",),
    "a2v": ("a2v-2/model.safetensors", "a2v-1/model.safetensors"),
    "pbnet": ("pbnet/model.safetensors",),
}


@dataclass(frozen=True)
class Source:
    """The portrait: `frame` uint8 (S,S,3) RGB, `pose` (7,), `blink` (2,), `bbox` (4,) x0,y0,x1,y1 in its pixels."""

    frame: np.ndarray
    pose: np.ndarray
    blink: np.ndarray
    bbox: np.ndarray


class SamplingOptions(Config):
    """How the diffusion is sampled; the defaults are the released ones."""

    steps: int = Field(20, ge=1, le=999)
    eta: float = Field(1.0, ge=0, le=1, description="randomness of `ddim`: 0 none, 1 as released")
    cond_scale: float = Field(1.0, ge=0, allow_inf_nan=False, description="classifier-free guidance; 1 none")
    solver: SolverName = "ddim"
    window: int | None = Field(None, ge=1, description="frames seen each way; None: the checkpoint's own")


class Talker:
    """LFG, A2V-FDM and PBNet of one trained run."""

    def __init__(
        self,
        lfg: LFG,
        a2v: A2VFDM,
        pbnet: PBNet,
        *,
        device: str = "cpu",
        identity: str = "",
        facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.lfg: LFG = lfg.to(device).eval()
        self.a2v: A2VFDM = a2v.to(device).eval()
        self.pbnet: PBNet = pbnet.to(device).eval()
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
    def load(cls, run: Path, *, device: str = "cpu") -> Talker:
        """The three models of a run folder; raises `InputError` naming the model that is missing."""
        modules, hashes, facts = [], [], {}
        for kind, names in RUN_FILES.items():
            path = next((run / n for n in names if (run / n).is_file()), None)
            if path is None:
                raise InputError(
                    f"holds no trained {kind}.",
                    path=run,
                    mend=f"Train it: dawn-bench train --stage all --cache CACHE --out {run}",
                )
            module, provenance = load_checkpoint(path, kind)
            modules.append(module)
            facts[kind] = provenance
            hashes.append(sha256_file(path))
        return cls(*modules, device=device, identity=fingerprint(hashes), facts=facts)

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
        device = self.device
        generator = torch.Generator(device=device).manual_seed(seed)
        audio_BFA = torch.as_tensor(np.array(audio, np.float32), device=device)[None]
        source_pose_B6 = torch.as_tensor(np.array(source.pose, np.float32)[None, :6], device=device)
        source_blink_B2 = torch.as_tensor(np.array(source.blink, np.float32)[None], device=device)
        if pose is None or blink is None:
            drawn = self.pbnet.generate(torch.cat([source_pose_B6, source_blink_B2], 1), audio_BFA, generator=generator)
            drawn_pose, drawn_blink = drawn[..., :6], drawn[..., 6:]
        pose_BF6 = (
            drawn_pose if pose is None else torch.as_tensor(np.array(pose, np.float32)[None, :, :6], device=device)
        )
        blink_BF2 = drawn_blink if blink is None else torch.as_tensor(np.array(blink, np.float32)[None], device=device)

        picture_BCSS = _picture(source.frame, device)
        size = picture_BCSS.shape[-1]
        encoded = self.lfg.encode(picture_BCSS)
        x0, y0, x1, y1 = (float(v) for v in source.bbox)
        box_B4 = torch.tensor([[x0, x1, y0, y1]], device=device)
        square = torch.full((1, 2), float(size), device=device)
        mask_B1SS = box_mask(box_B4, square, size, swap_axes=self.a2v.config.swap_mask_axes)
        z_B3Fhh = self.a2v.sample(
            encoded.features_BChh,
            mask_B1SS,
            build_condition(audio_BFA, pose_BF6, blink_BF2, source_pose_B6, source_blink_B2),
            steps=options.steps,
            eta=options.eta,
            cond_scale=options.cond_scale,
            win_width=options.window,
            solver=options.solver,
            generator=generator,
            progress=progress,
        )
        flow_BFhh2, occlusion_BF1hh = self.a2v.unpack_motion(z_B3Fhh)
        pieces = self.lfg.decode_batches(encoded, flow_BFhh2[0], occlusion_BF1hh[0])
        return np.concatenate([_bytes(piece) for piece in pieces])


def _bytes(pictures_TCSS: torch.Tensor) -> np.ndarray:
    """float (T,3,S,S) in [0,1] -> uint8 (T,S,S,3), rounded."""
    return (pictures_TCSS.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _picture(frame: np.ndarray, device: str) -> torch.Tensor:
    """uint8 (S,S,3) -> float (1,3,S,S) in [0,1]."""
    return torch.as_tensor(np.array(frame), device=device).permute(2, 0, 1)[None].float() / 255
