"""The jobs of `prepare`, `train`, `quickstart`, `download` and `report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dawn_bench.files import user_path
from dawn_bench.job import Device, Flag, Job, OnAddress, OnEngine
from dawn_bench.names import check_name
from dawn_bench.pipelines.settings import PrepareSettings, recipe_settings


class _Folders(Job):
    """The first two flags of `prepare`."""

    root: Path = Field(description="Folder with the videos or meshes.")
    cache: Path | None = Field(None, description="Folder of the cache. An existing cache is continued.")


class Preparation(PrepareSettings, _Folders):
    """Settings of a preparation: those of the cache, and of the workers."""

    name: str | None = Field(
        None, description="What reports call the dataset. Default: as before, else the name of the cache's folder."
    )
    jobs: int | None = Field(
        None,
        ge=1,
        description="Number of worker processes. Default: number of cores; with --devices one per device, which is the "
        "minimum.",
    )
    engine: OnEngine = "loky"
    address: OnAddress = None
    device: Device = Field(
        "auto", description="Device of the networks: auto (every GPU of a worker's machine, else its CPU), cpu, cuda:1."
    )
    devices: tuple[str, ...] = Field(
        (), description="Spread the workers over these devices: cuda:0,cuda:1, or all for every GPU."
    )
    overwrite: bool = Field(False, description="Replace an existing cache.")
    list_missing: bool = Field(False, description="Only list the published clips that are missing, with the reason.")
    strict: bool = Field(False, description="Exit with code 3 when a clip could not be used.")

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings of the recipe that `like` names."""
        return recipe_settings(given.get("like"))

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        return None if name is None else check_name(name, what="the dataset's name")

    @field_validator("labels")
    @classmethod
    def _absolute(cls, labels: Path | None) -> Path | None:
        return None if labels is None else user_path(labels).resolve()

    @property
    def settings(self) -> PrepareSettings:
        """The settings of the cache alone."""
        return PrepareSettings(**{name: getattr(self, name) for name in PrepareSettings.model_fields})


def _models() -> Iterable[str]:
    from dawn_bench.models.spec import MODELS

    return MODELS


def _default_model() -> str:
    from dawn_bench.models.spec import default_model

    return default_model()


def _formats() -> Iterable[str]:
    from dawn_bench.reports.page import FORMATS

    return FORMATS


class Training(Job):
    """Settings of a training. The hyperparameters are a separate configuration, from the preset."""

    cache: Path = Field(description="Cache written by `dawn-bench prepare`.")
    out: Path = Field(description="Run folder. Each stage has a sub-folder.")
    model: Annotated[str, Flag(choices=_models)] = Field(default_factory=_default_model, description="Model to train.")
    stage: tuple[str, ...] = Field(("all",), description="Stages of the model, or all. Repeatable.")
    preset: str = Field("tiny", description="Preset of the model, or PRESET+VARIANT.")
    resume: bool = Field(False, description="Continue a run that was stopped.")
    seed: int = Field(0, description="Seed of weights, data order and noise.")
    device: Device = Field("auto", validate_default=True, description="auto, cpu or cuda.")
    track: Annotated[tuple[Literal["tensorboard", "wandb", "mlflow"], ...], Flag(off="--no-track")] = Field(
        ("tensorboard",),
        description="Services that show the training besides its own logs: tensorboard, wandb, mlflow.",
    )


class Quickstart(Job):
    """Settings of the whole benchmark on a small synthetic dataset."""

    out: Path = Field(description="Output folder.")
    preset: Literal["tiny", "small"] = Field("tiny", description="tiny: minutes; small: longer, both training stages.")
    jobs: int = Field(2, ge=1, description="Number of worker processes.")
    weights: Literal["auto", "fetch"] = Field(
        "auto",
        description="fetch: first download the published networks, then show the paper's metrics too. auto: those "
        "metrics whose networks come with the installation.",
    )
    all_metrics: bool = Field(
        False, description="Also compute the paper's metrics with stand-in networks: tests that they run, no more."
    )
    seed: int = Field(0, description="Seed of the dataset and of training.")
    device: Device = Field("auto", validate_default=True, description="auto, cpu or cuda.")


class Download(Job):
    """Settings of a download: which videos of a published list."""

    root: Path = Field(description="Folder with the published lists, at any depth. The videos go to ROOT/raw.")
    dataset: str = Field("hdtf", description="hdtf: from its lists of YouTube addresses.")
    only: tuple[str, ...] = Field((), description="Only these talks: WDA_KatieHill. Repeatable.")
    cookies: Path | None = Field(None, description="Cookie file for videos that need a login.")


class Reporting(Job):
    """Settings of a report."""

    results: Annotated[Path, Flag(positional=True)] = Field(description="Results folder of `dawn-bench evaluate`.")
    out: Path | None = Field(None, description="Folder to write to. Default: RESULTS/report.")
    format: Annotated[tuple[str, ...] | None, Flag(choices=_formats)] = Field(
        None, description="Formats to write, separated by commas. Default: all."
    )
    clips: int = Field(3, ge=0, description="Clips in the gallery.")
    published: Annotated[tuple[int, ...], Flag(off="--no-published")] = Field(
        (1,),
        description="Tables of the DAWN paper that are shown, unranked, below ours; 6, a user study, alone.",
    )
