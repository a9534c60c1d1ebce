"""Which face is meant where a picture or a clip shows several: the one place that decides.

A user chooses by a word or a number. `speaking` takes the face whose lips move most, `largest` the largest, `left` and
`right` the outermost, and a number counts from the left of the picture, from 1. Faces of a clip that are seen in less
than a quarter of the frames of the longest one are no candidates of the last three: most are false detections.

The scorer does not choose: the true clip says where the face is, and `nearest` looks it up in an output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dawn_bench.errors import InputError, ItemError
from dawn_bench.text import counted

if TYPE_CHECKING:
    from dawn_bench.pipelines.faces.base import FaceBackend

SPEAKING, LARGEST, LEFT, RIGHT = "speaking", "largest", "left", "right"
CHOICES = (SPEAKING, LARGEST, LEFT, RIGHT)
#: Faces that are tracked at a time where a user chooses one of them.
MOST_FACES = 8
#: Frames of a face over those of the longest one, from which on it competes as the speaker, and at all.
_AS_LONG, _SEEN = 0.9, 0.25
#: Side of the smallest face looked for where one of several is chosen, as a share of the picture's longest side: a back
#: end may stop at the scale at which it detects the largest.
SMALL = 0.1
#: Distance between two faces' centres, in sides of the face, up to which they are at one place.
NEAR = 0.75


class Face(NamedTuple):
    """One face of a picture or a clip: its median box (4,), its frames, and those in which its lips move."""

    box: np.ndarray
    frames: int = 1
    speaking: int = 0

    @property
    def x(self) -> float:
        """Middle of the face, pixels from the left."""
        return float(self.box[0] + self.box[2]) / 2

    @property
    def size(self) -> float:
        """Side of the box, pixels."""
        return float(self.box[2] - self.box[0])


def is_choice(text: object) -> bool:
    """Whether a value names a face by place, and not a back end."""
    return text in CHOICES or re.fullmatch(r"[+-]?[0-9]{1,6}", str(text)) is not None


def checked_choice(choice: str) -> str:
    """The choice; raises `InputError` for one that is not known."""
    known = f"{', '.join(CHOICES)}, or a number: 1 is the face furthest left"
    if not is_choice(choice):
        raise InputError(f"there is no choice of face {choice!r}.", hint=f"Known: {known}.")
    if choice not in CHOICES and int(choice) < 1:
        raise InputError(f"there is no face {int(choice)}.", hint="Faces are counted from the left, from 1.")
    return choice if choice in CHOICES else str(int(choice))


def separated(data: Mapping[str, object]) -> dict[str, object]:
    """Settings in which `face` names a back end and `person` one of several faces; `face` may name either.

    Raises `InputError` where both name a face.
    """
    given, other = data.get("face"), data.get("person")
    rest = dict(data) if isinstance(other, str | None) else {**data, "person": str(other)}  # a number in a file
    if not is_choice(given):
        return rest
    choice = checked_choice(str(given))
    if other is not None and checked_choice(str(other)) != choice:
        raise InputError(f"--face {choice} and --person {other} choose different faces.", hint="Give one of them.")
    return {**{k: v for k, v in rest.items() if k != "face"}, "person": choice}


def choose(faces: Sequence[Face], choice: str) -> int:
    """Index of the face that is meant; raises `ItemError("no_face")` where fewer faces are seen than were counted.

    For `speaking`, times within a tenth of the clip tie; the face that is seen longer wins, then the larger one.
    """
    longest = max(face.frames for face in faces)
    candidates = [k for k, face in enumerate(faces) if face.frames >= _SEEN * longest]
    if choice == SPEAKING:
        rivals = [k for k in candidates if faces[k].frames >= _AS_LONG * longest]
        return max(rivals, key=lambda k: (10 * faces[k].speaking // longest, faces[k].frames, faces[k].size))
    if choice == LARGEST:
        return max(candidates, key=lambda k: faces[k].size)
    in_order = sorted(candidates, key=lambda k: faces[k].x)
    if choice in (LEFT, RIGHT):
        return in_order[0 if choice == LEFT else -1]
    if int(choice) > len(in_order):
        raise ItemError("no_face", f"face {choice} was chosen, but {counted(len(in_order), 'face')} can be seen")
    return in_order[int(choice) - 1]


def choose_in_picture(
    backend: FaceBackend, picture: np.ndarray, choice: str | None, *, count: bool = True
) -> tuple[np.ndarray | None, int]:
    """The box (4,) of the face of a still picture that is meant, None without any, and how many faces there are.

    None takes the largest; small faces beside it are then looked for with `count` alone. Raises `ItemError("no_face")`
    for `speaking` among several faces, and as `choose`.
    """
    if choice in (None, LARGEST):
        boxes = backend.detect(picture)
        every = backend.detect(picture, expect=SMALL * max(picture.shape[:2])) if count and len(boxes) else boxes
        return (boxes[0] if len(boxes) else None), max(len(boxes), len(every))
    every = backend.detect(picture, expect=SMALL * max(picture.shape[:2]))
    if not len(every):
        return None, 0
    if choice == SPEAKING and len(every) > 1:
        raise ItemError("no_face", f"shows {len(every)} faces, and a picture does not show which of them speaks")
    return every[choose([Face(box) for box in every], choice)], len(every)


def nearest(boxes: np.ndarray, target: np.ndarray) -> int | None:
    """Index of the box of (n,4) whose centre is nearest to that of `target` (4,); None where none is within `NEAR`."""
    if not len(boxes):
        return None
    away = distance(boxes, target)
    best = int(away.argmin())
    return best if away[best] <= NEAR else None


def distance(boxes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distance between the centres of boxes (...,4) and of target boxes (...,4), in sides of the target."""
    apart = (boxes[..., :2] + boxes[..., 2:] - target[..., :2] - target[..., 2:]) / 2
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]) / (target[..., 2] - target[..., 0]))
