"""`dawn-bench generate --method dit-head`: a picture or a video, and sound, to a clip whose lips say the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import VIDEO_SUFFIXES
from dawn_bench.models.dit_head.generator import Dubber, DubOptions
from dawn_bench.models.inputs import read_picture, read_speech
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.media.video import resize
from dawn_bench.pipelines.preparation.process import face_window, process_clip, to_window
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.progress import meter


def dub_file(
    face: Path,
    audio: Path,
    *,
    run: Path,
    backend: FaceBackend,
    options: DubOptions,
    seed: int,
    device: str,
    max_seconds: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (T,S,S,3) and sound int16 (n,): `face` is a portrait, or a video to dub, cropped as in preparation.

    Raises `InputError` for a file that cannot be read or shows no face, and for a run that is not whole.
    """
    dubber = Dubber.load(run, device=device)
    sound, features = read_speech(audio, encoder=dubber.audio_encoder, max_seconds=max_seconds)
    frames, landmarks = read_face(face, size=dubber.size, backend=backend, max_frames=len(features))
    with meter("dub", total=len(features), unit="frames") as progress:
        return dubber.dub(frames, landmarks, features, seed=seed, options=options, progress=progress), sound


def read_face(path: Path, *, size: int, backend: FaceBackend, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (T,S,S,3) and points (T,68,2) of a video's first `max_frames` frames, or of one picture (T = 1)."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _video(path, size=size, backend=backend, max_frames=max_frames)
    picture = read_picture(path)
    boxes = backend.detect(picture)
    if not len(boxes):
        hint = "Give a frontal portrait, face large in the picture."
        raise InputError("shows no face that the detector finds.", path=path, hint=hint)
    points = backend.landmarks(picture, boxes[0])[None]
    x, y, width, height = window = face_window(points, picture.shape[1], picture.shape[0])
    return resize(picture[y : y + height, x : x + width], size, size)[None], to_window(points, window, size)


def _video(path: Path, *, size: int, backend: FaceBackend, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
    sink = MemorySink()
    settings = PrepareSettings(size=size, extract=(), require_audio=False, min_frames=1, max_frames=max_frames)
    try:
        process_clip(Source(path.stem, "dub", "test", path), settings, backend, sink)
    except ItemError as error:
        raise InputError(str(error), path=path, hint="Give a video of one face.") from error
    arrays = sink.arrays
    return arrays["frames"], arrays["landmarks"]
