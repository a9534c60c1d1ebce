"""The U-Net's diffusion steps of short clips as a CUDA graph.

A step starts thousands of kernels. In a short clip the host takes longer to start them than the GPU to run them. The
graph of a clip is recorded in its second step and started as a whole in all later ones, with the same numbers.

Shape suffixes: F frames, H, W latent size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)

#: Frames of the longest clip that is recorded: beyond, the GPU is the slower of the two, and a graph keeps its memory.
LONGEST = 256


def captured(step: Callable[[Tensor, Tensor], Tensor], *, frames: int, device: torch.device) -> Callable[..., Tensor]:
    """`step` as a graph where that pays, on CUDA and for short clips; otherwise `step` itself."""
    return Captured(step) if device.type == "cuda" and frames <= LONGEST else step


class Captured:
    """A step of one clip: the first runs as it is, the second is recorded, the others replay it.

    A step that cannot be recorded runs as it is from then on, which is said once.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.step = step
        self.warm = self.refused = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x_3FHW: Tensor, t_B: Tensor) -> Tensor:
        """The step's result for noisy motion [3, F, H, W] and a timestep [1]."""
        if not self.warm or self.refused:  # libraries set themselves up in the first
            self.warm = True
            return self.step(x_3FHW, t_B)
        if self.graph is None:
            try:
                self._record(x_3FHW, t_B)
            except RuntimeError as error:
                _say(str(error).partition("\n")[0])
                self.refused = True
                return self.step(x_3FHW, t_B)
        assert self.graph is not None
        self.x_3FHW.copy_(x_3FHW)
        self.t_B.copy_(t_B)
        self.graph.replay()
        return self.out_3FHW.clone()  # the next replay overwrites it

    def _record(self, x_3FHW: Tensor, t_B: Tensor) -> None:
        self.x_3FHW, self.t_B = x_3FHW.clone(), t_B.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(x_3FHW.device), torch.cuda.graph(graph):
            self.out_3FHW = self.step(self.x_3FHW, self.t_B)
        self.graph = graph


@cache
def _say(reason: str) -> None:
    """Say once per reason that steps are started kernel by kernel."""
    log.warning("the U-Net runs without a CUDA graph (%s)", reason)
