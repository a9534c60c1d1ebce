"""The job of `dawn-bench evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dawn_bench.errors import InputError
from dawn_bench.job import Device, Flag, Job, OnAddress, OnEngine, OwnWorkers, WorkerCount
from dawn_bench.metrics.protocols.base import MIN_PIECE_LENGTH, PROTOCOLS, protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.listing import metric_names
from dawn_bench.weights import Policy


class Evaluation(Job):
    """Settings of an evaluation."""

    cache: Path = Field(description="Cache with the true clips.")
    out: Path = Field(description="Results folder. Further runs add to it.")
    methods: Annotated[tuple[str, ...], Flag("--method")] = Field(
        ("dawn",), description="Methods to score, separated by commas; `dawn-bench methods` lists them. Or your own."
    )
    checkpoint: Path | None = Field(None, description="Run folder of the trained models.")
    outputs: Path | None = Field(
        None, description="Folder with the outputs of your own method: mp4 files (npy for meshes) named like the clips."
    )
    mapping: Path | None = Field(None, description="CSV with columns clip,file, for files named differently.")
    naming: str = Field("{clip}", description="Name pattern of the files in --outputs; * matches anything.")
    method_class: Literal["portrait", "dub", "static-lips"] | None = Field(
        None,
        description="Class of --outputs: portrait, dub or static-lips (the head moves, the lips do not). "
        "Each class has its own table.",
    )
    installs: Annotated[Path | None, Flag(old=("--methods", "methods_file"))] = Field(
        None, description="YAML file with the locations of external methods."
    )
    min_coverage: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Minimum share of clips that a method must solve to be ranked, and of a clip's frames to solve it.",
    )
    split: str = Field("test", description="Split of the cache that is scored.")
    metrics: Annotated[tuple[str, ...] | None, Flag(choices=METRICS)] = Field(
        None,
        description="Metrics, separated by commas, by name or by label (LSE-C). Default: the protocol's that apply.",
    )
    max_clips: int | None = Field(None, ge=1, description="Score only the first clips of the split.")
    protocol: Annotated[str, Flag(choices=PROTOCOLS)] = Field("paper-dawn", description="Protocol of the metrics.")
    protocol_set: Annotated[tuple[str, ...], Flag(commas=False)] = Field(
        (), description="Change one field of the protocol: fid_resize=clean. Repeatable."
    )
    piece_length: int | Literal["whole"] | None = Field(
        None,
        description="Frames of the pieces in which clips are generated and scored, or whole. Default: 200 for hdtf, "
        "whole clips for other datasets.",
    )
    weights: Policy = Field(
        "auto",
        description="auto: leave out metrics whose files are absent; files: refuse to start; seeded: only stand-ins, "
        "which are fixed random networks.",
    )
    options: Annotated[Mapping[str, Any], Flag("--option")] = Field(
        default_factory=dict, description="Option of the methods: steps=10, drive=truth. Repeatable."
    )
    pass_seconds: float | Literal["none"] | None = Field(
        None,
        description="Longest pass in seconds; longer speech is generated in several passes. none: one pass, as in "
        "DAWN's paper (default).",
    )
    sanity: bool = Field(
        True, description="Score the sanity rows too: true clips, a still portrait and shuffled sound."
    )
    strict: bool = Field(False, description="Exit with code 3 when a clip failed.")
    seed: int = Field(0, description="Seed of the generation.")
    device: Device = Field("auto", validate_default=True, description="auto, cpu or cuda.")
    notes: Annotated[tuple[str, ...], Flag("--note", commas=False)] = Field(
        (), description="Note for the top of the report. Repeatable."
    )
    jobs: WorkerCount = None
    engine: OnEngine = "loky"
    address: OnAddress = None
    devices: OwnWorkers = ()
    only_fill: bool = Field(False, description="Only generate and compute what metrics need; score with --fold.")
    part: str | None = Field(None, description="Only one part of that: 2/8 is the second of eight. For job arrays.")
    fold: bool = Field(False, description="Only score what --only-fill or every --part has left.")

    @field_validator("protocol")
    @classmethod
    def _protocol(cls, name: str) -> str:
        return protocol(name).id

    @field_validator("piece_length", mode="before")
    @classmethod
    def _frames(cls, length: Any) -> Any:
        if length is None or str(length).strip().lower() == "whole":
            return None if length is None else "whole"
        if isinstance(length, bool) or not str(length).strip().isdecimal() or int(str(length)) < MIN_PIECE_LENGTH:
            raise InputError(f"{length!r} is no length of pieces.", hint="Give frames, such as 200, or whole.")
        return int(str(length))

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        """Refuse a setting that is given in two places, of which one would be left out in silence."""
        fields = [text.partition("=")[0].strip() for text in self.protocol_set]
        if self.piece_length is not None and "piece_length" in fields:
            what = "the length of pieces is given twice, by --piece-length and by --protocol-set piece_length."
            raise InputError(what, hint="Give one of them.")
        if twice := [name for name in fields if fields.count(name) > 1]:
            raise InputError(f"--protocol-set {twice[0]} is given twice.", hint="Give it once.")
        if self.pass_seconds is not None and "pass_seconds" in self.options:
            what = "the longest pass is given twice, by --pass-seconds and by --option pass_seconds."
            raise InputError(what, hint="Give one of them.")
        return self

    @field_validator("part")
    @classmethod
    def _part(cls, part: str | None) -> str | None:
        if part is not None:
            number, _, of = part.partition("/")
            if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
                raise InputError(f"{part!r} is no part.", hint="Give number and count: 2/8 is the second of eight.")
        return part

    @property
    def fills_only(self) -> bool:
        """Whether nothing is scored."""
        return self.only_fill or self.part is not None

    @property
    def part_numbers(self) -> tuple[int, int]:
        """The number of the part that is done, from 1, and of how many."""
        number, of = (self.part or "1/1").split("/")
        return int(number), int(of)

    @property
    def protocol_changes(self) -> tuple[str, ...]:
        """Changes to the protocol, as `field=value`; `piece_length` is the last of them."""
        if self.piece_length is None:
            return self.protocol_set
        return (*self.protocol_set, f"piece_length={'null' if self.piece_length == 'whole' else self.piece_length}")

    @field_validator("metrics")
    @classmethod
    def _names(cls, metrics: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if metrics is None else metric_names(metrics)

    @property
    def method_options(self) -> dict[str, Any]:
        """The options of the methods that are given, by name."""
        passes = {} if self.pass_seconds is None else {"pass_seconds": self.pass_seconds}
        return passes | dict(self.options)
