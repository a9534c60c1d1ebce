"""A clip, the unit of the whole suite, and its arrays.

T frames, S pixels a side, n sound samples. The first axis is time everywhere.

| field      | dtype, shape        | meaning                                                                  |
| ---------- | ------------------- | ------------------------------------------------------------------------ |
| frames     | uint8 (T,S,S,3)     | RGB, 0–255, 25 fps                                                       |
| audio      | int16 (n,)          | 16 kHz mono, sample 0 at the instant of frame 0                          |
| hubert     | float16 (T,1024)    | HuBERT-large last hidden state at 25 fps                                 |
| wav2vec2   | float16 (T,768)     | Wav2Vec2-base last hidden state at 25 fps (DiT-Head)                     |
| logmel     | float16 (T,80)      | log mel energies, offline substitute for an audio encoder                |
| pose       | float32 (T,7)       | yaw, pitch, roll in degrees, scale, tx, ty, tz in 3DDFA_V2's crop        |
| blink      | float32 (T,2)       | left, right eye aspect ratio                                             |
| landmarks  | float32 (T,68,2)    | x, y in pixels of the cached frame, iBUG order                           |
| bbox       | float32 (T,4)       | face box x0, y0, x1, y1 in pixels of the cached frame                    |
| valid      | bool (T,)           | False where the face was interpolated over a gap                         |
| face_mask  | bool (T,S,S)        | the pixels that `bbox` touches; computed where a cache does not store it |
| lip_mask   | bool (T,S,S)        | the pixels that the box around the lips touches; computed likewise       |

Other audio encoders write float16 (T,C) under their own names (`dawn_bench.pipelines.extractors.base`).

A talking mesh has other fields: `vertices` float32 (T,V,3), `template` float32 (1,V,3), the face at rest, and
optionally `lips`, `upper` int32 (1,n), vertex numbers, and `triangles` int32 (1,F,3); its `fps` may be 30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from dawn_bench.errors import UnknownNameError, did_you_mean
from dawn_bench.extractor_record import Extracted
from dawn_bench.masks import MASKS, ClipMask
from dawn_bench.text import counted

FPS = 25
SAMPLE_RATE = 16_000
#: Largest side of cached frames in pixels: a damaged or hostile cache must not ask for all memory.
LARGEST = 1024
#: Sound samples that belong to one frame.
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
#: Digits after the point of a number of frames: floating point misses a whole number by less than this.
_FRAME_DIGITS = 6
#: Keys of `Clip.meta` of a piece of a clip: that clip's id and length, and the number of the piece's first frame in it.
PIECE_OF, PIECE_OF_FRAMES, PIECE_START = "piece_of", "piece_of_frames", "piece_start"

#: Type and shape of stored fields: T frames, S pixels a side, None for any length. Other fields are of extractors.
FIELDS: dict[str, tuple[str, tuple[str | int | None, ...]]] = {
    "frames": ("uint8", ("T", "S", "S", 3)),
    "audio": ("int16", (None,)),
    "pose": ("float32", ("T", 7)),
    "blink": ("float32", ("T", 2)),
    "landmarks": ("float32", ("T", 68, 2)),
    "bbox": ("float32", ("T", 4)),
    "valid": ("bool", ("T",)),
    "face_mask": ("bool", ("T", "S", "S")),
    "lip_mask": ("bool", ("T", "S", "S")),
    "vertices": ("float32", ("T", None, 3)),
    "template": ("float32", (1, None, 3)),
    "lips": ("int32", (1, None)),
    "upper": ("int32", (1, None)),
    "triangles": ("int32", (1, None, 3)),
}


def whole_frames(length: float, rate: float = 1, *, fps: float = FPS) -> int:
    """The number of whole frames in `length` / `rate` seconds: 1.16 s are 29, although 1.16 * 25 is 28.999999999999996.

    `length` is in units of which `rate` are a second: samples, steps, frames of another rate; seconds by default.
    """
    return int(round(length * fps / rate, _FRAME_DIGITS))


def field_fault(field: str, array: np.ndarray, *, n_frames: int, size: int) -> str | None:
    """What in the type or shape of a stored field differs from `FIELDS`; None where it fits, or is an extractor's own.

    `n_frames` and `size` (pixels) are those of the clip and its cache.
    """
    if field not in FIELDS:
        return None
    dtype, shape = FIELDS[field]
    sides: dict[str | int | None, int] = {"T": n_frames, "S": size}
    expected = tuple(sides.get(side, side) for side in shape)
    fits = len(expected) == array.ndim and all(e in (None, n) for e, n in zip(expected, array.shape, strict=True))
    if fits and str(array.dtype) == dtype:
        return None
    wanted = ",".join("n" if side is None else str(side) for side in expected)
    return f"is {array.dtype} ({','.join(map(str, array.shape))}), not {dtype} ({wanted})"


class LazyArrays(Mapping[str, np.ndarray]):
    """Named arrays, each read on first access by `read(name)`; `names` are the known names."""

    def __init__(self, names: Iterable[str], read: Callable[[str], np.ndarray]) -> None:
        self._names, self._read = tuple(names), read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it, as Mapping would

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, repr=False)
class Clip:
    """A clip: speaker, split, length, and named arrays, which are lazy and memory-mapped when it comes from a cache.

    `notes` are sentences for the reader of its scores on what was changed in generating or reading it. `extractors`
    are as in `Cache.extractors`; empty for a clip of no cache.
    """

    id: str
    speaker: str
    split: str
    n_frames: int
    arrays: Mapping[str, np.ndarray]
    fps: int = FPS
    meta: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    extractors: Mapping[str, Extracted] = field(default_factory=dict)

    def __repr__(self) -> str:
        frames = f"{counted(self.n_frames, 'frame')} at {self.fps} fps"
        return f"Clip({self.id!r}: speaker {self.speaker}, split {self.split}, {frames}; {', '.join(self.fields)})"

    def __getitem__(self, name: str) -> np.ndarray:
        """The stored array called `name`, else a mask, which is computed for the frames that are read.

        Raises `UnknownNameError` (a `KeyError`) with the nearest names and all fields of the clip.
        """
        if name in self.arrays:
            return self.arrays[name]
        if name in self:
            source = MASKS[name][0]
            return cast(np.ndarray, ClipMask(name, self.arrays[source], self.arrays["frames"].shape[1]))
        raise UnknownNameError(
            f"clip {self.id} has no {name!r}; it has {', '.join(self.fields)}.", hint=did_you_mean(name, self.fields)
        )

    def __contains__(self, name: object) -> bool:
        """Whether `clip[name]` is available: a stored array, or a mask that can be computed."""
        return name in self.arrays or (name in MASKS and {MASKS[str(name)][0], "frames"} <= set(self.arrays))

    @property
    def fields(self) -> list[str]:
        """All names that `clip[name]` accepts, in alphabetical order: `arrays`, and masks that can be computed."""
        return sorted({*self.arrays, *(name for name in MASKS if name in self)})

    @property
    def whole_id(self) -> str:
        """Id of the clip that this one is a piece of; its own id where it is whole."""
        return str(self.meta.get(PIECE_OF) or self.id)

    @property
    def whole_frames(self) -> int:
        """Number of frames of the clip that this one is a piece of; its own where it is whole."""
        return int(self.meta.get(PIECE_OF_FRAMES) or self.n_frames)

    @property
    def first_frame(self) -> int:
        """Number of its first frame in that clip; 0 where it is whole."""
        return int(self.meta.get(PIECE_START) or 0)

    @property
    def seconds(self) -> float:
        """Length of the frames in seconds."""
        return self.n_frames / self.fps
