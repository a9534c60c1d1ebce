"""Stage `dit`: the transformer learns to denoise faces from audio, on two frozen VQGANs (paper, Section 3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.diffusion.levels import add_noise
from dawn_bench.models.dit_head.audio import encoder_of, windows
from dawn_bench.models.dit_head.diffusion import target
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.dubbing import DitHeadNetworks, DubOptions
from dawn_bench.models.dit_head.mask import frame_mask
from dawn_bench.models.dit_head.pictures import cut_out
from dawn_bench.models.dit_head.presets import DitHeadSettings, choices
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.pixels import from_frames
from dawn_bench.training.data import ClipPool, step_rng
from dawn_bench.training.stage import Batch
from dawn_bench.training.talking import compare_with_truth, mouth_agreement
from dawn_bench.training.validation import SAMPLE_FRAMES, Validation

#: The frozen VQGANs take pictures with their channels last in memory.
_LAYOUT = torch.preserve_format


class DiTStage:
    """Stage `dit`: the diffusion transformer on the latents of both trained VQGANs."""

    name = "dit"

    def __init__(self, cache: Cache, settings: DitHeadSettings, *, run: Path, seed: int, device: str) -> None:
        self.config, self.loop, self.seed = settings.dit, settings.dit.loop, seed
        self.cache, self.pool, self.size = cache, ClipPool(cache), cache.size
        self.ids = self.pool.ids
        self.face, self.masked = (_frozen(run / stage, device) for stage in ("vqgan-face", "vqgan-masked"))
        torch.manual_seed(seed)
        model = DiT(self.config.model)
        with torch.no_grad():
            items = self.examples(step_rng(seed, 0, stream="dit scales"), count=self.config.scale_frames)
            face, masked = self.latents({k: v.to(device) for k, v in items.items()}, "picture")
            model.set_scales(face.cpu(), masked.cpu())
        self.module: nn.Module = model

    def batch(self, step: int) -> Batch:
        """The batch of one step; depends on the seed and the step alone. See `Stage.batch`."""
        rng, count, model = step_rng(self.seed, step, stream=self.name), self.loop.batch_size, self.config.model
        items = self.examples(rng, count=count)
        side = self.size // self.face.config.factor
        noise = rng.standard_normal((count, model.latent_channels, side, side), dtype=np.float32)
        timestep = rng.integers(model.timesteps, size=count)
        kept = rng.random(count) >= model.null_probability
        return items | {k: torch.from_numpy(v) for k, v in (("noise", noise), ("timestep", timestep), ("kept", kept))}

    def examples(self, rng: np.random.Generator, *, count: int) -> Batch:
        """`clip` (B,), `picture` and `reference` uint8 (B,S,S,3), `hole` bool (B,S,S), `audio` float32 (B,W,A)."""
        clips, places = self.pool.draw(rng, count, min_frames=1)
        items = []
        for clip in clips:
            frame = int(rng.integers(clip.n_frames))
            other = reference_frame(clip, frame, gap=self.config.reference_gap, rng=rng)
            items.append(
                {
                    "picture": clip["frames"][frame],
                    "reference": clip["frames"][other],
                    "hole": frame_mask(clip, frame, self.config.model.mask, size=self.size),
                    "audio": windows(clip[encoder_of(clip)], self.config.model.window, np.array([frame]))[0],
                }
            )
        return {"clip": places} | {k: torch.from_numpy(np.stack([i[k] for i in items])) for k in items[0]}

    @torch.no_grad()
    def latents(self, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
        """Latents of the images by the face VQGAN, and of the masked images by the masked VQGAN."""
        picture_B3SS = from_frames(batch[name], signed=True, memory_format=_LAYOUT)
        return self.face.encode(picture_B3SS), self.masked.encode(cut_out(picture_B3SS, batch["hole"]))

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        model = self.module
        assert isinstance(model, DiT)
        with torch.no_grad():
            face, masked = self.latents(batch, "picture")
            z_BZhh, masked_BZhh = model.scale_face(face), model.scale_masked(masked)
            reference_BZhh = model.scale_face(
                self.face.encode(from_frames(batch["reference"], signed=True, memory_format=_LAYOUT))
            )
        level_B = model.levels[batch["timestep"]]
        predicted = model(
            add_noise(z_BZhh, batch["noise"], level_B),
            batch["timestep"],
            reference_BZhh=reference_BZhh,
            masked_BZhh=masked_BZhh,
            audio_BWA=batch["audio"],
            kept_B=batch["kept"],
        )
        error = (predicted - target(z_BZhh, batch["noise"], level_B, model.config.prediction)).square()
        hole_B1hh = F.adaptive_max_pool2d(batch["hole"][:, None].float(), z_BZhh.shape[-1])
        whole, mouth = error.mean(), (error * hole_B1hh).mean()
        return {"total": whole + model.config.mouth_weight * mouth, "whole": whole, "mouth": mouth}

    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Dub the first frames of each clip in few steps, with the first frame as reference, and compare with the clip.

        Landmark detectors infer a mouth opening from the rest of the face even where no mouth is visible, so compare
        `mouth_r` with `mouth_r_late`, for which the speech is shifted by half its length. PSNR selects the best
        checkpoint, since only the mouth differs from the truth.
        """
        assert isinstance(module, DiT)
        model = DitHeadNetworks(self.face, self.masked, module, device=device)
        options = DubOptions(steps=self.config.quick_steps)

        def dubbed(clip: Clip, *, late: bool) -> np.ndarray:
            frames, points, sound = (clip[name][:SAMPLE_FRAMES] for name in ("frames", "landmarks", encoder_of(clip)))
            speech = np.roll(sound, len(sound) // 2, axis=0) if late else sound
            return model.dub(frames, points, speech, seed=self.seed, options=options)

        own = compare_with_truth((clip, dubbed(clip, late=False)) for clip in clips)
        late = np.mean([mouth_agreement(clip, dubbed(clip, late=True)) for clip in clips])
        return replace(own, values={**own.values, "mouth_r_late": float(late)}, best="psnr")

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        return [list(self.module.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        facts = provenance | {"ours": choices(self.config)}
        save_checkpoint(path, self.module, config=self.config.model, kind="dit-head-dit", provenance=facts)


def reference_frame(clip: Clip, frame: int, *, gap: int, rng: np.random.Generator) -> int:
    """Any frame of the clip at least `gap` frames from `frame`; if there is none, the more distant end of the clip."""
    places = np.arange(clip.n_frames)
    far = places[np.abs(places - frame) >= gap]
    return int(far[rng.integers(len(far))]) if len(far) else int(0 if frame >= clip.n_frames / 2 else clip.n_frames - 1)


def _frozen(folder: Path, device: str) -> VQGAN:
    model: VQGAN = load_checkpoint(folder / "model.safetensors", "dit-head-vqgan")[0]
    return model.to(device).requires_grad_(False)
