"""The contract of face back ends, and the choice between them.

A back end detects faces and places the 68 iBUG points. It has no state between frames, so that a clip gives the same
numbers in any worker and in any order.
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
        """What prevents this back end from running on this machine, as a clause, or None."""

    def fingerprint(self) -> str:
        """Identifies code, settings and weights: equal fingerprints mean equal numbers."""

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """Boxes (n,4), largest first; `expect` is the side of a face in the previous frame, pixels, if known."""

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The 68 points (68,2) of the face in `box`; all NaN where the back end detects none there."""


class QuickBackend(FaceBackend, Protocol):
    """A back end with shortcuts, which `Tracker` and `process_clip` use where present."""

    #: Whether it accepts gray frames (uint8 (H,W)) as well as RGB ones.
    takes_gray: bool

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of faces of about the size and place of `box`; far cheaper than `detect`."""


#: Back ends by name; one file each in this package.
FACE_BACKENDS: Registry[type[FaceBackend]] = Registry(
    "face back end", group="dawn_bench.face_backend", package="dawn_bench.pipelines.faces.backends"
)


def pick_backend(name: str = "auto") -> FaceBackend:
    """The back end called `name`, loaded once per process; `auto` is face-alignment where it can run, else dlib.

    Raises `InputError` for an unknown name, and naming what is missing where the back end cannot run.
    """
    if name == "auto":
        name = "dlib" if FACE_BACKENDS["face-alignment"].missing() else "face-alignment"
    if reason := FACE_BACKENDS[name].missing():
        raise InputError(f"the face back end {name!r} cannot run: {reason}.", hint="Without it: --face dlib")
    return _loaded(name, weights.folder())


@lru_cache(maxsize=4)
def _loaded(name: str, folder: Path) -> FaceBackend:
    """One back end per process and weights folder: loading takes a second and a hundred megabytes."""
    return FACE_BACKENDS[name]()


def box_around(points: np.ndarray) -> np.ndarray:
    """The square box (4,) that a detector such as dlib's would give for a face with these points (68,2).

    Side and centre follow from the points' mean and spread (root mean square distance from the mean); the factors
    are medians over 170 frames of 11 speakers. Steadier than detections, whose sizes jump between pyramid levels.
    """
    mean = points.sum(axis=0) / len(points)
    around = points - mean
    spread = float(np.sqrt(np.vdot(around, around) / len(points)))
    centre = mean + np.array([0, -0.136 * spread])
    half = 2.79 * spread / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)
