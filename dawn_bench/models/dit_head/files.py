"""Reads a user's picture or video for DiT-Head: frames and landmarks, cropped as in preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.files import VIDEO_SUFFIXES
from dawn_bench.models.inputs import (
    clip_arrays,
    doubts,
    face_in_picture,
    own_video,
    read_upright,
    several_faces,
    turned_note,
)
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.faces.quality import picture_flags
from dawn_bench.pipelines.media.video import resize
from dawn_bench.pipelines.preparation.process import face_window, to_window


def read_face(
    path: Path,
    *,
    size: int,
    backend: FaceBackend,
    max_frames: int,
    person: str | None = None,
    notes: list[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 (T,S,S,3) and points (T,68,2) of a video's first `max_frames` frames, or of one picture (T = 1).

    A picture whose face is not upright is turned. `person` chooses one of several faces; by default it is the largest
    of a picture, and the one that speaks in a video. Both are added to `notes`. Raises `InputError` for a file that
    cannot be read or does not show that face.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        settings = own_video(size=size, n_frames=max_frames, person=person)
        arrays = clip_arrays(path, settings, backend=backend, notes=notes)
        return arrays["frames"], arrays["landmarks"]
    picture, turned = read_upright(path)
    box, faces = face_in_picture(path, picture, backend=backend, person=person)
    if box is None:
        hint = "Give a frontal portrait, face large in the picture."
        raise InputError("shows no face that the detector can find.", path=path, hint=hint)
    points = backend.landmarks(picture, box)[None]
    if notes is not None:
        notes += [turned_note(path, turned)] if turned else []
        notes += [several_faces(path, faces)] if faces > 1 and person is None else []
        notes += doubts(path, picture_flags(picture, points[0]))
    x, y, width, height = window = face_window(points, picture.shape[1], picture.shape[0])
    return resize(picture[y : y + height, x : x + width], size, size)[None], to_window(points, window, size)
