"""Stages `vqgan-face` and `vqgan-masked`: the two autoencoders of DiT-Head (paper, Section 3, first stage)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.checkpoint import save_checkpoint
from dawn_bench.models.dawn.lfg_loss import picture_loss
from dawn_bench.models.dit_head.mask import frame_mask
from dawn_bench.models.dit_head.pictures import cut_out, signed
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.dit_head.vqgan_loss import PatchDiscriminator, vqgan_losses
from dawn_bench.training.data import ClipPool, step_rng
from dawn_bench.training.dit_head import DitHeadSettings, VQGANTraining, choices
from dawn_bench.training.stage import STAGES, Batch


class _Both(nn.Module):
    """Autoencoder and discriminator, so that one state holds both while training."""

    def __init__(self, vqgan: VQGAN, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.vqgan, self.discriminator = vqgan, discriminator


class VQGANStage:
    def __init__(self, name: str, config: VQGANTraining, cache: Cache, *, seed: int, device: str) -> None:
        self.name, self.config, self.loop, self.seed = name, config, config.loop, seed
        self.pool, self.size = ClipPool(cache), cache.size
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        loss = config.loss
        judge = PatchDiscriminator(channels=loss.discriminator_channels, layers=loss.discriminator_layers)
        self.module: nn.Module = _Both(VQGAN(config.model), judge)
        self.perceptual = picture_loss(config.perceptual).to(device)

    def batch(self, step: int) -> Batch:
        rng, count, mask = step_rng(self.seed, step, stream=self.name), self.loop.batch_size, self.config.model.mask
        clips, places = self.pool.draw(rng, count, min_frames=1)
        frames = [int(rng.integers(clip.n_frames)) for clip in clips]
        pictures = np.stack([np.asarray(clip["frames"][k]) for clip, k in zip(clips, frames, strict=True)])
        mirrored = self.config.flip & (rng.random(count) < 0.5)
        held = {"clip": places, "step": torch.full((count,), step), "mirrored": torch.from_numpy(mirrored)}
        held["picture"] = torch.from_numpy(np.moveaxis(pictures, -1, 1).copy())
        if mask is not None:
            holes = [frame_mask(clip, k, mask, size=self.size) for clip, k in zip(clips, frames, strict=True)]
            held["hole"] = torch.from_numpy(np.stack(holes))
        return held

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        both = self.module
        assert isinstance(both, _Both)
        picture_B3SS = signed(batch["picture"])
        if "hole" in batch:
            picture_B3SS = cut_out(picture_B3SS, batch["hole"])
        mirrored = batch["mirrored"][:, None, None, None]
        return vqgan_losses(
            both.vqgan,
            both.discriminator,
            torch.where(mirrored, picture_B3SS.flip(-1), picture_B3SS),
            perceptual=self.perceptual,
            config=self.config.loss,
            step=int(batch["step"][0]),
        )

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        both = self.module
        assert isinstance(both, _Both)
        return [list(both.vqgan.parameters()), list(both.discriminator.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        assert isinstance(self.module, _Both)
        facts = provenance | {"perceptual_loss": self.perceptual.identity, "ours": choices(self.config)}
        vqgan = self.module.vqgan
        save_checkpoint(path, vqgan, config=vqgan.config, kind="dit-head-vqgan", provenance=facts)


@STAGES.register("vqgan-face")
def face(cache: Cache, settings: DitHeadSettings, *, run: Path, seed: int, device: str) -> VQGANStage:
    return VQGANStage("vqgan-face", settings.vqgan_face, cache, seed=seed, device=device)


@STAGES.register("vqgan-masked")
def masked(cache: Cache, settings: DitHeadSettings, *, run: Path, seed: int, device: str) -> VQGANStage:
    return VQGANStage("vqgan-masked", settings.vqgan_masked, cache, seed=seed, device=device)
