"""The U-Net's diffusion steps through PyTorch's compiler.

A graph is compiled for one length. Clips are therefore padded to one of few lengths, and the padding is masked: without
that, a list of clips would be compiled anew for each of its lengths, and run without the compiler from the ninth on.

Shape suffixes: F frames of the clip, L frames after padding, H, W latent size, D condition width.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dawn_bench.models.dawn.fast.unet import FastUNet

log = logging.getLogger(__name__)

#: A diffusion step of one clip: (noisy motion [3, F, H, W], timestep [1]) -> noise [3, F, H, W].
Step = Callable[[Tensor, Tensor], Tensor]
#: Compiled graphs that are kept: 28 padded lengths up to a minute, with several windows and precisions.
GRAPHS = 256
#: How many steps that should be compiled were, and how many ran without: `compiled` and `eager`.
STEPS: Counter[str] = Counter()
#: The compiler behind the graphs; tests count with another.
BACKEND: Any = "inductor"


def padded_length(frames: int) -> int:
    """The length that a clip is padded to: the next multiple of 8 up to 64 frames, then at most a quarter more."""
    step = max(8, 2 ** (frames - 1).bit_length() // 8)
    return -(-frames // step) * step


class Compiled:
    """`step` through the compiler; without it, and said once, where it does not compile."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.compiled: Step | None = torch.compile(step, backend=BACKEND, fullgraph=True, dynamic=False)

    def __call__(self, x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        """The step's result."""
        from torch._dynamo import config, exc

        if self.compiled is not None:
            try:
                with config.patch(recompile_limit=GRAPHS, accumulated_recompile_limit=4 * GRAPHS):
                    result = self.compiled(x_3FHW, t_B)
                STEPS["compiled"] += 1
                return result
            except (
                RuntimeError,
                exc.FailOnRecompileLimitHit,
            ) as error:  # what fails without the compiler too is raised
                cause = getattr(error, "inner_exception", None) or error.__cause__ or error
                _say(f"{type(cause).__name__}: {cause}".splitlines()[0])
                self.compiled = None
        STEPS["eager"] += 1
        return self.step(x_3FHW, t_B)


@cache
def _say(reason: str) -> None:
    """Say once per reason that a clip runs without the compiler."""
    log.warning("the U-Net runs without the compiler (%s)", reason)


def compiled_clip(
    unet: FastUNet, *, source_CHW: Tensor, mask_MHW: Tensor, cond_FD: Tensor, win_width: int | None
) -> Step:
    """The compiled U-Net of one clip, called as `FastClip`; the arguments are those of `FastUNet.prepare`."""
    frames = len(cond_FD)
    padding = padded_length(frames) - frames
    cond_LD = F.pad(cond_FD, (0, 0, 0, padding))
    clip = unet.prepare(source_CHW=source_CHW, mask_MHW=mask_MHW, cond_FD=cond_LD, win_width=win_width, real=frames)
    step = Compiled(clip)

    def predict(x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        return step(F.pad(x_3FHW, (0, 0, 0, 0, 0, padding)), t_B)[:, :frames]

    return predict
