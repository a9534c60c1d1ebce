"""Stages `a2v-1` and `a2v-2`: the diffusion learns the frozen LFG's motion from audio, pose, blinks (Section 3.5).

Stage `a2v-ttr` is the coarse model of the strategy of two temporal resolutions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.masks import released_box_area, released_box_mask
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.conditions import build_condition, head_state
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.settings import A2VTraining, TrainSettings
from dawn_bench.models.dawn.unet import MOTION_CHANNELS
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.pixels import from_frames, to_frames
from dawn_bench.training.augment import jitter
from dawn_bench.training.data import ClipPool, step_rng, windows
from dawn_bench.training.masked_means import given_denominators
from dawn_bench.training.stage import Batch
from dawn_bench.training.talking import compare_with_truth
from dawn_bench.training.validation import SAMPLE_FRAMES, Validation

#: Bytes that a pixel of the latent and a frame save for backward at the published widths, by `amp` and `recompute`;
#: counted, see `docs/design/benchmarks.md`. Other widths are taken to save in proportion to `dim`.
SAVED = {(True, False): 32_500, (False, False): 55_000, (True, True): 4_600, (False, True): 6_200}


class A2VStage:
    """`start` is the checkpoint of the previous stage, which gives the initial weights."""

    def __init__(
        self, name: str, config: A2VTraining, cache: Cache, *, run: Path, start: Path | None, seed: int, device: str
    ) -> None:
        self.name, self.config, self.loop = name, config, config.loop
        self.cache, self.seed = cache, seed
        self.pool = ClipPool(cache, min_frames=(config.frames - 1) * config.stride + 1)
        self.ids, self.size = self.pool.ids, cache.size
        self.lfg: LFG = load_checkpoint(run / "lfg" / "model.safetensors", "lfg")[0].to(device).requires_grad_(False)
        torch.manual_seed(seed)
        model = A2VFDM(config.model)
        model.diffusion.denoise_fn.recompute = config.recompute
        model.diffusion.denoise_fn.fused = True  # two thirds of the time on a CPU too
        self.module: nn.Module = model
        if start is not None:
            self.module.load_state_dict(load_checkpoint(start, "a2v")[0].state_dict())

    def batch(self, step: int) -> Batch:
        """The batch of one step; depends on the seed and the step alone. See `Stage.batch`."""
        rng, count, model = step_rng(self.seed, step, stream=self.name), self.loop.batch_size, self.config.model
        frames = int(rng.integers(self.config.min_frames or self.config.frames, self.config.frames + 1))
        source = self.config.random_source
        items = windows(self.pool, rng, count=count, frames=frames, random_source=source, stride=self.config.stride)
        side = self.size // self.lfg.config.factor
        noise = rng.standard_normal((count, MOTION_CHANNELS, frames, side, side), dtype=np.float32)
        kept = rng.random((count, frames if model.drop_per_frame else 1)) >= model.null_probability
        timestep = rng.integers(model.timesteps, size=count)
        draws = {"noise": noise, "kept": kept, "timestep": timestep}
        return items | {name: torch.from_numpy(values) for name, values in draws.items()}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        pictures = [from_frames(batch["source"]), from_frames(batch["frames"])]
        source_BCSS, frames_BFCSS = jitter(pictures, self.config.jitter, generator)
        model = self.module
        assert isinstance(model, A2VFDM)
        features_BChh, z_B3Fhh = self.targets(model, source_BCSS, frames_BFCSS)
        size, side = source_BCSS.shape[-1], z_B3Fhh.shape[-1]
        swap = model.config.swap_mask_axes
        head_BF8 = head_state(batch["pose"], batch["blink"])
        source_head_B8 = head_state(batch["source_pose"], batch["source_blink"])
        condition_BFD = build_condition(batch["audio"], head_BF8, source_head_B8)
        face_BSS = released_box_mask(batch["source_bbox"], size, height=size, width=size, swap_axes=swap)
        losses = model.diffusion.losses(
            z_B3Fhh,
            batch["timestep"],
            batch["noise"],
            source_BCHW=features_BChh,
            mask_BMHW=model.face_loc_emb(face_BSS[:, None]),
            cond_BFD=condition_BFD * model.condition_scales * batch["kept"][..., None],
            lip_mask_BFHW=released_box_mask(batch["lip_box"], side, height=size, width=size, swap_axes=swap),
            lip_area=given_denominators(batch).get("lip"),
        )
        return losses._asdict()

    def denominators(self, batch: Batch) -> dict[str, float]:
        """The area of the lips in the whole batch, where the lip loss is divided by it. See `HasMaskedMeans`."""
        model = self.config.model
        if not model.lip_weight or model.lip_normalisation != "mask":
            return {}
        size, side, swap = self.size, self.size // self.lfg.config.factor, model.swap_mask_axes
        area = released_box_area(batch["lip_box"], side, height=size, width=size, swap_axes=swap).sum()
        return {"lip": max(float(area), 1.0)}

    def saved_bytes(self, batch: int) -> int:
        """Bytes that the longest windows of `batch` items save for backward on a GPU. See `KnowsItsMemory`."""
        side = self.size // self.lfg.config.factor
        per_position = SAVED[self.loop.amp, self.config.recompute] * self.config.model.dim // A2VConfig().dim
        return batch * self.config.frames * side**2 * per_position

    @torch.no_grad()
    def targets(self, model: A2VFDM, source_BCSS: Tensor, frames_BFCSS: Tensor) -> tuple[Tensor, Tensor]:
        """The source's latent and the motion of every frame, by the frozen LFG in evaluation mode."""
        self.lfg.eval()
        batch, frames = frames_BFCSS.shape[:2]
        flow, occlusion = self.lfg.motion(source_BCSS, frames_BFCSS.flatten(0, 1))
        z = model.pack_motion(flow.unflatten(0, (batch, frames)), occlusion.unflatten(0, (batch, frames)))
        return self.lfg.encode(source_BCSS).features_BChh, z

    @torch.no_grad()
    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Sample the first frames of each clip with true head pose and blinks, and compare with the ground truth."""
        assert isinstance(module, A2VFDM)
        self.lfg.eval()
        return compare_with_truth((clip, to_frames(self._sample(module, clip, device=device))) for clip in clips)

    def _sample(self, model: A2VFDM, clip: Clip, *, device: str) -> Tensor:
        """Images (T,3,S,S) in [0,1] of the first `SAMPLE_FRAMES` frames, with the first frame as source."""
        fields = (audio_encoder_of(clip), "pose", "blink", "bbox")
        tracks = (torch.from_numpy(np.array(clip[f][:SAMPLE_FRAMES], np.float32))[None].to(device) for f in fields)
        audio_BFA, pose_BF7, blink_BF2, box_BF4 = tracks
        source_BCSS = from_frames(torch.from_numpy(np.array(clip["frames"][:1]))).to(device)
        encoded, size = self.lfg.encode(source_BCSS), source_BCSS.shape[-1]
        head_BF8, box_B4 = head_state(pose_BF7, blink_BF2), box_BF4[:, 0]
        swap = model.config.swap_mask_axes
        z_B3Fhh = model.sample(
            encoded.features_BChh,
            released_box_mask(box_B4, size, height=size, width=size, swap_axes=swap)[:, None],
            build_condition(audio_BFA, head_BF8, head_BF8[:, 0]),
            generator=torch.Generator(device=device).manual_seed(self.seed),
        )
        flow_BFhh2, occlusion_BF1hh = model.unpack_motion(z_B3Fhh)
        return self.lfg.decode_clip(encoded, flow_BFhh2[0], occlusion_BF1hh[0])

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        return [[p for p in self.module.parameters() if p.requires_grad]]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        assert isinstance(self.module, A2VFDM)
        save_checkpoint(path, self.module, config=self.module.config, kind="a2v", provenance=provenance)


def stage_one(cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> A2VStage:
    """Stage `a2v-1`: short windows, the source is their first frame."""
    return A2VStage("a2v-1", settings.a2v_1, cache, run=run, start=None, seed=seed, device=device)


def stage_two(cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> A2VStage:
    """Stage `a2v-2`: longer windows of random length, any frame is the source; starts from stage `a2v-1`."""
    if settings.a2v_2 is None:
        raise InputError(
            f"preset {settings.preset!r} has no stage a2v-2.", hint="Use --stage a2v-1, or another preset."
        )
    first = run / "a2v-1" / "model.safetensors"
    start = first if first.is_file() else None
    return A2VStage("a2v-2", settings.a2v_2, cache, run=run, start=start, seed=seed, device=device)


def stage_coarse(cache: Cache, settings: TrainSettings, *, run: Path, seed: int, device: str) -> A2VStage:
    """Stage `a2v-ttr`: the coarse model of two temporal resolutions."""
    if settings.a2v_ttr is None:
        raise InputError(f"preset {settings.preset!r} has no stage a2v-ttr.", hint="Use a preset with +ttr: small+ttr.")
    return A2VStage("a2v-ttr", settings.a2v_ttr, cache, run=run, start=None, seed=seed, device=device)
