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


def held_out(cache: Cache, count: int) -> tuple[str, list[Clip]]:
    """The first `count` clips of split `val`, else of `test`, else of all; and the name of the split.

    The name is logged with every value: a checkpoint selected on `test` has seen the test split.
    """
    split = next((s for s in ("val", "test") if s in cache.splits and cache.ids(s)), None)
    return split or "train", [cache[i] for i in cache.ids(split)[:count]]


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
