"""Stage `pbnet`: head pose and blinks from sound, a variational transformer with a patch GAN (appendix A.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.checkpoint import save_checkpoint
from dawn_bench.models.dawn.discriminator import PatchDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet, normalise
from dawn_bench.models.dawn.pbnet_loss import pbnet_losses
from dawn_bench.training.data import ClipPool, sequences, step_rng
from dawn_bench.training.settings import TrainSettings
from dawn_bench.training.stage import STAGES, Batch


class _Both(nn.Module):
    """Generator and discriminator, so that one state holds both while training."""

    def __init__(self, pbnet: PBNet, discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.pbnet, self.discriminator = pbnet, discriminator


class PBNetStage:
    name = "pbnet"

    def __init__(self, cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> None:
        self.config, self.loop = settings.pbnet, settings.pbnet.loop
        self.pool, self.seed = ClipPool(cache), seed
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        pbnet = PBNet(self.config.model)
        judge = PatchDiscriminator(pbnet.config.state_dim) if self.config.adversarial else None
        self.module: nn.Module = _Both(pbnet, judge)
        self.steps_per_epoch = self.config.steps_per_epoch or max(1, len(self.ids) // self.loop.batch_size)

    def batch(self, step: int) -> Batch:
        rng = step_rng(self.seed, step, stream=self.name)
        held = sequences(self.pool, rng, count=self.loop.batch_size, frames=self.config.frames)
        epoch = torch.full((self.loop.batch_size,), step // self.steps_per_epoch)
        shape = (self.loop.batch_size, self.config.frames, self.config.model.latent_dim)
        return held | {"epoch": epoch, "noise": torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        both = self.module
        assert isinstance(both, _Both)
        config, mask_BN = both.pbnet.config, batch["mask"]
        state_BND = batch["state"][..., : config.state_dim] if config.pos_dim else batch["state"][..., 6:]
        x_BND = normalise(state_BND, config) * mask_BN[..., None]
        losses, _ = pbnet_losses(
            both.pbnet,
            x_BND,
            batch["audio"],
            mask_BN,
            epoch=int(batch["epoch"][0]),
            noise_NBZ=batch["noise"].transpose(0, 1),
            discriminator=both.discriminator,
        )
        return dict(vars(losses))

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        both = self.module
        assert isinstance(both, _Both)
        judge = [list(both.discriminator.parameters())] if both.discriminator is not None else []
        return [list(both.pbnet.parameters()), *judge]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        assert isinstance(self.module, _Both)
        pbnet = self.module.pbnet
        save_checkpoint(path, pbnet, config=pbnet.config, kind="pbnet", provenance=provenance)


STAGES.register("pbnet")(PBNetStage)
