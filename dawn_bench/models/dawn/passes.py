"""Speech of any length in bounded memory: passes of limited length, each overlapping the end of the previous pass.

Speech that fits one pass is one diffusion sample, as in the paper. The first frames of each further pass are fixed to
the end of the previous motion, so that the head continues from there. Frames are yielded as soon as their pass is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from dawn_bench.clip import FPS
from dawn_bench.models.dawn.networks import DawnNetworks, Scene
from dawn_bench.models.dawn.options import PASS_SECONDS, SamplingOptions
from dawn_bench.progress import Meter

#: Maximum length of a pass by default, and overlap of neighbouring passes (more than the attention window), in frames.
LONGEST, OVERLAP = round(PASS_SECONDS * FPS), 50
#: Number of frames decoded at once.
_DECODED = 64


def passes(frames: int, *, longest: int | None = LONGEST, overlap: int = OVERLAP) -> list[slice]:
    """Slices of nearly equal length, at most `longest`, that cover `frames`; neighbours share `overlap` frames.

    Without a limit (`longest` None) there is one.
    """
    if longest is None or frames <= longest:
        return [slice(0, frames)]
    count = math.ceil((frames - overlap) / (longest - overlap))
    stride = math.ceil((frames - overlap) / count)
    return [slice(i * stride, min(i * stride + stride + overlap, frames)) for i in range(count)]


def stream(
    networks: DawnNetworks,
    scene: Scene,
    options: SamplingOptions,
    *,
    longest: int | None = LONGEST,
    overlap: int = OVERLAP,
    progress: Meter | None = None,
) -> Iterator[np.ndarray]:
    """The frames of a clip in segments, uint8 (n,S,S,3) RGB; equal to `DawnNetworks.talk` if one pass suffices.

    `progress` advances by one for each step of each pass.
    """
    tail: torch.Tensor | None = None
    for frames in passes(scene.cond_BFD.shape[1], longest=longest, overlap=overlap):
        part = replace(scene, cond_BFD=scene.cond_BFD[:, frames])
        fixed = None if tail is None else (torch.arange(overlap, device=tail.device), tail)
        z_B3Thh = networks.sample(part, options, fixed=fixed, progress=progress)
        fresh = z_B3Thh if tail is None else z_B3Thh[:, :, overlap:]
        for segment in fresh.split(_DECODED, dim=2):
            yield networks.show(scene, segment, precision=options.precision)
        tail = z_B3Thh[:, :, -overlap:].clone()
