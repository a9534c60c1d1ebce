"""Readers of a user's files for generators: a portrait, speech, a driving video, tracks of head pose and blinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dawn_bench.clip import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from dawn_bench.errors import InputError, ItemError
from dawn_bench.extractor_record import field_of
from dawn_bench.npz import read_npz
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import BLINK, EXTRACTORS, POSE, source_of
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.faces.choice import SPEAKING, checked_choice, choose_in_picture
from dawn_bench.pipelines.faces.quality import picture_flags
from dawn_bench.pipelines.faces.turned import turns_to_upright
from dawn_bench.pipelines.media.audio import decode_sound, fit_length
from dawn_bench.pipelines.media.picture import decode_picture
from dawn_bench.pipelines.media.video import resize
from dawn_bench.pipelines.preparation.process import face_window, process_clip, to_window
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import guarded
from dawn_bench.utf8 import escape_invalid

#: Minimum length of the speech in frames.
MIN_FRAMES = 5
#: Bytes of a track of head pose or blinks: 12 hours.
TRACK_BYTES = 64 << 20
#: State of a portrait without a detected face: frontal and open-eyed, the fallback of the released code.
NO_POSE, NO_BLINK = (0.0, 0.0, 0.0, 4.79e-4, 56.5, 64.9, -66.67), (0.3, 0.3)
#: Face box of a portrait without a detected face: x0, y0, x1, y1 as shares of its side.
NO_BOX = (0.25, 0.25, 0.75, 0.8)

Crop = Literal["face", "paper"]

#: What to do about a file by the reason why it cannot be used, where that is known.
_HINTS = {
    "no_track": "Choose another: --audio-track N",
    "missing_file": "Check its path.",
    "unreadable": "Check that it plays, or write it again.",
    "empty_file": "Write it again.",
    "turned": "",
}
CHOICES_HINT = "Choose one: --face largest, left, right, or a number from the left."


@dataclass(frozen=True)
class Portrait:
    """The source face: `frame` uint8 (S,S,3) RGB, `pose` (7,), `blink` (2,), `bbox` (4,) x0,y0,x1,y1.

    `bbox` is in pixels of an image of size `hw` (height, width), by default of the frame itself. The picture was
    `turned` by so many degrees counter-clockwise, because its face was not upright. `faces` is the number of faces in
    the picture, and `flags` says what is doubtful about this one (`dawn_bench.pipelines.faces.quality`).
    """

    frame: np.ndarray
    pose: np.ndarray
    blink: np.ndarray
    bbox: np.ndarray
    hw: tuple[int, int] | None = None
    turned: int = 0
    faces: int = 1
    flags: str = ""


def own_video(*, size: int, n_frames: int, person: str | None, **settings: Any) -> PrepareSettings:
    """Settings for the first `n_frames` frames of a user's own video: no face is too bad, which a note says.

    `person` chooses one of several faces, by default the one that speaks; nothing is extracted unless `settings` say.
    """
    return PrepareSettings(
        size=size,
        person=person or SPEAKING,
        **{"extract": (), **settings},
        require_audio=False,
        min_frames=1,
        max_frames=n_frames,
        max_mouth_covered=1,
        max_yaw=180,
        min_face_height=0,
        min_face_in_frame=0,
    )


#: The option of models that read a portrait or a video.
PERSON: Any = Field(
    None, description="which of several faces: largest, speaking, left, right, or a number from the left"
)


def checked_person(choice: str | None) -> str | None:
    """A model's option `person`; raises `InputError` for an unknown choice."""
    return None if choice is None else checked_choice(choice)


def ping_pong(length: int, wanted: int) -> np.ndarray:
    """Frame numbers (wanted,) that play `length` frames forwards and backwards; turning points are not repeated."""
    return np.resize(np.concatenate([np.arange(length), np.arange(length)[-2:0:-1]]), wanted)


