"""The U-Net's training: the numbers of `unet.py` with a third of its memory traffic.

The plain networks define the numbers. Reading and writing memory decides the time of a step, on a GPU and on a CPU,
and what is written is mostly kept for the backward pass too. Here attention runs in PyTorch's fused kernels,
cross-attention in its closed form, and what autocast computes in bfloat16 stays so. Nothing outside this folder depends
on how.
"""

from __future__ import annotations

import torch
from torch import Tensor


def suits(x: Tensor) -> bool:
    """Whether a U-Net given `x` trains in this form where nobody asks for it: on a GPU."""
    return x.is_cuda and torch.is_grad_enabled()


def widened(x: Tensor) -> Tensor:
    """Half precision as float32, another type as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
