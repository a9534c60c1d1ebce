"""A source: one clip as the user has it on disk, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.registry import Registry


@dataclass(frozen=True)
class Source:
    """One clip to prepare: a video file (or a stretch of one) and where its sound is.

    `start` and `stop` are seconds within the file (None: to the end); `crop` is x, y, width, height in source pixels;
    `problem` is (reason, detail) where the dataset already knows that the clip is broken.
    """

    id: str
    speaker: str
    split: str
    video: Path
    audio: Path | None = None  # None: the video's own sound
    start: float = 0.0
    stop: float | None = None
    crop: tuple[int, int, int, int] | None = None
    problem: tuple[str, str] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


#: A dataset is a function of (root, settings) that lists its sources in a fixed order; it decodes nothing.
Dataset = Callable[[Path, PrepareSettings], Iterable[Source]]

#: Datasets by name; one file each in `pipelines/datasets/`.
DATASETS: Registry[Dataset] = Registry("dataset", group="dawn_bench.dataset", package="dawn_bench.pipelines.datasets")

#: By dataset: (id, reason, detail) of every clip of the published list that is not among the sources.
MISSING: Registry[Callable[[Path, PrepareSettings], list[tuple[str, str, str]]]] = Registry(
    "dataset with a published list", group="dawn_bench.published_list", package="dawn_bench.pipelines.datasets"
)
