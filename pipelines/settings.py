"""The settings of a cache, saved in `cache.json` and compared when a run continues.

Names of datasets, face back ends, pose sources and extractors are looked up in their registries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from dawn_bench.config import Config
from dawn_bench.registry import unknown_name

#: The value of `face` that leaves the choice to what is installed.
AUTO = "auto"


class PrepareSettings(Config):
    """Settings that change what is in a cache. Where it runs and how many workers it has are not among them."""

    dataset: str = "folder"
    size: int = Field(default=128, ge=32, le=1024, description="side of the cached frames, pixels")
    crop: Literal["face", "paper", "none"] = Field(
        default="face",
        description="face: square around the face; paper: plain resize to a square; none: centred square, resized",
    )
    face: str = Field(default=AUTO, description="a face back end, or auto: face-alignment where it can run, else dlib")
    frames: Literal["raw", "lossless"] = Field(
        default="raw", description="lossless: packed to about half the bytes, and slower to read"
    )
    pose: str = Field(
        default="landmarks",
        description="landmarks: fitted to the 68 points; 3ddfa: 3DDFA_V2, from its published files; "
        "NAME: the extractor pose-NAME",
    )
    extract: tuple[str, ...] = Field(
        default=("pose", "blink", "logmel"), description="extractors to run, by name", validate_default=True
    )
    on_cut: Literal["split", "quarantine", "keep"] = "keep"
    max_gap: int = Field(default=5, ge=0, description="longest run of frames without a face that is interpolated")
    min_frames: int = Field(default=10, ge=1, description="shorter clips are quarantined")
    max_frames: int | None = Field(default=None, ge=1, description="keep only the first frames of each clip")
    require_audio: bool = Field(default=True, description="quarantine clips without sound")
    split: Literal["published", "identity"] = Field(
        default="published", description="published: the split of the papers; identity: no person in both parts (hdtf)"
    )
    labels: Path | None = Field(default=None, description="table with the columns file, speaker, split (folder)")
    seed: int = 0

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        from dawn_bench.pipelines.datasets.base import DATASETS  # which imports this module

        DATASETS[name]
        return name

    @field_validator("face")
    @classmethod
    def _known_back_end(cls, name: str) -> str:
        from dawn_bench.pipelines.faces.base import FACE_BACKENDS

        if name != AUTO:
            FACE_BACKENDS[name]
        return name

    @field_validator("pose")
    @classmethod
    def _known_pose(cls, name: str) -> str:
        _pose_extractor(name)
        return name

    @field_validator("extract")
    @classmethod
    def _known_extractors(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """All extractors of the head pose write the field `pose`: the setting `pose` selects which one runs."""
        from dawn_bench.pipelines.extractors.base import EXTRACTORS, POSE

        if "pose" not in info.data:
            return names  # `pose` itself is invalid, and the error names it
        selected = _pose_extractor(info.data["pose"])
        for name in names:
            if EXTRACTORS[name].kind == POSE and name not in ("pose", selected):
                raise ValueError(f"{name} takes the place of pose: ask for it by --pose {name.removeprefix('pose-')}")
        return tuple(dict.fromkeys(selected if name == "pose" else name for name in names))


def _pose_extractor(source: str) -> str:
    """The extractor that a value of the setting `pose` selects; raises `InputError` for an unknown one."""
    from dawn_bench.pipelines.extractors.base import pose_sources

    known = pose_sources()
    if source not in known:
        raise unknown_name("source of the head pose", source, known)
    return known[source]
