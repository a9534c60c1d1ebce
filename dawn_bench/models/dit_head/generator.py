"""DiT-Head's generator: dubs a video (the paper's protocol), or animates the lips of a portrait [ours]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import AliasChoices, Field, field_validator, model_validator

from dawn_bench.clip import FPS
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.files import sha256_file, user_path
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.dubbing import DitHeadNetworks, DubOptions
from dawn_bench.models.dit_head.files import read_face
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.generator import Generator, TalkingStream
from dawn_bench.models.inputs import PERSON, checked_person, read_speech
from dawn_bench.pipelines.extractors.compatibility import encoder_notes, face_backend
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint

__all__ = ["RUN_FILES", "DitHeadGenerator", "DubFileOptions", "DubOptions"]

#: Where `dawn-bench train --model dit-head` writes each model in a run folder, and its kind.
RUN_FILES = {
    "vqgan-face": "dit-head-vqgan",
    "vqgan-masked": "dit-head-vqgan",
    "dit": "dit-head-dit",
}


class DubFileOptions(DubOptions):
    """Options of `DitHeadGenerator.generate`: fewer steps by default, and `cond_scale` for `guidance`."""

    steps: int = Field(20, ge=1, le=999, description="DDIM steps")
    guidance: float = Field(
        1.0,
        ge=0,
        validation_alias=AliasChoices("guidance", "cond_scale"),
        description="scale of classifier-free guidance by the audio; 1: none",
    )

    person: str | None = PERSON

    _known_choice = field_validator("person")(checked_person)

    @model_validator(mode="before")
    @classmethod
    def _moves_no_head(cls, data: dict[str, object]) -> dict[str, object]:
        if data.get("drive") is not None or data.get("pose") is not None:
            hint = "Give the video itself: --image VIDEO"
            raise InputError("DiT-Head does not change the head pose: --drive and --pose-file do not apply.", hint=hint)
        return data


class DitHeadGenerator(DitHeadNetworks, Generator):
    """The three networks of a trained run. `identity` changes with the weights; `facts` is their provenance."""

    options_class = DubFileOptions

    def __init__(
        self,
        face: VQGAN,
        masked: VQGAN,
        dit: DiT,
        *,
        device: str = "cpu",
        identity: str = "",
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(face, masked, dit, device=device)
        self.identity, self.facts = identity, facts

    @property
    def size(self) -> int:
        """Side of the training images in pixels."""
        return int(self.facts["size"])

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The provenance of the three networks."""
        return self.facts

    @property
    def audio_encoder(self) -> str:
        """Name of the audio features used in training."""
        return str(self.facts["audio_encoder"])

    @classmethod
    def load(cls, run: Path, *, device: str = "cpu") -> DitHeadGenerator:
        """The three models of a run folder; raises `InputError` naming the missing model."""
        modules, hashes, facts = [], [], dict[str, Any]()
        for stage, kind in RUN_FILES.items():
            path = run / stage / "model.safetensors"
            if not path.is_file():
                raise InputError(
                    f"holds no trained {stage}.",
                    path=run,
                    hint=f"Train it: dawn-bench train --model dit-head --cache CACHE --out {run}",
                )
            module, facts = load_checkpoint(path, kind)
            modules.append(module)
            hashes.append(sha256_file(path))
        return cls(*modules, device=device, identity=fingerprint(hashes), facts=facts)

    @on_its_device
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
        """See `Generator.generate`. `image` is a portrait or a video to dub; options are those of `DubFileOptions`.

        The whole clip is dubbed at once, since latents may be blended over time.
        """
        chosen: DubFileOptions = self.options(options)
        if image is None:
            raise InputError("DiT-Head needs a portrait or a video.", hint="Give a picture or video of one face.")
        backend, notes = face_backend(self.extractors, face)
        notes += encoder_notes(self.extractors, self.audio_encoder)
        sound, features = read_speech(
            user_path(audio), encoder=self.audio_encoder, max_seconds=max_seconds, track=audio_track, notes=notes
        )
        frames, landmarks = read_face(
            user_path(image),
            size=self.size,
            backend=backend,
            max_frames=len(features),
            person=chosen.person,
            notes=notes,
        )

        def segments() -> Iterator[np.ndarray]:
            with meter("dub", total=len(features), unit="frames") as progress:
                yield self.dub(frames, landmarks, features, seed=seed, options=chosen, progress=progress)

        return TalkingStream(segments(), len(features), sound, FPS, notes=tuple(notes))
