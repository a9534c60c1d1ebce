"""The job of `dawn-bench reproduce`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from dawn_bench.errors import InputError
from dawn_bench.job import Device, Flag, Job
from dawn_bench.weights import Policy


class Reproduction(Job):
    """Settings of a reproduction. Without `checkpoint` the rows of DAWN do not run."""

    table: Annotated[int, Flag(positional=True)] = Field(
        description="table1, table2, table3, table4, table5, table7 or table8."
    )
    cache: Path = Field(description="Cache with the true clips.")
    out: Path = Field(description="Results folder. Further runs add to it and reuse cached results.")
    checkpoint: Path | None = Field(None, description="Run folder of the trained models.")
    variants: Annotated[Mapping[str, Path], Flag("--variant")] = Field(
        default_factory=dict,
        description="Run folder of an ablation (preset NAME+ABLATION): only-stage-1=RUN, only-stage-2=RUN, "
        "no-pbnet=RUN, ttr=RUN. Repeatable.",
    )
    split: str = Field("test", description="Split of the cache that is scored.")
    max_clips: int | None = Field(None, ge=1, description="Use only the first clips of the split.")
    options: Annotated[Mapping[str, Any], Flag("--option")] = Field(
        default_factory=dict, description="Sampling option of the rows of DAWN: steps=10. Repeatable."
    )
    installs: Annotated[Path | None, Flag(old=("--methods", "methods_file"))] = Field(
        None, description="YAML file with the locations of external methods."
    )
    weights: Policy = Field(
        "auto", description="auto; files: refuse stand-in networks; seeded: use only stand-in networks."
    )
    seed: int = Field(0, description="Seed of the generation.")
    device: Device = Field("auto", validate_default=True, description="auto, cpu or cuda.")

    @field_validator("table", mode="before")
    @classmethod
    def _number(cls, table: Any) -> Any:
        """Accept `table3` and `3`."""
        if not isinstance(table, str):
            return table
        number = table.lower().removeprefix("table").strip()
        if not number.isdigit():
            raise InputError(f"{table!r} names no table.", hint="Example: table1")
        return int(number)
