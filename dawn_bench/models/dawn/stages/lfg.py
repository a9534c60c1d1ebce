"""Stage `lfg`: the latent flow generator learns to reconstruct a frame from another (paper, Eq. 4 and A.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.files import sha256_file
from dawn_bench.models.checkpoint import load_checkpoint, load_keys, save_checkpoint
from dawn_bench.models.dawn.lfg import LFG, LFGConfig
from dawn_bench.models.dawn.lfg_loss import Deformation, LFGLoss
from dawn_bench.models.dawn.published import load_published_lfg
from dawn_bench.models.dawn.settings import TrainSettings
from dawn_bench.models.dawn.substitutes import first_weights
from dawn_bench.models.perceptual import picture_loss
from dawn_bench.pixels import from_frames, to_frames
from dawn_bench.training.augment import flips, jitter
from dawn_bench.training.data import ClipPool, frame_pairs, step_rng
from dawn_bench.training.stage import Batch
from dawn_bench.training.validation import SAMPLE_FRAMES, Validation, psnr, rows, side_by_side, ssim

#: Number of frames that validation decodes at once.
BATCH = 8
#: Bytes that a pixel of a pair saves for backward at the published widths, with the losses of VGG-19; counted.
SAVED = 10_700


class LFGStage:
    """Stage `lfg`: starts from random weights, VoxCeleb's or `init`: a published file or a checkpoint of its widths."""

    name = "lfg"

    def __init__(self, cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> None:
        self.config, self.loop = settings.lfg, settings.lfg.loop
        self.cache, self.pool, self.seed = cache, ClipPool(cache), seed
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        self.init = first_weights(self.config)
        self.module: nn.Module = LFG(self.config.model) if self.init is None else _initial(self.init, self.config.model)
        self.criterion = LFGLoss(picture_loss(self.config.perceptual), self.config.loss).to(device)
        self.origin = {"perceptual_loss": self.criterion.picture.identity}

    def batch(self, step: int) -> Batch:
        """The batch of one step; depends on the seed and the step alone. See `Stage.batch`."""
        rng = step_rng(self.seed, step, stream=self.name)
        pairs = frame_pairs(self.pool, rng, count=self.loop.batch_size)
        own = torch.Generator().manual_seed(int(rng.integers(2**63)))
        bend = Deformation.draw(self.loop.batch_size, self.config.loss, generator=own, like=torch.zeros(()))
        return pairs | {"theta": bend.theta_B23, "bend": bend.bend_BP}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        source, driving = from_frames(batch["source"]), from_frames(batch["driving"])
        if self.config.flip:
            source, driving = flips(source, driving, generator)
        source, driving = jitter([source, driving], self.config.jitter, generator)
        bend = Deformation(batch["theta"], batch["bend"], self.config.loss.bend_points)
        assert isinstance(self.module, LFG)
        return self.criterion(self.module, source, driving, deformation=bend)[0]

    def saved_bytes(self, batch: int) -> int:
        """Bytes that `batch` pairs save for backward on a GPU. See `KnowsItsMemory`."""
        return batch * self.cache.size**2 * SAVED * self.config.model.block_expansion // LFGConfig().block_expansion

    @torch.no_grad()
    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Reconstruct each clip from its first frame: PSNR in dB, SSIM, and `psnr_copy`, that of the first frame."""
        assert isinstance(module, LFG)
        scores: dict[str, list[float]] = {"psnr": [], "psnr_copy": [], "ssim": []}
        pictures, videos = [], {}
        for clip in clips:
            truth = np.asarray(clip["frames"][:SAMPLE_FRAMES])
            source, frames = (from_frames(torch.from_numpy(x.copy())).to(device) for x in (truth[:1], truth))
            encoded = module.encode(source)
            parts = [module.decode(encoded, *module.motion(source, part)) for part in frames.split(BATCH)]
            rebuilt = to_frames(torch.cat(parts))
            copied = np.broadcast_to(truth[:1], truth.shape)
            scores["psnr"].append(psnr(rebuilt[1:], truth[1:]))
            scores["psnr_copy"].append(psnr(copied[1:], truth[1:]))
            scores["ssim"].append(ssim(rebuilt[1:], truth[1:]))
            far = int(np.abs(truth.astype(np.int16) - truth[0]).mean(axis=(1, 2, 3)).argmax())
            pictures.append(side_by_side(truth[0], truth[far], rebuilt[far]))
            videos[clip.id] = side_by_side(truth, rebuilt)
        values = {name: float(np.mean(each)) for name, each in scores.items()}
        return Validation(values, "psnr", pictures={"source-truth-rebuilt": rows(np.stack(pictures))}, videos=videos)

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        return [list(self.module.parameters())]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        facts = provenance | {"perceptual_loss": self.criterion.picture.identity}
        if self.init is not None:
            facts |= {"init": self.init.name, "init_sha256": sha256_file(self.init)}
        save_checkpoint(path, self.module, config=self.config.model, kind="lfg", provenance=facts)


def _initial(path: Path, config: LFGConfig) -> LFG:
    """Initial weights from a published file (MRAA's layout, which Snap's vox256.pth shares) or a dawn-bench checkpoint.

    Raises `InputError` if the file does not fit the configuration.
    """
    if path.suffix != ".safetensors":
        return load_published_lfg(path, config)
    initial: LFG = load_checkpoint(path, "lfg")[0]
    model = LFG(config)
    load_keys(model, initial.state_dict(), path=path, what="the LFG of these settings")
    return model
