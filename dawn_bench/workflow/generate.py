"""Generate: one talking clip from a user's files, written as an mp4; `generate_list` generates many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import validated
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.files import sweep
from dawn_bench.job import Device, Flag, Job, field_flags
from dawn_bench.pipelines.faces.choice import CHOICES, separated
from dawn_bench.progress import console

if TYPE_CHECKING:
    from dawn_bench.models.generator import Generator, TalkingStream
    from dawn_bench.models.spec import ModelSpec


def _models() -> Iterable[str]:
    from dawn_bench.models.spec import MODELS

    return MODELS


def _face_backends() -> Iterable[str]:
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS

    return (*FACE_BACKENDS, *CHOICES)


def _choices() -> Iterable[str]:
    return CHOICES


class Generation(Job):
    """Settings of a generation. Options that are not given have the model's defaults."""

    image: Path | None = Field(
        None,
        description="A picture with one face; a video, for models that dub; a face at rest (.ply, .npy), for models of "
        "meshes.",
    )
    audio: Path | None = Field(None, description="Speech: any sound or video file, of any length.")
    audio_track: int | None = Field(
        None, ge=1, description="Number of the sound track to read, from 1. Default: as a player does."
    )
    out: Path | None = Field(None, description="The mp4 file to write.")
    items: Annotated[Path | None, Flag("--list")] = Field(
        None,
        description="CSV file with a clip a row, in place of --image, --audio and --out: columns image,audio,out, and "
        "any other of these flags for one clip: seed, pose, steps, ... Its relative paths are below its own folder.",
    )
    checkpoint: Path = Field(
        description="Folder of a trained run or of released files, a released file, or released-128 or released-256: "
        "the published files in the weights folder."
    )
    model: Annotated[str | None, Flag(choices=_models, old=("--method",))] = Field(
        None, description="Model. Default: detected from the checkpoint."
    )
    crop: str | None = Field(
        None,
        description="face: square around the face; paper: the whole picture, resized. Default: as the run's data, else "
        "face.",
    )
    drive: Path | None = Field(None, description="Video to take head pose and blinks from.")
    pose: Annotated[Path | None, Flag("--pose-file", old=("--pose",))] = Field(
        None,
        description="File (.npz) with `pose` (T,6 or 7), which begins with yaw, pitch and roll in degrees, and `blink` "
        "(T,2), eye aspect ratios; 25 rows a second.",
    )
    steps: int | None = Field(None, ge=1, description="Diffusion steps. Default: the model's.")
    eta: float | None = Field(None, description="Noise of the sampler: 0 deterministic, 1 most. Default: the model's.")
    cond_scale: float | None = Field(
        None, description="Scale of classifier-free guidance; 1: none. Default: the model's."
    )
    solver: str | None = Field(
        None, description="ddim (as released) or dpm2m (good in fewer steps). Default: the model's."
    )
    pass_seconds: float | Literal["none"] | None = Field(
        None,
        description="Cut longer speech into passes of at most so many seconds; none: never, which needs memory for all "
        "of it. Default: the model's, 60 for DAWN.",
    )
    precision: str | None = Field(None, description="fp32 (exact), or tf32, bf16 or fp16 where the device supports it.")
    compile: bool | None = Field(None, description="Compile the network; pays off for long clips on CUDA.")
    options: Annotated[Mapping[str, Any], Flag("--option")] = Field(
        default_factory=dict, description="Another option of the model: window=200. Repeatable."
    )
    max_seconds: float | None = Field(None, gt=0, description="Use only the first seconds of the speech.")
    face: Annotated[str, Flag(choices=_face_backends)] = Field(
        "auto", description="Face back end, or auto; or one of several faces, as --person takes it."
    )
    person: Annotated[str | None, Flag(choices=_choices)] = Field(
        None,
        description="Which of several faces of the portrait and the driving video: one of these, or a number from the "
        "left, from 1. Default: the largest of a picture, the one that speaks in a video.",
    )
    drive_person: Annotated[str | None, Flag(choices=_choices)] = Field(
        None, description="The same for the driving video alone."
    )
    seed: int = Field(0, description="The same seed gives the same clip.")
    device: Device = Field("auto", description="auto, cpu or cuda.")
    jobs: int | None = Field(
        None,
        ge=1,
        description="With --list: number of worker processes. Default: one for each device; on the CPU one for each of "
        "up to 8 cores. Each uses one thread.",
    )
    devices: tuple[str, ...] = Field(
        (), description="With --list: spread the workers over these devices: cuda:0,cuda:1, or all for every GPU."
    )
    strict: bool = Field(False, description="With --list: exit with code 3 when a clip could not be generated.")

    @model_validator(mode="before")
    @classmethod
    def _faces_apart(cls, data: dict[str, object]) -> dict[str, object]:
        return separated(data)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        """Refuse an option that is given by its own flag and by `--option`: one would be left out in silence."""
        for flag in field_flags(type(self)):
            if flag.field in _COMMON and flag.field in self.options and getattr(self, flag.field) is not None:
                what = f"{flag.field} is given twice, by {flag.name} and by --option {flag.field}."
                raise InputError(what, hint="Give one of them.")
        return self

    @property
    def model_options(self) -> dict[str, Any]:
        """The options of the model that are given, by name."""
        common = {name: getattr(self, name) for name in _COMMON}
        return {name: value for name, value in common.items() if value is not None} | dict(self.options)