def read_portrait(
    path: Path,
    *,
    size: int,
    backend: FaceBackend,
    crop: Crop = "face",
    person: str | None = None,
    pose: str = POSE,
    blink: str = BLINK,
) -> tuple[Portrait, bool]:
    """A picture file as a portrait of `size` pixels a side, and whether it shows a face.

    `crop` is as in preparation: `face` crops the square around the face; `paper` resizes the whole picture without
    keeping the aspect ratio, and without a detected face assumes a frontal face in the middle. `person` chooses one of
    several faces (`dawn_bench.pipelines.faces.choice`), by default the largest. `pose` and `blink` name the extractors
    of its state.

    Raises `InputError` when the file is not a picture, with `face` when no face is detected, or when the face that was
    chosen is not there.
    """
    picture, turned = read_upright(path)
    # before resizing: small faces are lost; a crop also loses the other faces, which are therefore counted
    box, faces = face_in_picture(path, picture, backend=backend, person=person, count=crop == "face")
    points = backend.landmarks(picture, box) if box is not None else np.full((68, 2), np.nan)
    height, width = picture.shape[:2]
    if not np.isfinite(points).all():
        if crop == "face":
            raise InputError(
                "shows no face that the detector can find.",
                path=path,
                hint="Give a frontal portrait, face large in the picture, or use it uncropped: --crop paper",
            )
        box = np.array(NO_BOX, np.float32) * size
        frame = resize(picture, size, size)
        return Portrait(frame, np.array(NO_POSE, np.float32), np.array(NO_BLINK, np.float32), box, turned=turned), False
    window = face_window(points[None], width, height) if crop == "face" else (0, 0, width, height)
    x, y, wide, high = window
    frame = resize(picture[y : y + high, x : x + wide], size, size)
    landmarks = to_window(points[None], window, size)
    arrays = {"landmarks": landmarks, "frames": frame[None]}
    for name in (pose, blink):
        arrays |= EXTRACTORS[name]().run(arrays, size=size, n_frames=1)
    corner = np.array([x, y])
    bbox = np.concatenate([points.min(0) - corner, points.max(0) - corner])
    state = arrays["pose"][0], arrays["blink"][0]
    return Portrait(frame, *state, bbox, (high, wide), turned, faces, picture_flags(picture, points)), True


def face_in_picture(
    path: Path, picture: np.ndarray, *, backend: FaceBackend, person: str | None, count: bool = True
) -> tuple[np.ndarray | None, int]:
    """As `choose_in_picture`, with an `InputError` that names the file where the chosen face is not there."""
    try:
        return choose_in_picture(backend, picture, person, count=count)
    except ItemError as error:
        raise InputError(f"{error.detail}.", path=path, hint=CHOICES_HINT) from error


def portrait_notes(path: Path | str, portrait: Portrait, *, chosen: bool) -> list[str]:
    """Notes on a portrait that was turned, shows several faces of which none was `chosen`, or one of little use."""
    notes = [turned_note(path, portrait.turned)] if portrait.turned else []
    notes += [several_faces(path, portrait.faces)] if portrait.faces > 1 and not chosen else []
    return [*notes, *doubts(path, portrait.flags)]


def doubts(path: Path | str, flags: str) -> list[str]:
    """A note on a face that models cannot use well; empty for a good one."""
    return [f"{path}: {flags}; the result may be poor"] if flags else []


def several_faces(path: Path | str, faces: int) -> str:
    """A note on a picture with several faces of which none was chosen."""
    return f"{path}: shows {faces} faces; the largest is used (others: --face left, right or a number from the left)"


def read_upright(path: Path) -> tuple[np.ndarray, int]:
    """`read_picture`, turned so that its face is upright, and the degrees counter-clockwise by which it was turned."""
    picture = read_picture(path)
    turns = turns_to_upright(picture)
    return np.ascontiguousarray(np.rot90(picture, turns)), 90 * turns


def turned_note(path: Path | str, degrees: int) -> str:
    """For the user whose picture was turned."""
    return f"{path}: the face is not upright; the picture was turned by {degrees} degrees counter-clockwise"


def read_picture(path: Path) -> np.ndarray:
    """A picture file as uint8 RGB (H,W,3): as its orientation tag says, transparent parts on white.

    Raises `InputError`, for a huge picture without decoding it.
    """
    hint = "Give a PNG or JPEG file."
    try:
        picture = decode_picture(path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}).", path=path, hint=hint) from error
    except ItemError as error:
        raise InputError(f"{error.detail}.", path=path, hint="Give a smaller picture.") from error
    if picture is None:
        raise InputError("cannot be read as a picture.", path=path, hint=hint)
    return picture


