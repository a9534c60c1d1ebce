"""The contract of datasets, and a source: one clip as stored on disk, before anything is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dawn_bench.errors import InputError
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.registry import Registry


@dataclass(frozen=True, slots=True)
class Source:
    """One clip to prepare: a video file (or a stretch of one) and where its sound is.

    `start` and `stop` are seconds within the file (None: to the end); `crop` is x, y, width, height in source pixels;
    `problem` is (reason, detail) where the dataset already knows that the clip is broken. `cropped` says that a square
    picture of it is the dataset's own crop of the face, which `--crop auto` takes whole.
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
    cropped: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)


class Dataset(ABC):
    """Lists the clips of a dataset from its layout on disk, in a fixed order and without decoding anything."""

    name: ClassVar[str]
    #: Whether `sources` reads the table of `--labels`; for other datasets the flag is refused.
    labelled: ClassVar[bool] = False

    @abstractmethod
    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """The clips below `root`, each id once. Raises `InputError` when the folder cannot be this dataset."""

    def missing(self, root: Path, settings: PrepareSettings) -> list[tuple[str, str, str]]:
        """(id, reason, detail) of every clip of the published list that is not among the sources.

        Raises `InputError` for a dataset without a published list, unless it overrides this.
        """
        raise InputError(f"the dataset called {self.name!r} has no published list of clips.")


#: Dataset classes by name; one file each in `pipelines/datasets/`.
DATASETS: Registry[type[Dataset]] = Registry(
    "dataset", group="dawn_bench.dataset", package="dawn_bench.pipelines.datasets", base=Dataset, has=("name",)
)


def dataset_of(settings: PrepareSettings) -> Dataset:
    """The dataset of the settings; raises `InputError` where they give a table of labels that it does not read."""
    dataset = DATASETS[settings.dataset]()
    if settings.labels is not None and not dataset.labelled:
        raise InputError(f"--labels is not read by --dataset {settings.dataset}.", hint="Leave one of them out.")
    return dataset
