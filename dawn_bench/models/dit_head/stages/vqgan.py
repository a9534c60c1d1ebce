"""Stages `vqgan-face` and `vqgan-masked`: the two autoencoders of DiT-Head (paper, Section 3, first stage)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.checkpoint import save_checkpoint
from dawn_bench.models.dit_head.mask import frame_mask
from dawn_bench.models.dit_head.pictures import cut_out
from dawn_bench.models.dit_head.presets import DitHeadSettings, VQGANTraining, choices
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.dit_head.vqgan_loss import PatchDiscriminator, vqgan_losses
from dawn_bench.models.perceptual import picture_loss
from dawn_bench.pixels import from_frames, to_frames
from dawn_bench.training.data import ClipPool, step_rng
from dawn_bench.training.stage import Batch
from dawn_bench.training.validation import Validation, psnr, rows, side_by_side, ssim

#: Number of evenly spaced frames of a held-out clip that validation reconstructs.
FRAMES = 8


class _VQGANWithDiscriminator(nn.Module):
    """Autoencoder and discriminator in one module, so that both are in the training state."""

    def __init__(self, vqgan: VQGAN, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.vqgan, self.discriminator = vqgan, discriminator


class VQGANStage:
    """One of the two autoencoders, with its patch discriminator."""

    def __init__(self, name: str, config: VQGANTraining, cache: Cache, *, seed: int, device: str) -> None:
        self.name, self.config, self.loop, self.seed = name, config, config.loop, seed
        self.cache, self.pool, self.size = cache, ClipPool(cache), cache.size
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        loss = config.loss
        discriminator = PatchDiscriminator(channels=loss.discriminator_channels, layers=loss.discriminator_layers)
        self.module: nn.Module = _VQGANWithDiscriminator(VQGAN(config.model), discriminator)
        self.perceptual = picture_loss(config.perceptual).to(device)
        self.origin = {"perceptual_loss": self.perceptual.identity}

    def batch(self, step: int) -> Batch:
        """The batch of one step; depends on the seed and the step alone. See `Stage.batch`."""
        rng, count = step_rng(self.seed, step, stream=self.name), self.loop.batch_size
        clips, places = self.pool.draw(rng, count, min_frames=1)
        frames = [int(rng.integers(clip.n_frames)) for clip in clips]
        mirrored = self.config.flip & (rng.random(count) < 0.5)
        items = {"clip": places, "step": torch.full((count,), step), "mirrored": torch.from_numpy(mirrored)}
        return items | self.examples(clips, frames)

    def examples(self, clips: Sequence[Clip], frames: Sequence[int]) -> Batch:
        """A frame of each clip: `picture` uint8 (B,S,S,3), and `hole` bool (B,S,S) if the stage masks its frames."""
        pairs, mask = list(zip(clips, frames, strict=True)), self.config.model.mask
        pictures = np.stack([np.asarray(clip["frames"][k]) for clip, k in pairs])
        items = {"picture": torch.from_numpy(pictures)}
        if mask is not None:
            holes = [frame_mask(clip, k, mask, size=self.size) for clip, k in pairs]
            items["hole"] = torch.from_numpy(np.stack(holes))
        return items

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        networks = self.module
        assert isinstance(networks, _VQGANWithDiscriminator)
        picture_B3SS = _shown(batch)
        mirrored = batch["mirrored"][:, None, None, None]
        return vqgan_losses(
            networks.vqgan,
            networks.discriminator,
            torch.where(mirrored, picture_B3SS.flip(-1), picture_B3SS),
            perceptual=self.perceptual,
            config=self.config.loss,
            step=int(batch["step"][0]),
        )

    @torch.no_grad()
    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Reconstruct some frames of each clip: PSNR in dB, SSIM, and `psnr_flat`, the PSNR of their mean colours."""
        assert isinstance(module, _VQGANWithDiscriminator)
        scores: dict[str, list[float]] = {"psnr": [], "psnr_flat": [], "ssim": []}
        pictures = []
        for clip in clips:
            frames = np.linspace(0, clip.n_frames - 1, min(FRAMES, clip.n_frames)).astype(int).tolist()
            given = _shown({k: v.to(device) for k, v in self.examples([clip] * len(frames), frames).items()})
            truth, rebuilt = to_frames(given, signed=True), to_frames(module.vqgan(given)[0], signed=True)
            scores["psnr"].append(psnr(rebuilt, truth))
            scores["psnr_flat"].append(psnr(np.broadcast_to(truth.mean((1, 2), keepdims=True), truth.shape), truth))
            scores["ssim"].append(ssim(rebuilt, truth))
            middle = len(frames) // 2
            pictures.append(side_by_side(truth[middle], rebuilt[middle]))
        values = {name: float(np.mean(each)) for name, each in scores.items()}
        return Validation(values, "psnr", pictures={"source-rebuilt": rows(np.stack(pictures))})

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        networks = self.module
        assert isinstance(networks, _VQGANWithDiscriminator)
        return [list(networks.vqgan.parameters()), list(networks.discriminator.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        assert isinstance(self.module, _VQGANWithDiscriminator)
        facts = provenance | {"perceptual_loss": self.perceptual.identity, "ours": choices(self.config)}
        vqgan = self.module.vqgan
        save_checkpoint(path, vqgan, config=vqgan.config, kind="dit-head-vqgan", provenance=facts)


def _shown(batch: Batch) -> Tensor:
    """The input of the autoencoder: float32 (B,3,S,S) in [-1, 1], masked if the batch has a mask."""
    pictures_B3SS = from_frames(batch["picture"], signed=True)
    return cut_out(pictures_B3SS, batch["hole"]) if "hole" in batch else pictures_B3SS


def face(cache: Cache, settings: DitHeadSettings, *, run: Path, seed: int, device: str) -> VQGANStage:
    """Stage `vqgan-face`, on whole frames."""
    return VQGANStage("vqgan-face", settings.vqgan_face, cache, seed=seed, device=device)


def masked(cache: Cache, settings: DitHeadSettings, *, run: Path, seed: int, device: str) -> VQGANStage:
    """Stage `vqgan-masked`, on frames with masked mouth."""
    return VQGANStage("vqgan-masked", settings.vqgan_masked, cache, seed=seed, device=device)