#: Options that many models share, which therefore have their own flags.
_COMMON = (
    "crop",
    "drive",
    "pose",
    "steps",
    "eta",
    "cond_scale",
    "solver",
    "pass_seconds",
    "precision",
    "compile",
    "person",
    "drive_person",
)


@on_its_device
def generate(job: Generation) -> TalkingStream:
    """Generate the clip and write it; returns it, already read, with its number of frames.

    Raises `InputError` for unusable or missing files, for a checkpoint of no known model, and for options that the
    model does not have. Notes on the clip are printed to the console.
    """
    from dawn_bench.models.loading import load_model

    if job.jobs is not None or job.devices:
        raise InputError("--jobs and --devices are for several clips.", hint="Give --list items.csv.")
    check_given(job)
    spec = model_of(job)
    check_clip(job, spec)  # before large files are loaded
    clip = written(job, load_model(job.checkpoint, device=job.device, model=spec.name))
    for note in clip.notes:
        console().print(note)
    return clip


def model_of(job: Generation) -> ModelSpec:
    """The model that is named, or that of the checkpoint; raises `InputError` where there is none."""
    from dawn_bench.models.loading import find_model
    from dawn_bench.models.spec import MODELS

    return MODELS[job.model] if job.model is not None else find_model(job.checkpoint)


def check_given(job: Generation) -> None:
    """Raise `InputError` where the sound or the output of a clip is not given."""
    for name in ("audio", "out"):
        if getattr(job, name) is None:
            text = str(Generation.model_fields[name].description)
            raise InputError(f"--{name} is required: {text[:1].lower()}{text[1:]}")


def check_clip(job: Generation, spec: ModelSpec) -> None:
    """Raise `InputError` for an output that is no mp4 file, and for options that the model does not have."""
    if job.out is None or job.out.suffix.lower() != ".mp4":
        raise InputError("is not an mp4 file name.", path=job.out, hint="Example: --out talk.mp4")
    validated(spec.options.resolve(), job.model_options, what="option")


def written(job: Generation, generator: Generator) -> TalkingStream:
    """The clip of a job, generated by a loaded model and written to `job.out`."""
    assert job.audio is not None and job.out is not None
    options = job.model_options
    if job.audio_track is not None:
        options["audio_track"] = job.audio_track  # left out otherwise: a model of another distribution may not know it
    clip = generator.stream(job.image, job.audio, seed=job.seed, max_seconds=job.max_seconds, face=job.face, **options)
    sweep(job.out.parent, only=job.out)  # of runs that were killed
    clip.save(job.out)
    return clip
