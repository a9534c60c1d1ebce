"""What one frame hears: the sound features of the frames around it (paper, Section 3: five before, five after)."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip

#: The paper's speech features; `logmel` stands in where a cache has none, which the checkpoint and the report say.
ENCODER, STAND_IN = "wav2vec2", "logmel"


def encoder_of(clip: Clip) -> str:
    """The name of the sound features that a clip carries for this model."""
    return ENCODER if ENCODER in clip else STAND_IN


def windows(features: np.ndarray, reach: int, frames: np.ndarray | None = None) -> np.ndarray:
    """float32 (N, 2·reach+1, A) of features (T,A): those around each of `frames` (N,), by default around every frame.

    Beyond its ends the clip goes on with its first and last row.
    """
    at = np.arange(len(features)) if frames is None else np.asarray(frames)
    around = at[:, None] + np.arange(-reach, reach + 1)
    return np.asarray(features, np.float32)[around.clip(0, len(features) - 1)]
