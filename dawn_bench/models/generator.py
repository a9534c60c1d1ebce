"""The interface of every model: a face and speech in, a talking clip out.

`load_model` (`dawn_bench.models.loading`) returns a `Generator`. Its `generate` returns the whole clip. Its `stream`
returns the clip while it is being generated, so that an hour of speech needs the memory of a minute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dawn_bench.config import Config, validated
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import Extracted, of_provenance
from dawn_bench.files import user_path
from dawn_bench.pipelines.media.video import write_video

#: Key of a checkpoint's provenance: the setting `crop` of its cache. Checkpoints of earlier versions lack it.
CROP = "crop"


@dataclass(frozen=True)
class TalkingClip:
    """A generated clip.

    `frames` uint8 (T,S,S,3) RGB; `audio` int16 (n,) at 16 kHz; `fps` frames per second. A mesh model also gives
    `vertices` float32 (T,V,3) in the units of its training data, and its frames are renderings of them. `notes` are
    sentences for the viewer, for example that the portrait shows no detectable face.
    """

    frames: np.ndarray
    audio: np.ndarray
    fps: int
    vertices: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write frames and sound as an mp4 file; missing folders are created. Returns the path."""
        return _write(path, iter(self.frames), fps=self.fps, audio=self.audio)


@dataclass(frozen=True)
class TalkingStream:
    """A clip that is generated while it is read. Call `save` or `collect` once.

    `segments` are consecutive uint8 (n,S,S,3) arrays, `n_frames` frames in total; the other fields as in `TalkingClip`.
    """

    segments: Iterator[np.ndarray]
    n_frames: int
    audio: np.ndarray
    fps: int
    vertices: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write frames and sound as an mp4 file, segment by segment. Returns the path."""
        frames = (frame for segment in self.segments for frame in segment)
        return _write(path, frames, fps=self.fps, audio=self.audio)

    def collect(self) -> TalkingClip:
        """The whole clip in memory."""
        return TalkingClip(np.concatenate(list(self.segments)), self.audio, self.fps, self.vertices, self.notes)


class Generator(ABC):
    """A loaded model. `options_class` declares the options that `generate` and `stream` take as keywords."""

    options_class: ClassVar[type[Config]]
    #: Where its networks are; face back ends and speech networks run there too.
    device: str = "auto"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Facts on the training, as in the checkpoint that took head poses, blinks or sound; empty: not known."""
        return {}

    @property
    def crop(self) -> Literal["face", "paper"]:
        """How a portrait is cropped to look like the training data; a run that does not record it: to the face."""
        return "paper" if self.provenance.get(CROP) == "paper" else "face"

    @property
    def extractors(self) -> Mapping[str, Extracted]:
        """Which extractors computed its training data, by field; empty for a run that does not record them."""
        return of_provenance(self.provenance)

    @abstractmethod
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
        """As `generate`, but inputs and options are checked now, and frames are generated as they are read."""

    @on_its_device
    def generate(
        self,
        image: str | Path | None,
        audio: str | Path,
        *,
        seed: int = 0,
        max_seconds: float | None = None,
        face: str = "auto",
        audio_track: int | None = None,
        **options: Any,
    ) -> TalkingClip:
        """A talking clip as long as the speech.

        Args:
            image: the source. A picture file with one face; models that dub also take a video; mesh models take the
                neutral face, or None for their default face.
            audio: the speech, any sound or video file.
            seed: the same seed gives the same clip on the same device.
            max_seconds: use only this much of the speech.
            face: name of the face back end that detects the face.
            audio_track: number of the sound track of `audio` to read, from 1; None: the one that a player plays.
            options: fields of `options_class`.

        Raises `InputError` for unusable files and for options that are unknown or out of range.
        """
        picture = None if image is None else user_path(image)
        speech = user_path(audio)
        if audio_track is not None:
            options["audio_track"] = audio_track  # left out otherwise: an older subclass may not know it
        return self.stream(picture, speech, seed=seed, max_seconds=max_seconds, face=face, **options).collect()

    @classmethod
    def options(cls, given: dict[str, Any]) -> Any:
        """`given` as an instance of `options_class`; raises `InputError` naming the first invalid option."""
        return validated(cls.options_class, given, what="option")


def _write(path: str | Path, frames: Iterator[np.ndarray], *, fps: int, audio: np.ndarray) -> Path:
    path = user_path(path)
    if path.suffix.lower() != ".mp4":
        raise InputError("is not an mp4 file name.", path=path, hint="Example: talk.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps=fps, audio=audio)
    return path
