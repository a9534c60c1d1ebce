"""The noun of the whole suite: a clip, and what its arrays mean.

T frames, S pixels a side, n sound samples. First axis is time everywhere.

| field      | dtype, shape        | meaning                                                                  |
| ---------- | ------------------- | ------------------------------------------------------------------------ |
| frames     | uint8 (T,S,S,3)     | RGB, 0–255, 25 fps                                                       |
| audio      | int16 (n,)          | 16 kHz mono, sample 0 at the instant of frame 0                          |
| hubert     | float16 (T,1024)    | HuBERT-large last hidden state at 25 fps                                 |
| wav2vec2   | float16 (T,768)     | Wav2Vec2-base last hidden state at 25 fps (DiT-Head)                     |
| logmel     | float16 (T,80)      | log mel energies, the offline stand-in for an audio encoder              |
| pose       | float32 (T,7)       | yaw, pitch, roll in degrees, scale, tx, ty, tz                           |
| blink      | float32 (T,2)       | left, right eye aspect ratio                                             |
| landmarks  | float32 (T,68,2)    | x, y in pixels of the cached frame, iBUG order                           |
| bbox       | float32 (T,4)       | face box x0, y0, x1, y1 in pixels of the cached frame                    |
| valid      | bool (T,)           | False where the face was interpolated over a gap                         |

Other audio encoders write float16 (T,C) under their own names (`dawn_bench.pipelines.extractors.base`).

A talking mesh has other fields: `vertices` float32 (T,V,3), `template` float32 (1,V,3), the face at rest, and maybe
`lips`, `upper` int32 (1,n), vertex numbers, and `triangles` int32 (1,F,3); its `fps` may be 30.

`face_mask` and `lip_mask` (T,S,S) bool are computed from `bbox` and `landmarks` (`dawn_bench.masks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from dawn_bench.errors import UnknownNameError, nearest

FPS = 25
SAMPLE_RATE = 16_000
#: Sound samples that belong to one frame.
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS


class LazyArrays(Mapping[str, np.ndarray]):
    """Named arrays of which each is read when it is asked for, by `read(name)` for a name among `names`."""

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


@dataclass(frozen=True)
class Clip:
    """One clip: who, which split, how long, and its named arrays (lazy and memory-mapped when from a cache).

    `notes` are sentences for the reader of its scores: what generating or reading it changed.
    """

    id: str
    speaker: str
    split: str
    n_frames: int
    arrays: Mapping[str, np.ndarray]
    fps: int = FPS
    meta: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        """The array called `name`; raises `UnknownNameError` (a `KeyError`) with the clip's names and the nearest."""
        try:
            return self.arrays[name]
        except KeyError:
            names = ", ".join(sorted(self.arrays))
            near = nearest(name, self.arrays) if get_close_matches(name, self.arrays) else ""
            raise UnknownNameError(f"clip {self.id} has no {name!r}; it has {names}.", hint=near) from None

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def seconds(self) -> float:
        """Length of the picture in seconds."""
        return self.n_frames / self.fps
