"""What a user chooses when preparing a cache; saved in `cache.json`, and compared before a run is continued."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dawn_bench.config import Config


class PrepareSettings(Config):
    """Settings that change what is in a cache. Where it runs and how many workers it has are not among them."""

    dataset: str = "folder"
    size: int = Field(default=128, ge=32, le=1024, description="side of the cached frames, pixels")
    crop: Literal["face", "paper", "none"] = Field(
        default="face",
        description="face: square around the face; paper: plain resize to a square; none: centred square, resized",
    )
    face: Literal["auto", "dlib", "face-alignment", "insightface", "mediapipe"] = "auto"
    extract: tuple[str, ...] = Field(default=("pose", "blink", "logmel"), description="extractors to run, by name")
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
