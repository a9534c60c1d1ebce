"""Fixtures of metrics: clips of the embedded dataset with their truth, written once per session; light networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scoring_keys import light

from dawn_bench.clip import Clip
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.synthetic.write import write_embedded

__all__ = ["light"]


@dataclass(frozen=True)
class Known:
    """A clip and the arrays of its truth file."""

    clip: Clip
    truth: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def embedded_clips(tmp_path_factory) -> list[Known]:
    """Two clips of 4 s by two speakers, 128 px."""
    root = write_embedded(tmp_path_factory.mktemp("embedded"), speakers=2, clips=2, seconds=4.0, size=128, seed=3)
    known_clips = []
    for video in sorted(root.rglob("*.mp4")):
        frames = read_frames(video)
        arrays = {"frames": frames, "audio": read_audio(video)}
        truth = dict(np.load(root / "truth" / f"{video.stem}.npz"))
        known_clips.append(Known(Clip(video.stem, video.stem[:4], "test", len(frames), arrays), truth))
    return known_clips