def read_sound(
    path: Path, *, max_seconds: float | None, track: int | None = None, notes: list[str] | None = None
) -> np.ndarray:
    """The sound of a file, int16 (n,) at 16 kHz, cut to whole frames at 25 fps.

    `track` is the number of the sound track, from 1; None: the one that a player plays. What was chosen, converted or
    repaired is added to `notes`.

    Raises `InputError` for a file without sound, or with less than `MIN_FRAMES` frames of sound.
    """
    if max_seconds is not None and max_seconds <= 0:
        raise InputError(f"max_seconds is {max_seconds:g}; it must be above 0.")
    try:
        # a second more than is kept, so that the end of the sound does not depend on where reading stopped
        stop = None if max_seconds is None else max_seconds + 1
        sound = decode_sound(path, stop=stop, track=track, used=max_seconds)
    except ItemError as error:
        raise InputError(
            _sentence(error, path),
            path=path,
            hint=_HINTS.get(error.reason, "Give a wav, mp3 or video file with sound."),
        ) from error
    audio = sound.samples
    if notes is not None:
        notes += [f"{escape_invalid(path.name)}: {note}" for note in sound.notes]
    if max_seconds is not None:
        # rounded first: 1.16 s are 29 frames, although 1.16 * 25 is 28.999999999999996
        audio = audio[: int(round(max_seconds * FPS, 6)) * SAMPLES_PER_FRAME]
    n_frames = len(audio) // SAMPLES_PER_FRAME
    if n_frames < MIN_FRAMES:
        raise InputError(
            f"holds {len(audio) / SAMPLE_RATE:.2f} s of sound.",
            path=path,
            hint=f"At least {MIN_FRAMES / FPS:.1f} s are needed.",
        )
    return fit_length(audio, n_frames)


def _sentence(error: ItemError, path: Path) -> str:
    """What is wrong with a file, without the file's name, which the message begins with anyway."""
    return f"{error.detail.removeprefix(f'{path.name}: ').rstrip('.')}."


def read_speech(
    path: Path, *, encoder: str, max_seconds: float | None, track: int | None = None, notes: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`read_sound`, and its features (T,A) at 25 fps by the extractor `encoder` (`hubert`, `logmel`, ...)."""
    audio = read_sound(path, max_seconds=max_seconds, track=track, notes=notes)
    n_frames = len(audio) // SAMPLES_PER_FRAME
    return audio, EXTRACTORS[encoder]().run({"audio": audio}, size=0, n_frames=n_frames)[encoder]


def read_drive(
    path: Path,
    *,
    size: int,
    backend: FaceBackend,
    n_frames: int,
    person: str | None = None,
    notes: list[str] | None = None,
    pose: str = POSE,
    blink: str = BLINK,
) -> tuple[np.ndarray, np.ndarray]:
    """Head pose (T,7) and blinks (T,2) of a driving video for `n_frames` frames; a shorter one plays in ping-pong.

    `person` chooses one of several faces, by default the one that speaks; what is doubtful about it is added to
    `notes`. `pose` and `blink` name the extractors. Raises `InputError` when the video cannot be read or does not show
    that face.
    """
    sources = {"pose": source_of(pose), "blink": source_of(blink)}
    settings = own_video(size=size, n_frames=n_frames, person=person, extract=(pose, blink), **sources)
    arrays = clip_arrays(path, settings, backend=backend, notes=notes)
    order = ping_pong(len(arrays["pose"]), n_frames)
    return arrays["pose"][order], arrays["blink"][order]


def clip_arrays(
    path: Path, settings: PrepareSettings, *, backend: FaceBackend, notes: list[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a video of one face by field, cropped and extracted as in preparation.

    What is doubtful about the face is added to `notes`. Raises `InputError` when the video cannot be read, shows no
    face, or does not fit the settings.
    """
    sink = MemorySink()
    try:
        facts = process_clip(Source(path.stem, "user", "test", path), settings, backend, sink)
    except ItemError as error:
        raise InputError(
            _sentence(error, path), path=path, hint=_HINTS.get(error.reason, "Give a video of one face.")
        ) from error
    if notes is not None:
        notes += doubts(path, facts["face_flags"])
    arrays = sink.arrays
    for name in settings.extract:  # those that need the cropped frames have not run yet
        if field_of(name) not in arrays:
            arrays |= EXTRACTORS[name]().run(arrays, size=settings.size, n_frames=len(arrays["frames"]))
    return arrays


def read_tracks(path: Path, *, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """`pose` (T,≥6) and `blink` (T,2) from a `.npz` file; raises `InputError` when they are absent or too short."""

    def read() -> tuple[np.ndarray, np.ndarray]:
        arrays = read_npz(path, ("pose", "blink"), max_bytes=TRACK_BYTES)
        return arrays["pose"], arrays["blink"]

    pose, blink = guarded(read, path, "arrays `pose` and `blink`", "Write it with numpy.savez.")
    if any(values.dtype.kind not in "fiu" or not np.isfinite(values).all() for values in (pose, blink)):
        raise InputError("holds values that are not finite.", path=path, hint="Fill the gaps in its tracks.")
    if pose.ndim != 2 or pose.shape[1] < 6 or blink.shape[1:] != (2,) or min(len(pose), len(blink)) < n_frames:
        raise InputError(
            f"has pose {pose.shape} and blink {blink.shape}.",
            path=path,
            hint=f"Needed: ({n_frames}, 6 or 7) and ({n_frames}, 2).",
        )
    return pose[:n_frames], blink[:n_frames]
