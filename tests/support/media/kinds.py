"""The corpus of made media files: each kind is a function that writes one file, and states what reading it must give.

A module of this package registers its kinds:

    @kind("video", "clip.mkv", Answer(frames=25))
    def late_first_frame(path: Path) -> None:
        '''A first picture at 0.5 s.'''
        ...

`all_kinds()` imports every module of the package. The tests in `tests/pipelines/test_media_corpus.py` walk the kinds
through the readers of `prepare`, `generate` and `evaluate`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

What = Literal["video", "sound", "picture"]


@dataclass(frozen=True)
class Probe:
    """The colour of one place of a picture: `x`, `y` as shares of width and height, `rgb` 0 to 255."""

    x: float
    y: float
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Answer:
    """What reading a file must give; only what is stated is tested.

    Args:
        frames: number of frames at 25 fps.
        levels: mean grey level of every frame at 25 fps.
        numbers: which picture of `marks.numbered` each frame at 25 fps shows.
        size: width and height as displayed.
        colours: of the first frame.
        flashes: seconds at which the picture turns bright.
        beeps: seconds at which the sound sets in.
        seconds: length of the sound.
        rms: of the sound from the first to the last sample, int16 units.
        samples: int16 value by second, of the sound at 16 kHz.
        notes: words that the note in the index must hold; a file without any must have no note.
        refusal: words that the message of the refusal must hold; empty for a file that is read.
        tolerance: of levels and colours, in grey levels.
        near: seconds by which beeps and lengths may differ; a flash may be half a frame away.
        loud: relative difference allowed for `rms` and `samples`.
    """

    frames: int | None = None
    levels: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    colours: tuple[Probe, ...] = ()
    flashes: tuple[float, ...] = ()
    beeps: tuple[float, ...] = ()
    seconds: float | None = None
    rms: float | None = None
    samples: Mapping[float, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    tolerance: float = 3.0
    near: float = 0.02
    loud: float = 0.05


@dataclass(frozen=True)
class Kind:
    """One kind of file: `write(path)` makes it, under the file name `file` (which may be a folder)."""

    name: str
    what: What
    file: str
    write: Callable[[Path], None]
    answer: Answer


KINDS: dict[str, Kind] = {}


def add_kind(name: str, what: What, file: str, answer: Answer, write: Callable[[Path], None]) -> None:
    """Register a kind; names are unique."""
    assert name not in KINDS, f"two kinds are called {name}"
    KINDS[name] = Kind(name, what, file, write, answer)


def kind(what: What, file: str, answer: Answer) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """The decorator that registers a writer under its own name, with dashes."""

    def register(write: Callable[[Path], None]) -> Callable[[Path], None]:
        add_kind(write.__name__.strip("_").replace("_", "-"), what, file, answer, write)
        return write

    return register


def all_kinds(what: What | None = None) -> list[Kind]:
    """The kinds of every module of this package, or those of one sort, by name."""
    import media

    for module in pkgutil.iter_modules(media.__path__):
        importlib.import_module(f"media.{module.name}")
    return [KINDS[name] for name in sorted(KINDS) if what in (None, KINDS[name].what)]
