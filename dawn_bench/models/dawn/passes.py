"""Speech of any length in bounded memory: passes of a minute, each starting with the end of the one before.

A minute is one diffusion sample, as in the paper. The next one is sampled with its first frames held to the end of the
motion before it, so that the head continues from there. Pictures are given out as soon as their pass is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from dawn_bench.models.dawn.networks import DawnNetworks, Scene
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.progress import Meter

#: Frames of the longest pass, and frames that neighbouring passes share (more than the attention's window).
LONGEST, OVERLAP = 1500, 50
#: Frames that are turned into pictures at once.
_SHOWN = 64


def passes(frames: int, *, longest: int = LONGEST, overlap: int = OVERLAP) -> list[slice]:
    """Slices of nearly equal length that cover `frames`, neighbours sharing `overlap`; one where `longest` suffices."""
    if frames <= longest:
        return [slice(0, frames)]
    count = math.ceil((frames - overlap) / (longest - overlap))
    stride = math.ceil((frames - overlap) / count)
    return [slice(i * stride, min(i * stride + stride + overlap, frames)) for i in range(count)]


def stream(
    networks: DawnNetworks,
    scene: Scene,
    options: SamplingOptions,
    *,
    longest: int = LONGEST,
    overlap: int = OVERLAP,
    progress: Meter | None = None,
) -> Iterator[np.ndarray]:
    """The clip's pictures in segments, uint8 (n,S,S,3) RGB; those of `DawnNetworks.talk` where one pass suffices.

    `progress` advances by one for each step of each pass.
    """
    tail: torch.Tensor | None = None
    for frames in passes(scene.cond_BFD.shape[1], longest=longest, overlap=overlap):
        part = replace(scene, cond_BFD=scene.cond_BFD[:, frames])
        held = None if tail is None else (torch.arange(overlap, device=tail.device), tail)
        z_B3Thh = networks.sample(part, options, held=held, progress=progress)
        fresh = z_B3Thh if tail is None else z_B3Thh[:, :, overlap:]
        for segment in fresh.split(_SHOWN, dim=2):
            yield networks.show(scene, segment, precision=options.precision)
        tail = z_B3Thh[:, :, -overlap:].clone()
