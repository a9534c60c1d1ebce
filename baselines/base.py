"""The method contract: something that makes one clip out of one item.

A method is given a true clip of the test set and may use only what it declares in `uses`: `source` (the first frame),
`audio` (sound and audio features), `pose` (the true head pose and blink tracks), `truth` (everything: sanity rows),
`masked-truth` (the true frames without the lower face),
`others` (other clips of the set: its outputs are made anew when the set changes).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.registry import Registry

MethodClass = Literal["portrait", "dub", "static-lips", "mesh", "reference", "sanity"]


@dataclass(frozen=True)
class Item:
    """One thing to generate: the true clip, the test set's clips (for shuffling), and the run's seed."""

    clip: Clip
    others: Sequence[Clip]
    seed: int

    @property
    def own_seed(self) -> int:
        """A seed that differs between clips and does not depend on their order."""
        return (self.seed * 1_000_003 + zlib.crc32(self.clip.id.encode())) % 2**63


@dataclass(frozen=True)
class Context:
    """What a method may be built from: a trained run's folder, the device, and options from the command line.

    External methods also take the file that says where they are installed, and a folder for their logs.
    """

    checkpoint: Path | None = None
    device: str = "cpu"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    installs: Path | None = None
    logs: Path = Path("logs")


@dataclass(frozen=True)
class Generated:
    """A method's answer: `frames` uint8 (T,S,S,3) RGB at 25 fps and the `audio` int16 (n,) that belongs to them.

    `notes` say in words what was changed on the way, for the score's row; `facts` are what the output was before;
    `load_seconds` is the part of the time that went into loading models, where the method can tell.
    """

    frames: np.ndarray
    audio: np.ndarray
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    load_seconds: float | None = None


class Method(Protocol):
    """A method. `fingerprint` changes whenever its outputs would (weights, settings, code version).

    A method that frames the face otherwise than its portrait may say `changes_crop = True`: it is then scored a second
    time with its faces put where the truth has them. One that fits only some caches may have `check(clip)`, which
    raises `InputError`: it is asked of the first clip before any work.
    """

    name: str
    method_class: MethodClass
    licence: str
    uses: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Text that names weights and settings; outputs with another fingerprint are generated anew."""

    def generate(self, item: Item) -> Generated:
        """Make one clip; raises `ItemError` when this item cannot be done."""


def check_fit(clip: Clip, *, size: int, encoder: str) -> None:
    """Raise `InputError` unless a clip has frames of `size` px and the sound features of `encoder`."""
    side = clip["frames"].shape[1]
    if side != size:
        raise InputError(
            f"clip {clip.id}: its frames are {side} px wide, and this model was trained at {size}.",
            hint=f"Prepare a cache of its size: dawn-bench prepare --size {size}",
        )
    if encoder not in clip:
        raise InputError(
            f"clip {clip.id} has no {encoder} features, which this model hears.",
            hint=f"Add them: dawn-bench prepare --root VIDEOS --cache CACHE --extract {encoder}",
        )


#: Methods by command-line name: functions of a `Context`; one file each in `baselines/methods/`.
METHODS: Registry[Callable[[Context], Method]] = Registry(
    "method", group="dawn_bench.method", package="dawn_bench.baselines.methods"
)

#: The rows that every evaluation shows, so that a reader sees each metric's floor and ceiling.
SANITY = ("ground-truth", "ground-truth-reencoded", "still", "shuffled-sound")
