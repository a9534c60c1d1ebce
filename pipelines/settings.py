"""The settings of a cache; saved in `cache.json`, and compared before a run is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from dawn_bench.config import Config


class PrepareSettings(Config):
    """Settings that decide what is in a cache; where it is computed and by how many workers is not among them."""

    dataset: str = "folder"
    size: int = Field(default=128, ge=32, le=1024, description="side of the cached frames, pixels")
    crop: Literal["face", "paper", "none"] = Field(
        default="face",
        description="face: square around the face; paper: plain resize to a square; none: centred square, resized",
    )
    face: Literal["auto", "dlib", "face-alignment", "insightface", "mediapipe"] = "auto"
    frames: Literal["raw", "lossless"] = Field(
        default="raw", description="lossless: packed to about half the bytes, and slower to read"
    )
    pose: Literal["landmarks", "3ddfa"] = Field(
        default="landmarks", description="landmarks: fitted to the 68 points; 3ddfa: 3DDFA_V2, from its published files"
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

    @field_validator("extract")
    @classmethod
    def _one_pose(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Both pose extractors write the field `pose`: the setting `pose` decides which one is in the list."""
        if "pose" not in info.data:
            return names  # `pose` itself is wrong, and is named in the error
        chosen = {"landmarks": "pose", "3ddfa": "pose-3ddfa"}[info.data["pose"]]
        if "pose-3ddfa" in names and chosen == "pose":
            raise ValueError("pose-3ddfa takes the place of pose: ask for it by --pose 3ddfa")
        return tuple(dict.fromkeys(chosen if name == "pose" else name for name in names))
