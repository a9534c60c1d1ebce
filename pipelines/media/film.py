"""Frames of a video file as an array: at once where they are few, else decoded whenever they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.lazy import LazyRows
from dawn_bench.pipelines.media.picture import Picture
from dawn_bench.pipelines.media.video import iter_pictures

#: Bytes of frames up to which all are read at once: 27 s of 256 px.
AT_ONCE = 2**27
#: Frames that are decoded to reach a later one; a place further on is looked up in the file.
_DECODED = 10 * FPS


class FileFrames(LazyRows):
    """Frames uint8 (T,H,W,3) at 25 a second of a video file, decoded when they are read.

    Frames in ascending order are decoded once; going back begins again. `begin` is the frame of the file that is the
    first one here, `stamps` the time stamps of the frames from there on, `row` the shape of one; the last one is
    repeated `held` times. `keeps` is an object that the file needs. Where a seek leads to a frame of another stamp or
    shape, the file is decoded from its first one. Reading raises `ItemError("unreadable")`.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        path: Path,
        *,
        begin: int,
        stamps: Sequence[int | None],
        row: Sequence[int],
        held: int = 0,
        keeps: Any = None,
    ) -> None:
        self.path, self.begin, self.stamps, self.keeps = path, begin, stamps, keeps
        self.shape = (len(stamps) + held, *row)
        self._pictures: Iterator[Picture] = iter(())
        self._next = -_DECODED  # number of the next of these pictures

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        rows = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        number, frame = -1, rows[:0]
        for place, wanted in enumerate(min(k, len(self.stamps) - 1) for k in numbers):
            if wanted != number:
                number, frame = wanted, self._frame(wanted)
            rows[place] = frame
        return rows

    def _frame(self, number: int) -> np.ndarray:
        if 0 <= number - self._next < _DECODED:
            picture = self._after(number)
        else:
            picture = self._from(number, number) or self._from(0, number)
        if picture is None:
            raise ItemError("unreadable", f"{self.path.name}: has changed while it was read")
        return picture.rgb()

    def _from(self, first: int, number: int) -> Picture | None:
        self._pictures, self._next = iter_pictures(self.path, start=(self.begin + first) / FPS), first
        return self._after(number)

    def _after(self, number: int) -> Picture | None:
        """The picture at this place among those that follow, None where it is another one than it was."""
        picture = next(islice(self._pictures, number - self._next, None), None)
        self._next = number + 1
        if picture is None or picture.stamp != self.stamps[number]:
            return None
        return picture if (picture.height, picture.width) == self.shape[1:3] else None


def read_film(path: Path, *, begin: int = 0, most: int | None = None, keeps: Any = None) -> np.ndarray:
    """The frames uint8 (T,H,W,3) of a file from frame `begin` on at 25 a second, or the first `most` of them.

    An array where they have up to `AT_ONCE` bytes, else `FileFrames`; either way the whole file was decoded once.
    `keeps` is as there. Raises `ItemError("unreadable")` as `iter_frames` does, and for a file without a frame.
    """
    rows, row, stamps, n_bytes = list[np.ndarray](), (0, 0, 3), list[int | None](), 0
    for picture in islice(iter_pictures(path, start=begin / FPS), most):
        stamps.append(picture.stamp)
        if n_bytes <= AT_ONCE:
            frame = picture.rgb()
            row, n_bytes = frame.shape, n_bytes + frame.nbytes
            rows.append(frame)
        elif rows:
            rows.clear()
    if not stamps:
        where = f"has no frame from {begin / FPS:g} s on" if begin else "is shorter than one frame"
        raise ItemError("unreadable", f"{path.name}: {where}")
    if n_bytes <= AT_ONCE:
        return np.stack(rows)
    return cast(np.ndarray, FileFrames(path, begin=begin, stamps=stamps, row=row, keeps=keeps))


def still_at_the_end(frames: np.ndarray, count: int) -> np.ndarray:
    """The frames of `read_film` with the last one repeated `count` times."""
    lazy: Any = frames
    if not isinstance(lazy, FileFrames):
        return np.concatenate([frames, np.repeat(frames[-1:], count, axis=0)])
    row, stamps = lazy.shape[1:], lazy.stamps
    longer = FileFrames(lazy.path, begin=lazy.begin, stamps=stamps, row=row, held=count, keeps=lazy.keeps)
    return cast(np.ndarray, longer)
