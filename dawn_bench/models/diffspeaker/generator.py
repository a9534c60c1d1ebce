"""DiffSpeaker's generator: a neutral face and speech in, a speaking mesh and its frontal renderings out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from dawn_bench.clip import SAMPLE_RATE, whole_frames
from dawn_bench.config import Config
from dawn_bench.errors import InputError, nearest
from dawn_bench.files import user_path
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.diffspeaker.config import Sampler
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.released import guess_encoder, load_released
from dawn_bench.models.diffspeaker.rest import read_rest
from dawn_bench.models.generator import Generator, TalkingStream
from dawn_bench.models.inputs import read_sound
from dawn_bench.pipelines.meshes.render import MeshRenderer
from dawn_bench.progress import meter

#: The model's file in a run folder of `dawn-bench train --model diffspeaker`.
RUN_FILE = Path("diffspeaker", "model.safetensors")
#: Number of frames rendered at once.
_RENDERED = 50


class SpeakingOptions(Config):
    """Options of mesh generation. None keeps the setting of the checkpoint."""

    sampler: Sampler | None = None
    steps: int | None = Field(None, ge=1, le=1000, description="sampling steps")
    style: str = Field("auto", description="speaking style: a training subject; auto: the first subject, as released")


class DiffSpeakerOptions(SpeakingOptions):
    """Options of `DiffSpeakerGenerator.generate`."""

    size: int = Field(256, ge=32, multiple_of=2, description="side of the rendered frames in pixels")


class DiffSpeakerGenerator(Generator):
    """A loaded DiffSpeaker on one device."""

    options_class = DiffSpeakerOptions

    def __init__(self, model: DiffSpeaker, *, device: str = "cpu") -> None:
        self.model, self.device = model.to(device).eval(), device

    def stream(
        self,
        image: str | Path | None,
        audio: str | Path,
        *,
        seed: int = 0,
        max_seconds: float | None = None,
        face: str = "auto",
        audio_track: int | None = None,
        **options: Any,
    ) -> TalkingStream:
        """See `Generator.generate`. `image` is the neutral face (`read_rest`); no face is detected.

        Vertices are generated at once; frames are rendered as they are read.
        """
        chosen: DiffSpeakerOptions = self.options(options)
        config = self.model.config
        if chosen.style not in ("auto", *config.subjects):
            raise InputError(
                f"option 'style' is {chosen.style!r}, which is not a subject of this model.",
                hint=nearest(chosen.style, ("auto", *config.subjects)),
            )
        rest, triangles = read_rest(None if image is None else user_path(image), vertices=config.vertices)
        notes: list[str] = []
        sound = read_sound(user_path(audio), max_seconds=max_seconds, track=audio_track, notes=notes)
        vertices = self.speak(rest, sound, seed=seed, options=chosen)
        draw = MeshRenderer(rest, triangles, size=chosen.size)

        def segments() -> Iterator[np.ndarray]:
            with meter("draw", total=len(vertices), unit="frames") as progress:
                for start in range(0, len(vertices), _RENDERED):
                    segment = np.stack(list(draw.frames(vertices[start : start + _RENDERED])))
                    progress.advance(len(segment))
                    yield segment

        note = f"speech encoder {config.audio.encoder}; style {self._style(chosen)}"
        return TalkingStream(segments(), len(vertices), sound, config.fps, vertices, (note, *notes))

    @torch.no_grad()
    def speak(self, rest: np.ndarray, sound: np.ndarray, *, seed: int, options: SpeakingOptions) -> np.ndarray:
        """Vertices float32 (T,V,3) for a neutral face (V,3) and sound int16 (n,) at 16 kHz."""
        config = self.model.config
        waveform_BN = torch.from_numpy(np.asarray(sound, np.float32) / 32768)[None].to(self.device)
        frames = whole_frames(len(sound), SAMPLE_RATE, fps=config.fps)
        offsets = self.model.generate(
            waveform_BN,
            torch.tensor([config.subjects.index(self._style(options))], device=self.device),
            generator=torch.Generator(device=self.device).manual_seed(seed),
            frames=frames,
            sampler=options.sampler,
            steps=options.steps,
        )
        return rest + offsets[0].float().cpu().numpy().reshape(frames, -1, 3)

    def _style(self, options: SpeakingOptions) -> str:
        return self.model.config.subjects[0] if options.style == "auto" else options.style


def load_generator(checkpoint: Path, *, device: str = "cpu") -> DiffSpeakerGenerator:
    """The generator of a run folder, or of a released `.ckpt` file; raises `InputError` when it cannot be read."""
    if checkpoint.is_dir():
        model = load_checkpoint(checkpoint / RUN_FILE, "diffspeaker")[0]
    else:
        model = load_released(checkpoint, encoder=guess_encoder(checkpoint))
    return DiffSpeakerGenerator(model, device=device)
