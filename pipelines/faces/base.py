"""What a face back end is, and which one is used.

Back ends find faces and put the 68 iBUG points on them. They hold no memory of earlier frames, so that a clip gives
the same numbers whichever worker takes it and whatever came before.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.registry import Registry


class FaceBackend(Protocol):
    """Boxes are x0, y0, x1, y1 and points x, y, float32 pixels of the frame given (uint8 RGB (H,W,3))."""

    name: str

    @staticmethod
    def missing() -> str | None:
        """What keeps this back end from running here, in words, or None."""

    def fingerprint(self) -> str:
        """Identifies code, settings and weights: equal fingerprints give equal numbers."""

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Boxes (n,4), largest first; `expect` is the side of a face seen just before, in pixels, if any."""

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 points (68,2) of the face in `box`; all NaN where the back end sees none there."""


class QuickBackend(FaceBackend, Protocol):
    """A back end with shortcuts, which `Tracker` and `process_clip` take where they are offered."""

    #: Whether gray frames (uint8 (H,W)) serve as well as RGB ones.
    takes_gray: bool

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of faces about as large as `box` and where it is; far cheaper than `detect`."""


#: Back ends by name; one file each in this package.
FACE_BACKENDS: Registry[type[FaceBackend]] = Registry(
    "face back end", group="dawn_bench.face_backend", package="dawn_bench.pipelines.faces.backends"
)


def pick_backend(name: str = "auto") -> FaceBackend:
    """The back end called `name`, made once a process; `auto` is face-alignment where it can run, else dlib.

    Raises `InputError` saying what is missing when the named one cannot run here.
    """
    if name == "auto":
        name = "dlib" if FACE_BACKENDS["face-alignment"].missing() else "face-alignment"
    lacking = FACE_BACKENDS[name].missing()
    if lacking:
        raise InputError(f"the face back end {name!r} cannot run: {lacking}.", hint="Without it: --face dlib")
    return _made(name, weights.folder())


@lru_cache(maxsize=4)
def _made(name: str, folder: Path) -> FaceBackend:
    """One back end a process and weights folder: loading takes a second and a hundred megabytes."""
    return FACE_BACKENDS[name]()


def box_around(points: np.ndarray) -> np.ndarray:
    """The square box (4,) in which a detector such as dlib's would see the face with these points (68,2).

    Side and centre follow from the points' mean and spread (root mean square distance from the mean); the factors
    are medians over 170 frames of 11 speakers. Steadier than detections, whose sizes jump between pyramid levels.
    """
    mean = points.sum(axis=0) / len(points)
    around = points - mean
    spread = float(np.sqrt(np.vdot(around, around) / len(points)))
    centre = mean + np.array([0, -0.136 * spread])
    half = 2.79 * spread / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
