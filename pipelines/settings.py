"""The settings of a cache, saved in `cache.json` and compared when a run continues.

Names of datasets, face back ends, pose sources and extractors are looked up in their registries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dawn_bench.clip import LARGEST
from dawn_bench.config import Config
from dawn_bench.errors import unknown_name
from dawn_bench.job import Flag
from dawn_bench.pipelines.faces.choice import CHOICES, SPEAKING, checked_choice, separated

#: The value of `face` that leaves the choice to what is installed, and of `crop` that leaves it to the dataset.
AUTO: Final = "auto"


def _datasets() -> Iterable[str]:
    from dawn_bench.pipelines.datasets.base import DATASETS

    return DATASETS


def _face_backends() -> Iterable[str]:
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS

    return (AUTO, *FACE_BACKENDS)


def _faces() -> Iterable[str]:
    return (*_face_backends(), *CHOICES)


def _choices() -> Iterable[str]:
    return CHOICES


def _decoders() -> Iterable[str]:
    from dawn_bench.pipelines.media.decoders.base import DECODERS, PYAV

    return (PYAV, *DECODERS)


def _pose_sources() -> Iterable[str]:
    from dawn_bench.pipelines.extractors.base import pose_sources

    return pose_sources()


def _blink_sources() -> Iterable[str]:
    from dawn_bench.pipelines.extractors.base import blink_sources

    return blink_sources()


def _recipes() -> Iterable[str]:
    from dawn_bench.pipelines.recipes.base import RECIPES

    return RECIPES


def _extractors() -> Iterable[str]:
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    return EXTRACTORS


class PrepareSettings(Config):
    """Settings that decide what is in a cache; where it is computed and by how many workers is not among them."""

    dataset: Annotated[str, Flag(choices=_datasets)] = Field(
        default="folder", description="Which dataset the folder holds; folder: any videos."
    )
    like: Annotated[str | None, Flag(choices=_recipes)] = Field(
        default=None,
        description="Prepare as the paper of this name did; other flags override what it says, --extract adds to it.",
    )
    size: int = Field(default=128, ge=32, le=LARGEST, description="Side of the cached frames in pixels.")
    crop: Literal["auto", "face", "paper", "none"] = Field(
        default=AUTO,
        description="face: square around the face; paper: plain resize to a square; none: centred square; auto: face, "
        "but the whole frame of clips that the dataset has cropped to a square already (HDTF, aligned CREMA-D).",
    )
    face: Annotated[str, Flag(choices=_faces)] = Field(
        default=AUTO,
        description="Face back end, auto: face-alignment where it can run, else dlib; or a face, as --person takes it.",
    )
    person: Annotated[str, Flag(choices=_choices)] = Field(
        default=SPEAKING,
        description="Which of several faces is meant: one of these, or a number from the left, from 1.",
    )
    frames: Literal["raw", "lossless"] = Field(
        default="raw", description="raw, or lossless: packed to about 45 % of the bytes at 128 px, and slower to read."
    )
    pose: Annotated[str, Flag(choices=_pose_sources)] = Field(
        default="landmarks",
        description="Head pose; landmarks: fitted to the 68 points; 3ddfa: 3DDFA_V2 from its published files; "
        "NAME: the extractor pose-NAME.",
    )
    blink: Annotated[str, Flag(choices=_blink_sources)] = Field(
        default="two-pairs",
        description="Eye aspect ratio; two-pairs: of two pairs of lid points; one-pair: of one, as DAWN's code does; "
        "NAME: the extractor blink-NAME.",
    )
    extract: Annotated[tuple[str, ...], Flag(adds=True, choices=_extractors)] = Field(
        default=("pose", "blink", "logmel", "masks"),
        description="Also compute this, separated by commas. On an existing cache: only this. "
        "--set extract=[pose,blink,logmel] replaces the whole list.",
        validate_default=True,
    )
    on_cut: Literal["split", "quarantine", "keep"] = Field(
        default="keep", description="Scene cuts within a clip: keep, split or quarantine."
    )
    max_gap: int = Field(default=5, ge=0, description="Longest run of frames without a face that is interpolated.")
    min_frames: int = Field(default=10, ge=1, description="Shorter clips are quarantined.")
    max_frames: int | None = Field(default=None, ge=1, description="Keep only the first frames of each clip.")
    max_mouth_covered: Annotated[float, Flag("--max-covered")] = Field(
        default=0.8, ge=0, le=1, description="Maximum share of frames with a covered mouth, else `mouth_covered`."
    )
    max_yaw: float = Field(default=45, ge=0, le=180, description="Maximum head yaw, degrees (median), else `profile`.")
    min_face_height: int = Field(
        default=20, ge=0, description="Minimum face height, brows to chin, pixels, else `tiny_face`."
    )
    min_face_in_frame: Annotated[float, Flag("--min-in-frame")] = Field(
        default=0.6, ge=0, le=1, description="Minimum share of the face inside the frame, else `cut_face`."
    )
    min_sharpness: float = Field(
        default=0,
        ge=0,
        description="Minimum variance of the Laplacian over that of the face, else `blurred`. Flagged below 0.01.",
    )
    decoder: Annotated[str, Flag(choices=_decoders)] = Field(
        default="pyav", description="What decodes the pictures. A file in which another decoder errs is left out."
    )
    require_audio: Annotated[bool, Flag(off="--allow-silent")] = Field(
        default=True, description="Quarantine clips without an audio track; silent ones are kept and marked."
    )
    audio_track: int | None = Field(
        default=None, ge=1, description="Audio track to read, from 1. Default: as a player does."
    )
    split: Annotated[Literal["published", "identity"], Flag("--split-by", old=("--split",))] = Field(
        default="published", description="published: the split of the papers; identity: no person in both parts (hdtf)."
    )
    labels: Path | None = Field(
        default=None,
        description="Table with the columns file,speaker,split for --dataset folder. "
        "Default: a tenth of the speakers is for testing.",
    )
    seed: int = Field(default=0, description="Seed of the split where the dataset publishes none.")

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, data: dict[str, object]) -> dict[str, object]:
        """Faces apart from back ends, and the recipe's settings where no others are given.

        A complete record, as that of a cache, needs no recipe: its distribution may have been removed since.
        """
        complete = cls.model_fields.keys() <= data.keys()
        return {**({} if complete else recipe_settings(data.get("like"))), **separated(data)}

    @field_validator("person")
    @classmethod
    def _known_choice(cls, choice: str) -> str:
        return checked_choice(choice)

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        from dawn_bench.pipelines.datasets.base import DATASETS  # which imports this module

        DATASETS[name]
        return name

    @field_validator("face")
    @classmethod
    def _known_back_end(cls, name: str) -> str:
        if name not in (known := tuple(_faces())):
            raise unknown_name("face back end", name, known)
        return name

    @field_validator("decoder")
    @classmethod
    def _known_decoder(cls, name: str) -> str:
        if name not in (known := tuple(_decoders())):
            raise unknown_name("decoder", name, known)
        return name

    @field_validator("pose")
    @classmethod
    def _known_pose(cls, name: str) -> str:
        _pose_extractor(name)
        return name

    @field_validator("blink")
    @classmethod
    def _known_blink(cls, name: str) -> str:
        _blink_extractor(name)
        return name

    @field_validator("extract")
    @classmethod
    def _known_extractors(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """All extractors of the head pose write the field `pose`: the setting `pose` selects which one runs.

        So do those of the blinks and the setting `blink`.
        """
        from dawn_bench.pipelines.extractors.base import BLINK, EXTRACTORS, POSE, source_of

        if not {"pose", "blink"} <= info.data.keys():
            return names  # one of them is invalid, and the error names it
        selected = {POSE: _pose_extractor(info.data["pose"]), BLINK: _blink_extractor(info.data["blink"])}
        for name in names:
            kind = EXTRACTORS[name].kind
            if kind in selected and name not in (kind, selected[kind]):
                raise ValueError(f"{name} replaces {kind}: choose it with --{kind} {source_of(name)}")
        return tuple(dict.fromkeys(selected.get(name, name) for name in names))


def recipe_settings(name: object) -> dict[str, object]:
    """The settings of the recipe called `name`, none for None; raises `InputError` for an unknown one."""
    from dawn_bench.pipelines.recipes.base import RECIPES

    return dict(RECIPES[name].settings) if isinstance(name, str) else {}


def _pose_extractor(source: str) -> str:
    """The extractor that a value of the setting `pose` selects; raises `InputError` for an unknown one."""
    from dawn_bench.pipelines.extractors.base import pose_sources

    return _selected("source of the head pose", source, pose_sources())


def _blink_extractor(source: str) -> str:
    """The extractor that a value of the setting `blink` selects; raises `InputError` for an unknown one."""
    from dawn_bench.pipelines.extractors.base import blink_sources

    return _selected("source of the blinks", source, blink_sources())


def _selected(label: str, source: str, known: Mapping[str, str]) -> str:
    if source not in known:
        raise unknown_name(label, source, known)
    return known[source]
