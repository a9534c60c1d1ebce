"""Stage `diffspeaker`: encoder and denoiser learn the offsets of a speaking mesh from its neutral face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.clip import SAMPLE_RATE, Clip
from dawn_bench.models.checkpoint import save_checkpoint
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.needs import PRETRAINED
from dawn_bench.models.diffspeaker.presets import DiffSpeakerSettings
from dawn_bench.models.diffspeaker.released import load_pretrained
from dawn_bench.models.diffspeaker.schedule import TIMESTEPS
from dawn_bench.pipelines.meshes.render import MeshRenderer
from dawn_bench.training.data import ClipPool, step_rng
from dawn_bench.training.stage import Batch
from dawn_bench.training.validation import SAMPLE_FRAMES, Validation, side_by_side
from dawn_bench.weights_needs import first_present, missing_error, missing_needs

#: Side of the frames rendered in validation, in pixels.
_SIDE = 160


class DiffSpeakerStage:
    """Stage `diffspeaker`: trains the whole model, from random weights or from a published speech encoder."""

    name = "diffspeaker"

    def __init__(self, cache: Cache, settings: DiffSpeakerSettings, *, run: Path, seed: int, device: str) -> None:
        self.config, self.loop = settings.diffspeaker, settings.diffspeaker.loop
        self.cache, self.pool, self.seed = cache, ClipPool(cache), seed
        self.ids = self.pool.ids
        torch.manual_seed(seed)
        model = DiffSpeaker(self.config.model)
        self.started_from = "random weights"
        if self.config.pretrained and self.config.model.audio.encoder != "logmel":
            names = PRETRAINED[self.config.model.audio.encoder]
            if missing_needs([names]):
                raise missing_error([names])
            resolved = weights.resolve(first_present(names), "files")
            load_pretrained(model, resolved)
            self.started_from = resolved.identity
        self.module: nn.Module = model

    def batch(self, step: int) -> Batch:
        """Whole sequences or windows, padded with zeros to the longest: `offsets` (B,T,3V), `audio` (B,N) in ±1.

        `valid` (B,T) and `audio_valid` (B,N) are False at padding; `style`, `timestep` (B,); `noise` like the offsets.
        """
        rng, count = step_rng(self.seed, step, stream=self.name), self.loop.batch_size
        clips, places = self.pool.draw(rng, count, min_frames=2)
        parts = [window(clip, rng, frames=self.config.frames) for clip in clips]
        longest, loudest = max(len(o) for o, _ in parts), max(len(a) for _, a in parts)
        offsets = np.stack([np.pad(o, ((0, longest - len(o)), (0, 0))) for o, _ in parts])
        draws = {
            "offsets": offsets,
            "audio": np.stack([np.pad(a, (0, loudest - len(a))) for _, a in parts]),
            "valid": np.stack([np.arange(longest) < len(o) for o, _ in parts]),
            "audio_valid": np.stack([np.arange(loudest) < len(a) for _, a in parts]),
            "style": np.array([self.config.model.subjects.index(clip.speaker) for clip in clips]),
            "timestep": rng.integers(TIMESTEPS, size=count),
            "noise": rng.standard_normal(offsets.shape, dtype=np.float32),
        }
        return {"clip": places, **{name: torch.from_numpy(values) for name, values in draws.items()}}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a part of the batch; `total` is differentiated. See `Stage.losses`."""
        model = self.module
        assert isinstance(model, DiffSpeaker)
        return model.losses(
            batch["offsets"],
            batch["audio"],
            batch["style"],
            step_B=batch["timestep"],
            noise_BTV=batch["noise"],
            valid_BT=batch["valid"],
            mask_BN=batch["audio_valid"],
        )

    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """`mve`, the mean vertex error of generated held-out sequences, and `still`, the same for the neutral face."""
        assert isinstance(module, DiffSpeaker)
        errors, still_errors, videos = [], [], {}
        for clip in clips:
            style = subject_style(module, clip.speaker)
            generator = torch.Generator(device=device).manual_seed(self.seed)
            audio = torch.from_numpy(pcm(clip["audio"]))[None].to(device)
            offsets = module.generate(
                audio, torch.tensor([style], device=device), generator=generator, frames=clip.n_frames
            )
            template, true = clip["template"], clip["vertices"]
            generated = template + offsets[0].float().cpu().numpy().reshape(true.shape)
            errors.append(np.linalg.norm(generated - true, axis=-1).mean())
            still_errors.append(np.linalg.norm(template - true, axis=-1).mean())
            draw = MeshRenderer(template[0], clip["triangles"][0] if "triangles" in clip else None, size=_SIDE)
            pair = [np.stack(list(draw.frames(v[:SAMPLE_FRAMES]))) for v in (true, generated)]
            videos[clip.id] = side_by_side(*pair)
        values = {"mve": float(np.mean(errors)), "still": float(np.mean(still_errors))}
        return Validation(values, "mve", smaller_is_better=True, videos=videos)

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One list of parameters per optimiser. See `Stage.parameter_groups`."""
        return [[p for p in self.module.parameters() if p.requires_grad]]

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the trained module as a checkpoint with its provenance. See `Stage.save`."""
        assert isinstance(self.module, DiffSpeaker)
        facts = provenance | {"speech_encoder": self.started_from}
        save_checkpoint(path, self.module, config=self.module.config, kind="diffspeaker", provenance=facts)


def window(clip: Clip, rng: np.random.Generator, *, frames: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Offsets float32 (T,3V) of a random window, or of the whole clip, and its sound float32 (n,) in ±1."""
    length = clip.n_frames if frames is None else min(frames, clip.n_frames)
    start = int(rng.integers(clip.n_frames - length + 1))
    offsets = clip["vertices"][start : start + length] - clip["template"]
    audio = clip["audio"]
    if length < clip.n_frames:
        first, last = (round(k * SAMPLE_RATE / clip.fps) for k in (start, start + length))
        audio = audio[first:last]
    return offsets.reshape(length, -1), pcm(audio)


def pcm(audio: np.ndarray) -> np.ndarray:
    """int16 -> float32 in ±1."""
    return np.asarray(audio, np.float32) / 32768


def subject_style(model: DiffSpeaker, subject: str) -> int:
    """The style index of a subject; 0 for unseen subjects, as in the released demo."""
    subjects = model.config.subjects
    return subjects.index(subject) if subject in subjects else 0
