"""Validation on held-out clips during training: cheap metrics, images and sample videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from dawn_bench import pixels
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.training.data import training_ids
from dawn_bench.training.stage import Stage

#: Maximum length of sample videos in frames: two seconds.
SAMPLE_FRAMES = 50


@dataclass(frozen=True)
class Validation:
    """The result of validating a stage.

    `best` names the value that selects the best checkpoint; larger is better, unless `smaller_is_better`. `pictures`
    are uint8 RGB (H,W,3), `videos` uint8 RGB (T,H,W,3), with the ground truth on the left.
    """

    values: Mapping[str, float]
    best: str
    smaller_is_better: bool = False
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    videos: Mapping[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class Validates(Protocol):
    """A stage that can be validated.

    Validation must not draw from global random generators, and must be deterministic for given weights.
    """

    cache: Cache

    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation:
        """Validate `module`, in evaluation mode on `device`, on held-out `clips`."""
        ...


def due(stage: Stage, step: int) -> bool:
    """Whether a stage is validated after this step: at its interval, and at the end."""
    every = stage.loop.validate_every
    return every is not None and isinstance(stage, Validates) and (step % every == 0 or step == stage.loop.steps)


def held_out(cache: Cache, count: int, *, split: str | None = None) -> tuple[str, list[Clip]]:
    """The first `count` clips of a split, and its name: by default `val`, else those that a run trains on.

    The name is logged with every value. See `dawn_bench.training.holdout` for the split that a run reads.
    """
    chosen = split or "val"
    ids = cache.ids(chosen) if chosen in cache.splits else []
    if ids:
        return chosen, [cache[i] for i in ids[:count]]
    return "train", [cache[i] for i in training_ids(cache)[:count]]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 arrays in dB over all values, at most 100."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return float(pixels.psnr(error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of uint8 RGB images (T,H,W,3) by scikit-image with a 7-pixel window."""
    from skimage.metrics import structural_similarity

    return float(np.mean([structural_similarity(x, y, channel_axis=-1) for x, y in zip(a, b, strict=True)]))


def side_by_side(*videos: np.ndarray) -> np.ndarray:
    """Concatenate n videos uint8 (T,H,W,3) horizontally -> (T,H,W·n,3)."""
    return np.concatenate(videos, axis=-2)


def rows(pictures: np.ndarray) -> np.ndarray:
    """Stack images uint8 (n,H,W,3) vertically -> (n·H,W,3)."""
    return np.concatenate(list(pictures), axis=0)
