"""Options of DAWN's sampler and generator."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dawn_bench.clip import FPS
from dawn_bench.config import Config, UserPath
from dawn_bench.errors import InputError, nearest
from dawn_bench.models.diffusion.solvers import SolverName
from dawn_bench.models.inputs import PERSON, Crop, checked_person

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

#: Seconds of a pass of `generate`, and the least that an option may ask for: twice what neighbouring passes share.
PASS_SECONDS, SHORTEST_PASS = 60.0, 4.0


def _none(value: Any) -> Any:
    """`none`, as it is written on the command line, as None."""
    return None if isinstance(value, str) and value.lower() == "none" else value


#: Longest part of the speech that is one diffusion sample, seconds; None: all of it is one.
PassSeconds = Annotated[
    Annotated[float, Field(ge=SHORTEST_PASS, allow_inf_nan=False)] | None,
    BeforeValidator(_none),
]


class SamplingOptions(Config):
    """Options of the diffusion sampler; the defaults are those of the release."""

    steps: int = Field(20, ge=1, le=999)
    eta: float = Field(1.0, ge=0, le=1, description="stochasticity of `ddim`: 0 none, 1 as released")
    cond_scale: float = Field(1.0, ge=0, allow_inf_nan=False, description="scale of classifier-free guidance; 1 none")
    solver: SolverName = "ddim"
    window: int | None = Field(
        None, ge=1, description="frames attended to in each direction; None: as in the checkpoint"
    )
    precision: Precision = Field(
        "fp32",
        description="precision of convolutions and matrix products: fp32 is exact; tf32, bf16 and fp16 are for GPUs",
    )
    compile: bool = Field(False, description="compile the U-Net; pays off on a GPU for several clips of like length")


class PassOptions(SamplingOptions):
    """Sampling options of the strategy that samples all frames at once, and where long speech is cut for it."""

    pass_seconds: PassSeconds = Field(
        None, description="cut longer speech into passes of at most so many seconds; none: one sample, as in the paper"
    )

    @property
    def pass_frames(self) -> int | None:
        """The most frames of a pass; None without limit."""
        return None if self.pass_seconds is None else round(self.pass_seconds * FPS)


class DawnOptions(PassOptions):
    """Options of `DawnGenerator.generate`. Memory grows with the length of a pass."""

    pass_seconds: PassSeconds = Field(
        PASS_SECONDS, description="cut longer speech into passes of at most so many seconds; none: never"
    )
    crop: str | None = Field(
        None,
        description="face: the square around the face; paper: the whole picture, resized; null: as the run's data",
    )
    drive: UserPath | None = Field(None, description="a video whose head pose and blinks are used")
    pose: UserPath | None = Field(None, description="a .npz file with `pose` (T,6 or 7) and `blink` (T,2) to use")

    person: str | None = PERSON
    drive_person: str | None = Field(None, description="the same for the driving video; by default as `person`")

    _known_choices = field_validator("person", "drive_person")(checked_person)

    @model_validator(mode="before")
    @classmethod
    def _usable(cls, data: dict[str, object]) -> dict[str, object]:
        if data.get("drive") is not None and data.get("pose") is not None:
            raise InputError("--drive and --pose-file both set the head motion.", hint="Give one of them.")
        return data

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.crop is not None and self.crop not in get_args(Crop):
            raise InputError(f"--crop {self.crop!r} is not known.", hint=nearest(self.crop, get_args(Crop)))
        return self
