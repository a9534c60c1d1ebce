"""Stage `pbnet`: head pose and blinks from audio, a variational transformer with a patch GAN (appendix A.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import save_checkpoint
from dawn_bench.models.dawn.conditions import POSE_DIM, head_state
from dawn_bench.models.dawn.discriminator import SequenceDiscriminator
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig, normalise
from dawn_bench.models.dawn.pbnet_loss import frame_counts, pbnet_losses
from dawn_bench.models.dawn.settings import TrainSettings
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.training.data import ClipPool, sequences, step_rng
from dawn_bench.training.masked_means import given_denominators
from dawn_bench.training.stage import Batch
from dawn_bench.training.validation import Validation, rows


class _PBNetWithDiscriminator(nn.Module):
    """Generator and discriminator in one module, so that both are in the training state."""

    def __init__(self, pbnet: PBNet, discriminator: SequenceDiscriminator | None) -> None:
        super().__init__()
        self.pbnet, self.discriminator = pbnet, discriminator


class PBNetStage:
    """Stage `pbnet`: PBNet, and a patch discriminator where the settings ask for adversarial training."""

    name = "pbnet"

    def __init__(self, cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> None:
        if settings.pbnet is None:
            raise InputError(f"preset {settings.preset!r} has no PBNet.", hint="Omit --stage pbnet.")
        self.config, self.loop = settings.pbnet, settings.pbnet.loop
        self.cache, self.pool, self.seed = cache, ClipPool(cache), seed
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        pbnet = PBNet(self.config.model)
        discriminator = SequenceDiscriminator(pbnet.config.state_dim) if self.config.adversarial else None
        self.module: nn.Module = _PBNetWithDiscriminator(pbnet, discriminator)
        self.steps_per_epoch = self.config.steps_per_epoch or max(1, len(self.ids) // self.loop.batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of one step; depends on the seed and the step alone. See `Stage.batch`."""
        rng = step_rng(self.seed, step, stream=self.name)
        items = sequences(self.pool, rng, count=self.loop.batch_size, frames=self.config.frames)
        epoch = torch.full((self.loop.batch_size,), step // self.steps_per_epoch)
        shape = (self.loop.batch_size, self.config.frames, self.config.model.latent_dim)
        return items | {"epoch": epoch, "noise": torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        networks = self.module
        assert isinstance(networks, _PBNetWithDiscriminator)
        config, mask_BN = networks.pbnet.config, batch["mask"]
        state_BND = _state(head_state(batch["pose"], batch["blink"]), config)
        x_BND = normalise(state_BND, config) * mask_BN[..., None]
        losses, _ = pbnet_losses(
            networks.pbnet,
            x_BND,
            batch["audio"].float(),
            mask_BN,
            epoch=int(batch["epoch"][0]),
            noise_NBZ=batch["noise"].transpose(0, 1),
            discriminator=networks.discriminator,
            counts=given_denominators(batch),
        )
        return dict(vars(losses))

    def denominators(self, batch: Batch) -> dict[str, float]:
        """The valid frames of the whole batch, by loss that is a mean over them. See `HasMaskedMeans`."""
        return frame_counts(self.config.model, batch["mask"])

    @torch.no_grad()
    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Validate reconstruction and the variance of generated tracks.

        `rc` is the mean squared error of tracks reconstructed from their own latent code. `pose_spread` and
        `blink_spread` are ratios of standard deviations, generated over true: 1 as lively as the truth, 0 frozen.
        """
        assert isinstance(module, _PBNetWithDiscriminator)
        model = module.pbnet
        scores: dict[str, list[float]] = {"rc": [], "pose_spread": [], "blink_spread": []}
        pictures = []
        for clip in clips:
            fields = (audio_encoder_of(clip), "pose", "blink")
            audio, pose, blink = (torch.from_numpy(np.array(clip[f], np.float32))[None].to(device) for f in fields)
            state = _state(head_state(pose, blink), model.config)
            x = normalise(state, model.config)
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=device)
            mu, _ = model.encode(x, audio, valid)
            rebuilt = model.decode(x[:, 0], mu, audio, valid)
            scores["rc"].append(float((rebuilt - (x - x[:, :1])).square().mean()))
            generated = model.generate(
                state[:, 0], audio, generator=torch.Generator(device=device).manual_seed(self.seed)
            )
            true, drawn = state[0].cpu().numpy(), generated[0].cpu().numpy()
            angles, eyes = slice(0, min(3, model.config.pos_dim)), slice(model.config.pos_dim, None)
            for name, part in (("pose_spread", angles), ("blink_spread", eyes)):
                if true[:, part].size:
                    scores[name].append(float(drawn[:, part].std(0).mean() / max(true[:, part].std(0).mean(), 1e-9)))
            pictures.append(_tracks(true, drawn, f"{clip.id}: truth and generated"))
        values = {name: float(np.mean(each)) for name, each in scores.items() if each}
        return Validation(values, "rc", smaller_is_better=True, pictures={"tracks": rows(np.stack(pictures))})

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        networks = self.module
        assert isinstance(networks, _PBNetWithDiscriminator)
        discriminator = [list(networks.discriminator.parameters())] if networks.discriminator is not None else []
        return [list(networks.pbnet.parameters()), *discriminator]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        assert isinstance(self.module, _PBNetWithDiscriminator)
        pbnet = self.module.pbnet
        save_checkpoint(path, pbnet, config=pbnet.config, kind="pbnet", provenance=provenance)


def _state(head_BN8: Tensor, config: PBNetConfig) -> Tensor:
    """The channels that this PBNet predicts: pose, blinks or both."""
    return head_BN8[..., : config.state_dim] if config.pos_dim else head_BN8[..., POSE_DIM:]


def _tracks(true: np.ndarray, drawn: np.ndarray, title: str) -> np.ndarray:
    """Plot uint8 (H,W,3) of every channel of true and generated tracks (N,D) over seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 1 + true.shape[1] * 0.7  # inches
    figure = Figure(figsize=(6, height), dpi=80)
    # Fixed margins: a constrained layout draws the figure several times.
    figure.subplots_adjust(left=0.1, right=0.98, top=1 - 0.35 / height, bottom=0.25 / height, hspace=0.25)
    canvas = FigureCanvasAgg(figure)
    time = np.arange(len(true)) / FPS
    column = figure.subplots(true.shape[1], 1, sharex=True, squeeze=False)[:, 0]
    for channel, axes in enumerate(column):
        axes.plot(time, true[:, channel], label="truth")
        axes.plot(time, drawn[:, channel], label="generated")
        axes.tick_params(labelsize=6)
    figure.suptitle(title, fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
