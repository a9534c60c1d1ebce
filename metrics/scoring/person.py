"""Who is measured: the true clip decides once, and every method is measured on that face.

The face that a true clip is about is the one that its cache was cropped and tracked for, or else the one that tracking
chooses in its frames. An output's face counts as that one where it is at its place: within `NEAR` sides of it, and not
nearer to another face of the true clip. Where true clip and output show one face each, it is that face wherever it is,
since a method may crop in its own way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring.base import Arrays
from dawn_bench.pipelines.faces.base import box_around
from dawn_bench.pipelines.faces.choice import NEAR, distance

#: Arrays of the feature `landmarks` on its faces: their number int64 (1,), and beyond the first one their points
#: (K,T,68,2) and detection flags (K,T).
TRACKS, OTHERS, OTHERS_FOUND = "landmarks.tracks", "landmarks.others", "landmarks.others_found"
FOUND = "landmarks.found"
#: Share of a true clip's frames from which on another detected face is a person, not a false detection.
_PERSON = 0.2
#: An output's only face this near to the true one, in sides, is taken for it without a look at the true clip's others.
_CLEAR = NEAR / 2


@dataclass(frozen=True)
class Face:
    """One face through a clip: square boxes float32 (T,4), and the frames bool (T,) in which it is detected."""

    boxes: np.ndarray
    detected: np.ndarray


@dataclass(frozen=True)
class Person:
    """Whom a true clip is about, and the other people in it."""

    face: Face
    others: Sequence[Face] = ()

    @property
    def alone(self) -> bool:
        """Whether the true clip shows nobody else."""
        return not self.others

    def digest(self) -> str:
        """A hash of the face's place, for the names of features that depend on it."""
        return hashlib.sha256(np.round(self.face.boxes).astype(np.int32).tobytes()).hexdigest()[:16]


def boxes_of(points: np.ndarray) -> np.ndarray:
    """Square boxes float32 (T,4) of points (T,68,2)."""
    return np.stack([box_around(p) for p in np.asarray(points, np.float32)])


def faces_of(arrays: Arrays) -> list[Face]:
    """The faces of a clip from the arrays of its feature `landmarks`, the one chosen by tracking first."""
    points = next(v for k, v in arrays.items() if k.startswith("landmarks.") and v.ndim == 3)
    faces = [Face(boxes_of(points), np.asarray(arrays[FOUND]))]
    if OTHERS in arrays:
        pairs = zip(arrays[OTHERS], arrays[OTHERS_FOUND], strict=True)
        faces += [Face(boxes_of(points), np.asarray(detected)) for points, detected in pairs]
    return faces


def face_at(arrays: Arrays, index: int) -> dict[str, np.ndarray]:
    """The arrays of one face in the form of a clip with one: `landmarks.<model>` and `landmarks.found`."""
    name = next(k for k, v in arrays.items() if k.startswith("landmarks.") and v.ndim == 3)
    if index == 0:
        return {name: arrays[name], FOUND: arrays[FOUND]}
    return {name: arrays[OTHERS][index - 1], FOUND: arrays[OTHERS_FOUND][index - 1]}


def target_of(true: Clip) -> Face | None:
    """Where the cache of a true clip has its face, in pixels of its frames; None where it does not say."""
    points = np.asarray(true["landmarks"]) if "landmarks" in true.arrays else np.zeros(0)
    if points.shape != (true.n_frames, 68, 2) or not np.isfinite(points).all():
        return None
    detected = np.asarray(true["valid"]).astype(bool) if "valid" in true.arrays else np.ones(len(points), bool)
    if detected.shape != (len(points),):
        return None
    return Face(boxes_of(points), detected) if np.ptp(points[:, :, 0], axis=1).min() > 0 else None


def person_of(true: Clip, faces: Sequence[Face]) -> Person:
    """Whom a true clip is about; `faces` are those that tracking detects in its frames, at least one."""
    target = target_of(true)
    if target is None:
        chosen, target = 0, faces[0]
    else:
        chosen = int(np.argmin([_away(face, target) for face in faces]))
    people = [f for k, f in enumerate(faces) if k != chosen and f.detected.mean() >= _PERSON]
    return Person(target, people)


def clearly_at(faces: Sequence[Face], target: Face) -> bool:
    """Whether a clip's only face is beyond doubt the one at `target`."""
    return len(faces) == 1 and _away(faces[0], target) <= _CLEAR


def which(clip_id: str, faces: Sequence[Face], person: Person) -> int:
    """Index of the person among the faces of a clip; raises `ItemError("no_face")` where it is at the place of none."""
    if person.alone and len(faces) == 1:
        return 0
    for away in (_away, _away_at_any_time):
        own = [away(face, person.face) for face in faces]
        of_others = [min((away(face, other) for other in person.others), default=np.inf) for face in faces]
        there = [k for k, d in enumerate(own) if d <= NEAR and d <= of_others[k]]
        if there and person.alone and 0 in there:
            return 0
        if there:
            longest = max(faces[k].detected.sum() for k in there)
            return min(there, key=lambda k: (faces[k].detected.sum() < 0.9 * longest, own[k]))
    if person.alone:
        return 0
    raise ItemError("no_face", f"{clip_id}: no face at the place of the true clip's; {len(faces)} elsewhere")


def _away(face: Face, target: Face) -> float:
    """Median distance from the target at the same time, in sides of the target; infinite without a common frame."""
    n = min(len(face.boxes), len(target.boxes))
    both = face.detected[:n] & target.detected[:n]
    return float(np.median(distance(face.boxes[:n][both], target.boxes[:n][both]))) if both.any() else np.inf


def _away_at_any_time(face: Face, target: Face) -> float:
    """Median distance from the nearest place that the target takes: of a head that does not move along with it."""
    own, places = face.boxes[face.detected], target.boxes[target.detected]
    if not len(own) or not len(places):
        return np.inf
    sampled = places[np.unique(np.linspace(0, len(places) - 1, 100).astype(int))]
    return float(np.median(distance(own[:, None], sampled[None]).min(axis=1)))
