"""A frame of a cached clip once more from its source video, at another size: for methods that work at more pixels.

The picture is the one that the cached frame was made of, read by the same reader and cut by the same window. It is
compared with the cached frame at the cache's size, so that a file, a time or a crop that is not the cache's is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import ItemError
from dawn_bench.names import name_fault
from dawn_bench.pipelines.media.picture import Window
from dawn_bench.pipelines.media.video import iter_pictures
from dawn_bench.pipelines.preparation.origin import DATASET_CROP, file_hash

#: Grey levels by which the frame may differ from the cached one in the mean: one is what two scalers round, as of
#: another version of FFmpeg or another decoder.
_SAME = 3.0
NO_SOURCE = "no_source"


def source_hash(clip: Clip) -> str:
    """The sha256 of the source video of a cached clip, as the index states it; empty where it does not."""
    known = clip.meta.get("source_sha256")
    return known if isinstance(known, str) and name_fault(known) is None else ""


def source_frame(clip: Clip, number: int = 0, *, size: int | None = None) -> np.ndarray:
    """Frame `number` of a clip, or of a piece of one, from its source video: uint8 RGB (size,size,3).

    Without `size` it has the resolution of the source: the longer side of the window that the cached frame is from.

    Raises `ItemError("no_source")` saying why it cannot be had: the video is not there, is another one than the cache
    was prepared from, or does not give the cached frame.
    """
    meta, cached = clip.meta, np.asarray(clip["frames"][number])
    path, window = _video(clip), _window(meta)
    start = (_number(meta, "start") or 0.0) + (clip.first_frame + number) / FPS
    try:
        picture = next(iter_pictures(path, start=start), None)
    except ItemError as error:
        raise ItemError(NO_SOURCE, f"the source video cannot be read ({error.detail})") from error
    if picture is not None and (area := _dataset_crop(meta)) is not None:
        picture = picture.within(area)
    x, y, width, height = window
    if picture is None or min(x, y) < 0 or x + width > picture.width or y + height > picture.height:
        raise ItemError(NO_SOURCE, "the source video has no picture where the cached frame is from")
    again = picture.cut(window, cached.shape[0])
    if np.abs(again.astype(np.int16) - cached).mean() > _SAME:
        raise ItemError(NO_SOURCE, "the source video gives another picture than the cached frame")
    return picture.cut(window, size or max(width, height))


def _video(clip: Clip) -> Path:
    """The source video, unchanged."""
    root, name, known = clip.meta.get("source_root"), clip.meta.get("source"), source_hash(clip)
    if not (isinstance(root, str) and isinstance(name, str) and root and name and known):
        raise ItemError(NO_SOURCE, "the cache does not name the source video")
    path = Path(root) / name
    digest = file_hash(path)
    if not digest:
        raise ItemError(NO_SOURCE, "the source video is not there")
    if digest != known:
        raise ItemError(NO_SOURCE, "the source video has changed since the cache was prepared")
    return path


def _window(meta: Mapping[str, Any]) -> Window:
    """The window of the cached frames in the source picture, or in the dataset's crop of it."""
    x, y, width, height = (_number(meta, f"crop_{name}") for name in ("x", "y", "width", "height"))
    if x is None or y is None or not width or not height:
        raise ItemError(NO_SOURCE, "the cache does not state its crop")
    return int(x), int(y), int(width), int(height)


def _dataset_crop(meta: Mapping[str, Any]) -> Window | None:
    """The dataset's own crop, None without one; caches of earlier versions do not record it."""
    stated = meta.get(DATASET_CROP)
    parts = stated.split() if isinstance(stated, str) else []
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        return None
    x, y, width, height = map(int, parts)
    return x, y, width, height


def _number(meta: Mapping[str, Any], name: str) -> float | None:
    """A finite number of the index; None for other values, such as the NaN of an empty cell."""
    value = meta.get(name)
    return float(value) if isinstance(value, int | float | np.number) and np.isfinite(value) else None
