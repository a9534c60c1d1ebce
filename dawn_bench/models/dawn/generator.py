"""DAWN's generator: a portrait and speech in, a talking clip of any length out, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import SHARED_FIELDS, of_provenance
from dawn_bench.files import sha256_file, user_path
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.networks import DawnNetworks, Scene
from dawn_bench.models.dawn.options import DawnOptions, SamplingOptions
from dawn_bench.models.dawn.passes import passes, stream
from dawn_bench.models.dawn.pbnet import PBNet, SeparatePBNets
from dawn_bench.models.generator import Generator, TalkingStream
from dawn_bench.models.inputs import Crop, portrait_notes, read_drive, read_portrait, read_speech, read_tracks
from dawn_bench.pipelines.extractors.compatibility import differences, encoder_notes, face_backend, usable, words
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint

__all__ = ["COARSE_FILE", "RUN_FILES", "DawnGenerator", "SamplingOptions", "Scene"]

#: Where `dawn-bench train` writes each model in a run folder, in order of preference.
RUN_FILES = {
    "lfg": ("lfg/model.safetensors",),
    "a2v": ("a2v-2/model.safetensors", "a2v-1/model.safetensors"),
    "pbnet": ("pbnet/model.safetensors",),
}
#: The coarse A2V-FDM of the strategy of two temporal resolutions, if the run has it.
COARSE_FILE = "a2v-ttr/model.safetensors"


class DawnGenerator(DawnNetworks, Generator):
    """The networks of a trained run or of the released files, with facts on their training.

    `identity` changes with the weights; `facts` is the provenance of each checkpoint by kind.
    """

    options_class = DawnOptions

    def __init__(
        self,
        lfg: LFG,
        a2v: A2VFDM,
        pbnet: PBNet | SeparatePBNets | None,
        *,
        coarse: A2VFDM | None = None,
        device: str = "cpu",
        identity: str = "",
        facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__(lfg, a2v, pbnet, coarse=coarse, device=device)
        self.identity, self.facts = identity, facts

    @property
    def size(self) -> int:
        """Side of the training images in pixels."""
        return int(self.facts["lfg"]["size"])

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The provenance of the A2V-FDM."""
        return self.facts["a2v"]

    @property
    def published(self) -> bool:
        """Whether these are published weights, which nobody here can train again."""
        return bool(self.facts["a2v"].get("published"))

    @property
    def audio_encoder(self) -> str:
        """Name of the audio features used in training."""
        return str(self.facts["a2v"]["audio_encoder"])

    @classmethod
    def load(cls, run: Path, *, device: str = "cpu", stage: str | None = None) -> DawnGenerator:
        """The models of a run folder; `stage` names the A2V-FDM (`a2v-1`, `a2v-2`), by default the last stage.

        Raises `InputError` naming the model that is missing.
        """
        modules: dict[str, Any] = {"pbnet": None}
        hashes, facts = [], {}
        for kind, names in RUN_FILES.items():
            if kind == "pbnet" and not modules["a2v"].config.driven:
                continue
            if kind == "a2v" and stage is not None:
                names = (f"{stage}/model.safetensors",)
            path = next((run / n for n in names if (run / n).is_file()), None)
            if path is None:
                raise InputError(
                    f"holds no trained {stage if kind == 'a2v' and stage else kind}.",
                    path=run,
                    hint=f"Train it: dawn-bench train --stage all --cache CACHE --out {run}",
                )
            modules[kind], facts[kind] = load_checkpoint(path, kind)
            hashes.append(sha256_file(path))
        if (run / COARSE_FILE).is_file():
            modules["coarse"], facts["coarse"] = load_checkpoint(run / COARSE_FILE, "a2v")
            hashes.append(sha256_file(run / COARSE_FILE))
        _check_stages(facts, run=run)
        return cls(**modules, device=device, identity=fingerprint(hashes), facts=facts)

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
        """See `Generator.generate`. `image` is a picture file with one face; `options` are those of `DawnOptions`.

        Its head pose and blinks, and those of a driving video, are computed by the extractors of the training data.
        """
        chosen: DawnOptions = self.options(options)
        if image is None:
            raise InputError("DAWN needs a portrait.", hint="Give a picture file with one face.")
        backend, notes = face_backend(self.extractors, face)
        sources = dict[str, str]()
        for field in SHARED_FIELDS:
            sources[field], more = usable(self.extractors, field, published=self.published)
            notes += more
        portrait, has_face = read_portrait(
            user_path(image),
            size=self.size,
            backend=backend,
            crop=cast(Crop, chosen.crop or self.crop),
            person=chosen.person,
            **sources,
        )
        if chosen.crop is None and self.crop != "face":
            notes.append(f"the portrait is cropped as the model's training data: --crop {self.crop}")
        notes += portrait_notes(image, portrait, chosen=chosen.person is not None)
        if not has_face:
            notes.append(f"{image}: no face found; a frontal face in the middle is assumed")
        sound, features = read_speech(
            user_path(audio), encoder=self.audio_encoder, max_seconds=max_seconds, track=audio_track, notes=notes
        )
        notes += encoder_notes(self.extractors, self.audio_encoder)
        count = len(passes(len(features), longest=chosen.pass_frames))
        if count > 1:
            minutes, limit = len(features) / FPS / 60, f"{chosen.pass_seconds:g} s"
            notes.append(f"{minutes:.1f} minutes of speech: {count} passes of {limit} at most (--pass-seconds)")
        tracks = self._given_tracks(chosen, backend, sources, n_frames=len(features), notes=notes)

        def segments() -> Iterator[np.ndarray]:
            scene = self.scene(portrait, features, seed=seed, **tracks)
            with meter("sample", total=chosen.steps * count, unit="steps") as progress:
                yield from stream(self, scene, chosen, longest=chosen.pass_frames, progress=progress)

        return TalkingStream(segments(), len(features), sound, FPS, notes=tuple(notes))

    def _given_tracks(
        self,
        options: DawnOptions,
        backend: FaceBackend,
        sources: Mapping[str, str],
        *,
        n_frames: int,
        notes: list[str],
    ) -> dict[str, np.ndarray]:
        """Head pose and blinks supplied by the user, by argument of `scene`; empty where PBNet generates them."""
        if options.drive is not None:
            person = options.drive_person or options.person
            pose, blink = read_drive(
                options.drive, size=self.size, backend=backend, n_frames=n_frames, person=person, notes=notes, **sources
            )
        elif options.pose is not None:
            pose, blink = read_tracks(options.pose, n_frames=n_frames)
        else:
            return {}
        return {"pose": pose, "blink": blink}


def _check_stages(facts: Mapping[str, Mapping[str, Any]], *, run: Path) -> None:
    """Raise `InputError` where the stages of a run were trained on head poses, blinks or sound of unlike extractors."""
    a2v = facts["a2v"]
    for kind in ("pbnet", "coarse"):
        if kind not in facts:
            continue
        encoders = [stage.get("audio_encoder") for stage in (a2v, facts[kind])]
        unlike = differences(of_provenance(a2v), of_provenance(facts[kind]), fields=SHARED_FIELDS)
        wrong = next((d for d in unlike if d.fits is False), None)
        if None not in encoders and encoders[0] != encoders[1]:
            what = f"its A2V-FDM was trained on {encoders[0]} features and its {kind} on {encoders[1]}."
        elif wrong is not None:
            what = f"its A2V-FDM was trained on {words(wrong.field)} by {wrong.trained}, its {kind} by {wrong.given}."
        else:
            continue
        raise InputError(what, path=run, hint="Train both on one cache.")
