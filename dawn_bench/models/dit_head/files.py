"""Reads a user's picture or video for DiT-Head: frames and landmarks, cropped as in preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.files import VIDEO_SUFFIXES
from dawn_bench.models.inputs import clip_arrays, read_upright
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.media.video import resize
from dawn_bench.pipelines.preparation.process import face_window, to_window
from dawn_bench.pipelines.settings import PrepareSettings


def read_face(path: Path, *, size: int, backend: FaceBackend, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (T,S,S,3) and points (T,68,2) of a video's first `max_frames` frames, or of one picture (T = 1).

    A picture whose face is not upright is turned.

    Raises `InputError` for a file that cannot be read or shows no face.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        settings = PrepareSettings(size=size, extract=(), require_audio=False, min_frames=1, max_frames=max_frames)
        arrays = clip_arrays(path, settings, backend=backend)
        return arrays["frames"], arrays["landmarks"]
    picture, _ = read_upright(path)
    boxes = backend.detect(picture)
    if not len(boxes):
        hint = "Give a frontal portrait, face large in the picture."
        raise InputError("shows no face that the detector can find.", path=path, hint=hint)
    points = backend.landmarks(picture, boxes[0])[None]
    x, y, width, height = window = face_window(points, picture.shape[1], picture.shape[0])
    return resize(picture[y : y + height, x : x + width], size, size)[None], to_window(points, window, size)
