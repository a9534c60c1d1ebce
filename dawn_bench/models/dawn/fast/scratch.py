"""Scratch memory that is reused by the passes over a clip.

Newly allocated memory is cold: writing to it costs a CPU about as much time as the arithmetic. Temporaries of one pass
over a chunk therefore reuse the memory of the previous pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Largest buffer in bytes that is kept: a larger one would not stay in the CPU cache and would raise peak memory.
LARGEST = 16 << 20


class Scratch:
    """A buffer that grows to the largest request of up to `largest` bytes. Not thread-safe."""

    def __init__(self, *, largest: float = LARGEST) -> None:
        self.largest = largest
        self.memory: Tensor | None = None

    def carve(self, like: Tensor, *sizes: int) -> list[Tensor]:
        """Flat uninitialised tensors of `sizes` with the dtype of `like`; the next call overwrites them.

        On CUDA and under the compiler the tensors are newly allocated: allocator and compiler reuse memory themselves.
        """
        if like.is_cuda or sum(sizes) * like.itemsize > self.largest or torch.compiler.is_compiling():
            return [like.new_empty(size) for size in sizes]
        if self.memory is None or self.memory.dtype != like.dtype or len(self.memory) < sum(sizes):
            self.memory = like.new_empty(sum(sizes))
        return list(self.memory[: sum(sizes)].split(sizes))

    def products(self, x: Tensor, *weights: Tensor, bias: Tensor | None = None) -> list[Tensor]:
        """x Wᵀ + b for each W, in this memory; in new memory under autocast, which changes the dtype."""
        if torch.is_autocast_enabled(x.device.type):
            return [F.linear(x, weight, bias) for weight in weights]
        rows = x.flatten(0, -2)
        parts = self.carve(x, *(len(rows) * len(weight) for weight in weights))
        outs = [part.view(len(rows), -1) for part in parts]
        for weight, out in zip(weights, outs, strict=True):
            if bias is None:
                torch.mm(rows, weight.t(), out=out)
            else:
                torch.addmm(bias, rows, weight.t(), out=out)
        return [out.unflatten(0, x.shape[:-1]) for out in outs]


class Workspace:
    """Scratch memory of a network's passes over the chunks of a clip, with separate buffers for simultaneous uses."""

    def __init__(self) -> None:
        #: Concatenated inputs of a chunk.
        self.inputs = Scratch(largest=LARGEST // 4)
        #: Activations of a block.
        self.values = Scratch(largest=LARGEST // 4)
        #: Temporaries of its convolutions and attentions.
        self.inner = Scratch()
