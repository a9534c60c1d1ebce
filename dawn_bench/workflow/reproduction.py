"""The job of `dawn-bench reproduce`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from dawn_bench.errors import InputError
from dawn_bench.job import Device, Flag, Job, OnAddress, OnEngine, OwnWorkers, WorkerCount
from dawn_bench.weights import Policy


class Reproduction(Job):
    """Settings of a reproduction. Without `checkpoint` the rows of DAWN do not run.

    `cache` and `checkpoint` are one path or several; `caches` and `checkpoints` are always tuples.
    """

    table: Annotated[int, Flag(positional=True)] = Field(
        description="table1, table2, table3, table4, table5, table7 or table8."
    )
    cache: Annotated[Path | tuple[Path, ...], Flag("--cache", commas=False)] = Field(
        description="Cache with the true clips. Repeatable: each dataset and frame size is a part of the table."
    )
    out: Path = Field(description="Results folder. Further runs add to it and reuse cached results.")
    checkpoint: Annotated[Path | tuple[Path, ...] | None, Flag("--checkpoint", commas=False)] = Field(
        None,
        description="Run folder of the trained models. Repeatable: each cache takes the run that fits it.",
    )
    variants: Annotated[Mapping[str, Path], Flag("--variant")] = Field(
        default_factory=dict,
        description="Run folder of an ablation (preset NAME+ABLATION): only-stage-1=RUN, only-stage-2=RUN, "
        "no-pbnet=RUN, ttr=RUN. Repeatable.",
    )
    split: str = Field("test", description="Split of the cache that is scored.")
    lengths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Flag("--length")] = Field(
        (), description="Inference lengths of table3 and table5, frames, separated by commas. Default: the paper's."
    )
    max_clips: int | None = Field(None, ge=1, description="Use only the first clips of the split.")
    options: Annotated[Mapping[str, Any], Flag("--option")] = Field(
        default_factory=dict, description="Sampling option of the rows of DAWN: steps=10. Repeatable."
    )
    installs: Annotated[Path | None, Flag(old=("--methods", "methods_file"))] = Field(
        None, description="YAML file with the locations of external methods."
    )
    weights: Policy = Field(
        "auto",
        description="auto: leave out metrics whose files are absent; files: refuse to start; seeded: only stand-ins.",
    )
    seed: int = Field(0, description="Seed of the generation.")
    device: Device = Field("auto", validate_default=True, description="auto, cpu or cuda.")
    jobs: WorkerCount = None
    engine: OnEngine = "loky"
    address: OnAddress = None
    devices: OwnWorkers = ()

    @property
    def caches(self) -> tuple[Path, ...]:
        """All given caches."""
        return self.cache if isinstance(self.cache, tuple) else (self.cache,)

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """All given runs; none where the rows of DAWN do not run."""
        if self.checkpoint is None:
            return ()
        return self.checkpoint if isinstance(self.checkpoint, tuple) else (self.checkpoint,)

    @field_validator("cache", "checkpoint", mode="before")
    @classmethod
    def _one(cls, given: Any) -> Any:
        """A list of one entry is that entry."""
        return given[0] if isinstance(given, list | tuple) and len(given) == 1 else given

    @field_validator("lengths")
    @classmethod
    def _distinct(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(lengths))

    @field_validator("table", mode="before")
    @classmethod
    def _number(cls, table: Any) -> Any:
        """Accept `table3` and `3`."""
        if not isinstance(table, str):
            return table
        number = table.lower().removeprefix("table").strip()
        if not number.isdecimal():
            raise InputError(f"{table!r} names no table.", hint="Example: table1")
        return int(number)
