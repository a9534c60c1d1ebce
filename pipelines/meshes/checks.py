"""Checks of a mesh sequence against its neutral face and its sound.

A neutral face of another subject, registration or unit gives plausible but meaningless scores, as FDD measures motion
from it; so does one whose vertices are in another order. A sequence at another frame rate moves too fast or too slowly
for its sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dawn_bench.clip import SAMPLE_RATE
from dawn_bench.errors import InputError, ItemError

#: Largest mean distance of the vertices from the neutral face, as a share of its size. Speech moves it by about 1 %.
MAX_DISTANCE = 0.1
#: Largest factor between the sizes of a sequence and of its neutral face, either way.
MAX_SCALE = 1.3
#: Largest share of neighbour distances that are more than doubled or halved in the middle of a sequence. Speech does
#: that between the lips alone; a mesh whose rows are shifted by one vertex has 4 %, a shuffled one more than 90 %.
MAX_TORN = 0.02
#: Longest usual side of a triangle, as a multiple of the distance between neighbours. It is 1 to 2 in a mesh.
MAX_SIDE = 5
#: With fewer vertices than this, nothing can be said about their order.
FEWEST = 20
#: Neighbours of a vertex, and frames of a sequence, that are looked at.
_NEIGHBOURS, _FRAMES = 4, 9
#: Closer than this share of the usual distance, two vertices coincide at rest, as those of closed lips.
_COINCIDE = 0.25

#: Largest ratio of the lengths of sequence and sound, either way, whatever the frame rate.
MAX_RATIO = 1.5
#: A ratio beyond this is a fault where it is the ratio of two usual rates, within `_RATE_SLACK`.
_RATE_FROM, _RATE_SLACK = 1.1, 0.025
#: Frames per second that sequences are stored or generated at.
RATES = (24, 25, 30, 48, 50, 60, 100, 120)


@dataclass(frozen=True)
class Neighbours:
    """Pairs of near vertices int64 (n,2) of a neutral face, and their distances float64 (n,)."""

    pairs: np.ndarray
    distances: np.ndarray

    @staticmethod
    def of(face: np.ndarray) -> Neighbours:
        """Each vertex of a face (V,3) with its nearest ones, but for those that coincide with it."""
        from scipy.spatial import cKDTree

        count = min(_NEIGHBOURS, len(face) - 1)
        distances, near = cKDTree(face).query(face, k=count + 1)
        pairs = np.stack([np.repeat(np.arange(len(face)), count), near[:, 1:].reshape(-1)], axis=1)
        distances = distances[:, 1:].reshape(-1)
        apart = distances > _COINCIDE * np.median(distances)
        return Neighbours(pairs[apart], distances[apart])

    def torn(self, frames: np.ndarray, *, scale: float) -> float:
        """The share of the distances in frames (T,V,3) that are more than doubled or halved, beside a `scale` of all.

        It is that of the median frame.
        """
        one, other = self.pairs.T
        lengths = np.median([np.linalg.norm(f[one] - f[other], axis=1) for f in frames.astype(np.float64)], axis=0)
        ratios = np.log(np.maximum(lengths, 1e-30) / (scale * self.distances))
        return float(np.mean(np.abs(ratios) > np.log(2)))


def check_template(vertices: np.ndarray, template: np.ndarray, *, subject: str) -> None:
    """Raise `ItemError("template_mismatch")` where vertices (T,V,3) cannot be of their neutral face (V,3).

    They may be in another order, of another unit, or too far away. The size of the face is the root mean square
    distance of its vertices from their mean.
    """
    face = template.astype(np.float64)
    size = _size(face)
    if len(face) >= FEWEST and size > 0:
        sampled = vertices[np.unique(np.linspace(0, len(vertices) - 1, _FRAMES).astype(int))]
        scale = float(np.median([_size(frame) for frame in sampled])) / size
        if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
            raise ItemError(
                "template_mismatch",
                f"it is {scale:.3g} times as large as the neutral face of {subject}: templates.pkl is of another unit "
                "or set",
            )
        if (torn := Neighbours.of(face).torn(sampled, scale=scale)) > MAX_TORN:
            raise ItemError(
                "template_mismatch",
                f"its vertices are in another order than those of the neutral face of {subject}: {torn:.0%} of the "
                "distances between neighbours are more than doubled or halved. Use the files of one mesh",
            )
    distance = float(np.mean([np.linalg.norm(frame - face, axis=1).mean() for frame in vertices]))
    if not distance <= MAX_DISTANCE * size:
        raise ItemError(
            "template_mismatch",
            f"its vertices are {distance:.3g} from the neutral face of {subject} on average, more than "
            f"{MAX_DISTANCE:.0%} of the face's size {size:.3g}: templates.pkl is of another set, pose or unit",
        )


def check_triangles(triangles: np.ndarray, template: np.ndarray, *, path: Path) -> None:
    """Raise `InputError` where the triangles (F,3) of a file join vertices that are far apart on the face (V,3)."""
    face = template.astype(np.float64)
    if len(face) < FEWEST:
        return
    sides = np.linalg.norm(face[triangles] - face[np.roll(triangles, 1, axis=1)], axis=2)
    if np.median(sides) > MAX_SIDE * np.median(Neighbours.of(face).distances):
        what = "its triangles join vertices far apart on the neutral faces: it numbers the vertices in another order."
        raise InputError(what, path=path, hint="Use the files of one mesh, or remove it: it is only drawn.")


def output_fault(vertices: np.ndarray, template: np.ndarray) -> str:
    """Why generated vertices (T,V,3) cannot be compared with those of the neutral face (V,3); empty where they can.

    A poor output is scored: only another unit, and the face's own points in another order, are faults.
    """
    from scipy.spatial import cKDTree

    face, mean = template.astype(np.float64), np.asarray(vertices.mean(axis=0, dtype=np.float64))
    if len(face) < FEWEST or not _size(face) > 0:
        return ""
    scale = _size(mean) / _size(face)
    if not 1 / 8 <= scale <= 8:
        return f"is {scale:.3g} times as large as the neutral face: another unit, or offsets in place of positions"
    neighbours = Neighbours.of(face)
    torn = neighbours.torn(mean[None], scale=scale)
    off = float(np.median(cKDTree(face).query(mean)[0])) / float(np.median(neighbours.distances))
    # the more of the order is lost, the less precisely the points must lie on the face to tell it from poor quality
    if (torn > MAX_TORN and off < 0.1) or (torn > 0.5 and off < 0.5):
        return "has its vertices in another order than the neutral face"
    return ""


def check_length(n_frames: int, n_samples: int, *, fps: int, stored: int | None = None) -> None:
    """Raise `ItemError("length_mismatch")` where a sequence and its sound cannot be of one recording.

    `stored` is the rate of the file, of which `fps` is a part.
    """
    picture, sound = n_frames / fps, n_samples / SAMPLE_RATE
    rate = other_rate(picture / max(sound, 1e-9), fps=stored or fps)
    if rate is not None or max(picture, sound) > MAX_RATIO * min(picture, sound):
        what = "the frame rate or the sound is another one"
        raise ItemError(
            "length_mismatch",
            f"{n_frames} frames last {picture:.2f} s at {fps} a second, but its sound {sound:.2f} s: "
            + (f"it was stored at {rate} frames a second, not {stored or fps}" if rate is not None else what),
        )


def other_rate(ratio: float, *, fps: float) -> int | None:
    """The usual rate at which a sequence has `ratio` times the frames that it should have at `fps`; None where none."""
    if 1 / _RATE_FROM <= ratio <= _RATE_FROM:
        return None
    fitting = [rate for rate in RATES if abs(ratio * fps / rate - 1) <= _RATE_SLACK]
    return min(fitting, key=lambda rate: abs(ratio * fps - rate), default=None)


def _size(face: np.ndarray) -> float:
    points = face.astype(np.float64)
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))
