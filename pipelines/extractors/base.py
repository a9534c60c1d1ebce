"""The contract of extractors: arrays of one clip in, named arrays of the same clip out.

Three kinds of extractor are looked up by what they compute, so that a new one is one file:

* `kind = "audio"`: an audio encoder. It writes one field, called like the extractor, with a row a frame, which models
  take as their audio features (`audio_encoder_of`).
* `kind = "pose"`: a source of the field `pose`. The setting `pose` of a cache selects it: `pose-NAME` is selected by
  `NAME`, and `pose` itself, fitted to the landmarks, by `landmarks` (`pose_sources`).
* `kind = "blink"`: a source of the field `blink`, selected in the same way by the setting `blink`: `blink-NAME` by
  `NAME`, and `blink` itself by `two-pairs` (`blink_sources`).

What two sources of one field have in common, their signs, units and origin, is their `convention`: a model that was
trained on one of them can be given the other only where it is equal (`dawn_bench.pipelines.extractors.compatibility`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.registry import Registry
from dawn_bench.weights_needs import Needs, check_needs, missing_clause, missing_needs

AUDIO, POSE, BLINK = "audio", "pose", "blink"
#: The convention of head poses that 3DDFA_V2 and DAWN have: scale and translation in a box that follows the face.
BOX = "3DDFA_V2's: yaw, pitch, roll in degrees; scale, tx, ty in the 120 px box around the face, y up"
#: The values of the settings `pose` and `blink` that select the extractor called `pose` or `blink`.
_PLAIN = {POSE: "landmarks", BLINK: "two-pairs"}


class Extractor(ABC):
    """Computes fields of a clip from other fields. Names, dtypes and shapes are those of `dawn_bench.clip`."""

    name: ClassVar[str]
    #: Fields that `run` reads.
    needs: ClassVar[tuple[str, ...]]
    #: `audio`, `pose` or `blink` (see the module), else empty.
    kind: ClassVar[str] = ""
    #: Signs, units and origin of the numbers, in words; two sources of one field with the same convention can stand in
    #: for each other. Empty: it has a convention of its own.
    convention: ClassVar[str] = ""
    #: Audio encoders: rank among those that a model takes where a clip has no features of the encoder that its paper
    #: used, lowest first; None: only models that name this encoder take it.
    fallback: ClassVar[int | None] = 0
    #: The published files that it needs (`dawn_bench.weights_needs`).
    weights: ClassVar[Needs] = ()
    #: Packages beyond those that dawn-bench requires, by import name.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Where its networks run; `auto`: on the device of the running command (`dawn_bench.devices`).
    device: str = "auto"

    def __init__(self, *, device: str = "auto") -> None:
        self.device = device

    @classmethod
    def missing(cls) -> str | None:
        """What prevents this extractor from running on this machine, as a clause, or None."""
        if absent_packages := [name for name in cls.packages if find_spec(name) is None]:
            return f"the package {absent_packages[0]} is not installed"
        return missing_clause(cls.weights, job=cls.name)

    @classmethod
    def check(cls) -> None:
        """Raise `InputError` where a file that this extractor would use holds another network.

        `prepare` asks before it decodes anything. The default compares the layout of the files in `weights`.
        """
        check_needs(cls.weights)

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies code, settings and weights: equal fingerprints mean equal numbers."""

    @abstractmethod
    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """Fields computed from `needs` for a clip of `n_frames` frames of `size` pixels a side."""


#: Extractor classes by name; one file each in this package.
EXTRACTORS: Registry[type[Extractor]] = Registry(
    "extractor",
    group="dawn_bench.extractor",
    package="dawn_bench.pipelines.extractors",
    base=Extractor,
    has=("name", "needs"),
)


def audio_encoders() -> tuple[str, ...]:
    """Names of the audio encoders in alphabetical order."""
    return tuple(name for name in EXTRACTORS if EXTRACTORS[name].kind == AUDIO)


def audio_encoder_of(clip: Clip, *, prefer: str = "hubert") -> str:
    """The name of the audio features that a model takes from a clip.

    `prefer` is the encoder that the model's paper used. Where the clip has no such features, those of another encoder
    take their place (see `Extractor.fallback`). Raises `InputError` when the clip has no audio features.
    """
    others = [(EXTRACTORS[name].fallback, name) for name in audio_encoders()]
    ranked = [name for _, name in sorted((rank, name) for rank, name in others if rank is not None)]
    for name in (prefer, *ranked):
        if name in clip:
            return name
    raise InputError(
        f"clip {clip.id} has no audio features of {prefer} or {' or '.join(ranked)}.",
        hint="Add them: dawn-bench prepare --root VIDEOS --cache CACHE --extract logmel",
    )


def pose_sources() -> dict[str, str]:
    """The extractors of the head pose by the value of the setting `pose` that selects them."""
    return _sources(POSE)


def blink_sources() -> dict[str, str]:
    """The extractors of the blinks by the value of the setting `blink` that selects them."""
    return _sources(BLINK)


def _sources(kind: str) -> dict[str, str]:
    names = (name for name in EXTRACTORS if EXTRACTORS[name].kind == kind)
    return {_PLAIN[kind] if name == kind else name.removeprefix(f"{kind}-"): name for name in names}


def source_of(name: str) -> str:
    """The value of the setting `pose` or `blink` that selects the extractor called `name`, which is of that kind."""
    return next(value for value, known in _sources(EXTRACTORS[name].kind).items() if known == name)


def check_runnable(names: Iterable[str]) -> None:
    """Raise `InputError` for extractors that cannot run here, all of them in one line with one command.

    Then the same for the first one whose files hold another network (`Extractor.check`).
    """
    names = tuple(names)
    reasons = {name: why for name in names if (why := EXTRACTORS[name].missing())}
    files = [need for name in reasons for need in EXTRACTORS[name].weights]
    if len(reasons) > 1 and all(missing_needs(EXTRACTORS[name].weights) for name in reasons):
        raise InputError(f"the extractors {' and '.join(map(repr, reasons))} cannot run: {missing_clause(files)}")
    if reasons:
        listed = "; ".join(f"the extractor {name!r} cannot run: {why}" for name, why in reasons.items())
        raise InputError(listed)
    for name in names:
        EXTRACTORS[name].check()
