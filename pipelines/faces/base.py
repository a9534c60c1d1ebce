"""The contract of face back ends, and the choice between them.

A back end detects faces and places the 68 iBUG points. It has no state between frames, so that a clip gives the same
numbers in any worker and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dawn_bench import weights
from dawn_bench.devices import chosen_device
from dawn_bench.errors import InputError
from dawn_bench.registry import Registry
from dawn_bench.weights_needs import Needs


class FaceBackend(Protocol):
    """Boxes are x0, y0, x1, y1 and points x, y, float32 pixels of the frame given (uint8 RGB (H,W,3)).

    A back end whose files are in the weights registry declares them as `weights` (`dawn_bench.weights_needs`). One
    whose networks can run on a GPU is constructed with `device`.
    """

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


class KnownNetworks(Protocol):
    """A back end that says which files of the weights registry it has opened, for the record of a score."""

    networks: tuple[weights.Resolved, ...]


class QuickBackend(FaceBackend, Protocol):
    """A back end with shortcuts, which `Tracker` and `process_clip` use where present."""

    #: Whether it accepts gray frames (uint8 (H,W)) as well as RGB ones.
    takes_gray: bool

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Boxes (n,4) of faces of about the size and place of `box`; far cheaper than `detect`."""

    def search(self, frame: np.ndarray, *, near: np.ndarray | None = None) -> np.ndarray:
        """Boxes (n,4) of faces that `detect` missed: near a known face, best first, or in the whole frame."""


#: Back ends by name; one file each in this package.
FACE_BACKENDS: Registry[type[FaceBackend]] = Registry(
    "face back end",
    group="dawn_bench.face_backend",
    package="dawn_bench.pipelines.faces.backends",
    has=("name", "missing", "fingerprint", "detect", "landmarks"),
)


def pick_backend(name: str = "auto", *, device: str = "auto") -> FaceBackend:
    """The back end called `name`, loaded once per process; `auto` is face-alignment where it can run, else dlib.

    `device` is for back ends whose networks can run on a GPU; `auto` is that of the running command.

    Raises `InputError` for an unknown name, and naming what is missing where the back end cannot run.
    """
    name = backend_name(name)
    if reason := FACE_BACKENDS[name].missing():
        other = "" if name == "dlib" else " (without it: --face dlib)"
        raise InputError(f"the face back end {name!r} cannot run{other}: {reason}")
    if "device" in signature(FACE_BACKENDS[name]).parameters:
        return _loaded(name, weights.folder(), chosen_device(device))
    return _loaded(name, weights.folder())


def backend_name(name: str = "auto") -> str:
    """The name of the back end that `pick_backend` loads."""
    if name != "auto":
        return name
    return "dlib" if FACE_BACKENDS["face-alignment"].missing() else "face-alignment"


def declared_weights(name: str) -> Needs:
    """The files of the weights registry that a back end declares."""
    needs: Needs = getattr(FACE_BACKENDS[name], "weights", ())
    return needs


def not_installed(package: str, *, alone: bool = True) -> str:
    """The clause for a package that is absent, with the commands that install it.

    The packages ask for opencv-python, which overwrites files of opencv-python-headless. `alone`: installed without
    what it asks for; the extra has the rest.
    """
    more = f" && pip install --no-deps {package}" if alone else ""
    return f"the package {package} is not installed (pip install 'dawn-bench[faces]'{more})"


def loss_of(name: str) -> str:
    """What is lost where a back end stands in for face-alignment, as a clause; empty where it does not.

    A mesh cache has no back end: its `name` stays `auto`.
    """
    return str(getattr(FACE_BACKENDS[name], "loses", "")) if name in FACE_BACKENDS else ""


def stand_in(name: str) -> str | None:
    """What is lost where the back end that `auto` has picked is not face-alignment, as one line; None where it is."""
    loss = loss_of(name)
    reason = FACE_BACKENDS["face-alignment"].missing() if loss else None
    return None if reason is None else f"faces: {name} stands in for face-alignment: {loss}; {reason}"


@lru_cache(maxsize=4)
def _loaded(name: str, folder: Path, device: str = "") -> FaceBackend:
    """One back end per process, weights folder and device: loading takes a second and a hundred megabytes."""
    kind: Callable[..., FaceBackend] = FACE_BACKENDS[name]
    return kind(device=device) if device else kind()


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


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    ax0, ay0, ax1, ay1 = a.tolist()
    bx0, by0, bx1, by1 = b.tolist()
    inner = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    return inner / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inner)


def extended(frame: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The part of a frame from pixel `first` to before `stop` (x, y); the frame's edges are replicated outside it."""
    size = np.array([frame.shape[1], frame.shape[0]])
    inner = np.clip(first, 0, size - 1), np.clip(stop, 1, size)
    (x0, y0), (x1, y1) = inner[0], np.maximum(inner[1], inner[0] + 1)
    part = frame[y0:y1, x0:x1]
    left, above, right, below = (max(0, int(n)) for n in (x0 - first[0], y0 - first[1], stop[0] - x1, stop[1] - y1))
    if left or above or right or below:
        part = cv2.copyMakeBorder(part, above, below, left, right, cv2.BORDER_REPLICATE)
    return part
