"""Looking at held-out clips while a stage trains: cheap figures, pictures, sample videos, and the best step so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from dawn_bench import pixels
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip

#: Sample videos are at most this long, frames: two seconds.
SAMPLE_FRAMES = 50


@dataclass(frozen=True)
class Validation:
    """What a stage shows of itself.

    `values` by name; `best` names the one that picks the best checkpoint, larger being better (smaller where
    `smaller_is_better`). `pictures` uint8 RGB (H,W,3), `videos` uint8 RGB (T,H,W,3), each with the truth at its left.
    """

    values: Mapping[str, float]
    best: str
    smaller_is_better: bool = False
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    videos: Mapping[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class Validates(Protocol):
    """A stage that can be validated; `clips` are held-out ones, `module` is in evaluation mode, on `device`.

    It must draw nothing from global random generators, and give the same for the same weights.
    """

    cache: Cache

    def validate(self, module: nn.Module, clips: list[Clip], *, device: str) -> Validation: ...


def held_out(cache: Cache, count: int) -> tuple[str, list[Clip]]:
    """The first `count` clips of split `val`, else of `test`, else of all; and that split's name.

    The name goes with every figure: a checkpoint that was picked on `test` has seen it.
    """
    split = next((s for s in ("val", "test") if cache.ids(s)), None)
    return split or "train", [cache[i] for i in cache.ids(split)[:count]]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 arrays in dB, at most 100, over all their values together."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return float(pixels.psnr(error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity of uint8 RGB pictures (T,H,W,3), scikit-image's, 7-pixel window."""
    from skimage.metrics import structural_similarity

    return float(np.mean([structural_similarity(x, y, channel_axis=-1) for x, y in zip(a, b, strict=True)]))


def side_by_side(*videos: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) each -> (T,H,W·n,3)."""
    return np.concatenate(videos, axis=-2)


def rows(pictures: np.ndarray) -> np.ndarray:
    """uint8 (n,H,W,3) one above the other."""
    return np.concatenate(list(pictures), axis=0)
