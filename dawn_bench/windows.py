"""Windows of a cache's clips as a PyTorch dataset, for your own training loop.

F frames, S pixels a side, A audio features. One convention for tensors from the cache to the loss:

| field                      | tensor                | |
| -------------------------- | --------------------- | --- |
| `frames`                   | uint8 (F,3,S,S)       | RGB, 0–255 |
| `audio`                    | int16 (n,)            | 16 kHz, from the first to the last frame |
| `logmel`, `hubert`, ...    | float32 (F,A)         | audio features |
| `pose`                     | float32 (F,7)         | yaw, pitch, roll in degrees, scale, tx, ty, tz in 3DDFA's crop |
| `blink`                    | float32 (F,2)         | left, right eye aspect ratio |
| `landmarks`                | float32 (F,68,2)      | x, y in pixels of the cached frame |
| `bbox`                     | float32 (F,4)         | x0, y0, x1, y1 in pixels of the cached frame |
| `face_mask`, `lip_mask`    | bool (F,S,S)          | pixels of the face and of the lips |
| `valid`                    | bool (F,)             | False where the face was interpolated |
| `vertices`                 | float32 (F,V,3)       | meshes |
| `template`, `lips`, ...    | (1,...)               | arrays of a whole clip, unchanged |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from dawn_bench.cache import Cache
from dawn_bench.clip import SAMPLE_RATE, Clip
from dawn_bench.errors import InputError
from dawn_bench.text import counted


def _counts(value: object) -> bool:
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


class Windows(Dataset[dict[str, Any]]):
    """Windows of `frames` frames from the usable clips of one split, every `stride`-th frame of a clip.

    An item is a dict with one tensor per field (see the module's table), `clip`, the clip's id, and `start`, the
    window's first frame. Windows of a clip start `step` frames apart (default: no overlap), in index order. With a
    `seed` the starts are random instead: clips and number of windows stay the same, and each start is uniform over the
    clip, a pure function of (seed, epoch, index); call `set_epoch` before each epoch.

    Arrays are memory-mapped in the process that reads them. Copies in worker processes, forked or spawned, open their
    own files, so `DataLoader(windows, num_workers=4)` works with every start method.

    `left_out` maps each clip of the split without a window to the reason: it is too short, or it lacks a field.

    Args:
        cache: the opened cache.
        frames: frames per window, at least 1.
        fields: names of stored fields, or `face_mask` or `lip_mask`.
        split: `train`, `val`, `test`, ...; None for all clips.
        stride: 2 takes every second frame, so a window spans `(frames - 1) * stride + 1` frames of the clip.
        step: frames between the starts of two windows; default: the span, without overlap.
        seed: draw starts at random instead.

    Raises:
        UnknownNameError: a field or split that the cache does not have, with the nearest names.
        InputError: no clip gives a window.

    >>> from torch.utils.data import DataLoader
    >>> windows = open_cache("my-cache").windows(frames=8, fields=("frames", "logmel", "pose"), seed=0)
    >>> batch = next(iter(DataLoader(windows, batch_size=2, num_workers=2)))
    >>> batch["frames"].shape, batch["logmel"].shape, batch["pose"].shape
    (torch.Size([2, 8, 3, 32, 32]), torch.Size([2, 8, 80]), torch.Size([2, 8, 7]))
    """

    def __init__(
        self,
        cache: Cache,
        *,
        frames: int = 40,
        fields: Sequence[str] = ("frames",),
        split: str | None = "train",
        stride: int = 1,
        step: int | None = None,
        seed: int | None = None,
    ) -> None:
        for name, value in (("frames", frames), ("stride", stride), ("step", 1 if step is None else step)):
            if not _counts(value):
                raise InputError(f"{name}={value!r} is not a whole number of at least 1.")
        self.span = (frames - 1) * stride + 1
        step = self.span if step is None else step
        self.cache, self.frames, self.stride, self.seed, self.epoch = cache, frames, stride, seed, 0
        self.split = split
        self.fields = (fields,) if isinstance(fields, str) else tuple(fields)
        cache.check_fields(self.fields)
        self.left_out: dict[str, str] = {}
        rows = cache.usable(split)
        ids, frames_of = cache.ids_of(rows), cache.lengths[rows]
        present = np.stack([cache.clips_with(name)[rows] for name in self.fields], axis=1)
        usable = present.all(axis=1) & (frames_of >= self.span)
        for row in np.flatnonzero(~usable).tolist():
            missing = [name for name, has in zip(self.fields, present[row], strict=True) if not has]
            self.left_out[ids[row].as_py()] = f"no {missing[0]}" if missing else counted(frames_of[row], "frame")
        self._ids = ids.filter(pa.array(usable))
        counts = (frames_of[usable] - self.span) // step + 1
        numbers = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
        firsts = np.stack([numbers, nth * step], axis=1)
        if not len(firsts):
            reasons = ", ".join(f"{clip}: {reason}" for clip, reason in list(self.left_out.items())[:3])
            raise InputError(
                f"no clip gives a window of {counted(self.span, 'frame')} with {', '.join(self.fields)} "
                f"({reasons or 'no clip'}).",
                path=cache.root,
                hint="Ask for fewer frames, other fields or another split.",
            )
        #: Per item the clip's number in `_ids` and the first frame: an array, cheap to copy to workers.
        self._firsts = firsts.astype(np.int64)

    def __repr__(self) -> str:
        split = f"split {self.split}" if self.split is not None else "all splits"
        windows = f"{counted(len(self), 'window')} of {counted(self.frames, 'frame')}, stride {self.stride}"
        clips, fields = counted(len(self._ids), "clip"), ", ".join(self.fields)
        return f"Windows({str(self.cache.root)!r}, {split}: {windows}, from {clips}; {fields})"

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no window {index}; there are {len(self)}")
        index %= len(self)
        number, start = self._firsts[index].tolist()
        clip = self.cache[self._ids[number].as_py()]
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            start = int(rng.integers(clip.n_frames - self.span + 1))
        return {name: self._tensor(clip, name, start) for name in self.fields} | {"clip": clip.id, "start": start}

    def set_epoch(self, epoch: int) -> None:
        """Draw other starts from now on (only with a `seed`). Persistent workers keep the epoch they began with."""
        self.epoch = epoch

    def _tensor(self, clip: Clip, name: str, start: int) -> torch.Tensor:
        span = slice(start, start + self.span, self.stride)
        array = clip[name]
        if name == "audio":
            first, count = (round(k * SAMPLE_RATE / clip.fps) for k in (start, self.span))
            sound = array[first : first + count]
            return torch.from_numpy(np.pad(sound, (0, count - len(sound))))
        if len(array) != clip.n_frames:  # an array of the whole clip, such as the neutral face of a mesh
            return torch.from_numpy(np.array(array))
        values = array[span]
        if name == "frames":
            values = np.moveaxis(values, -1, 1)
        kind = np.float32 if values.dtype.kind == "f" else values.dtype
        return torch.from_numpy(np.array(values, dtype=kind, order="C"))
