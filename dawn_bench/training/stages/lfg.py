"""Stage `lfg`: the latent flow generator learns to rebuild one frame of a clip from another (paper, Eq. 4 and A.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.checkpoint import save_checkpoint
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.lfg_loss import Deformation, LFGLoss, picture_loss
from dawn_bench.training.augment import flips, jitter, unit
from dawn_bench.training.data import ClipPool, frame_pairs, step_rng
from dawn_bench.training.settings import TrainSettings
from dawn_bench.training.stage import STAGES, Batch


class LFGStage:
    name = "lfg"

    def __init__(self, cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> None:
        self.config, self.loop = settings.lfg, settings.lfg.loop
        self.pool, self.seed = ClipPool(cache), seed
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        self.module: nn.Module = LFG(self.config.model)
        self.criterion = LFGLoss(picture_loss(self.config.perceptual), self.config.loss).to(device)

    def batch(self, step: int) -> Batch:
        rng = step_rng(self.seed, step, stream=self.name)
        held = frame_pairs(self.pool, rng, count=self.loop.batch_size)
        own = torch.Generator().manual_seed(int(rng.integers(2**63)))
        bend = Deformation.draw(self.loop.batch_size, self.config.loss, generator=own, like=torch.zeros(()))
        return held | {"theta": bend.theta_B23, "bend": bend.bend_BP}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        source, driving = unit(batch["source"]), unit(batch["driving"])
        if self.config.flip:
            source, driving = flips(source, driving, generator)
        source, driving = jitter([source, driving], self.config.jitter, generator)
        bend = Deformation(batch["theta"], batch["bend"], self.config.loss.bend_points)
        assert isinstance(self.module, LFG)
        return self.criterion(self.module, source, driving, deformation=bend)[0]

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.module.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        facts = provenance | {"perceptual_loss": self.criterion.picture.identity}
        save_checkpoint(path, self.module, config=self.config.model, kind="lfg", provenance=facts)


STAGES.register("lfg")(LFGStage)
