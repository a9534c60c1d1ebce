"""Audio window of a frame: the audio features of the surrounding frames (paper, Section 3: five before, five after)."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.pipelines.extractors.base import audio_encoder_of

#: The paper's audio encoder. If a cache lacks it, another encoder is used; checkpoint and report record this.
ENCODER = "wav2vec2"


def encoder_of(clip: Clip) -> str:
    """The field with a clip's audio features for this model; raises `InputError` if it has none."""
    return audio_encoder_of(clip, prefer=ENCODER)


def windows(features: np.ndarray, reach: int, frames: np.ndarray | None = None) -> np.ndarray:
    """Windows float32 (N, 2·reach+1, A) of features (T,A) around each of `frames` (N,), by default around all frames.

    Beyond the ends of the clip the first and the last row are repeated.
    """
    at = np.arange(len(features)) if frames is None else np.asarray(frames)
    around = at[:, None] + np.arange(-reach, reach + 1)
    return np.asarray(features, np.float32)[around.clip(0, len(features) - 1)]
