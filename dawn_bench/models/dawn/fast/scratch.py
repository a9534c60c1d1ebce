"""Memory in which the passes over a clip take turns.

Fresh memory is cold: filling it costs a processor about as much time as the arithmetic. What lives only within one pass
over a chunk is therefore put where the pass before it had its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bytes beyond which memory is not kept: it would not stay in the processor's cache, and would be missed at the peak.
LARGEST = 16 << 20


class Scratch:
    """Grows to the largest demand of up to `largest` bytes. Not for two threads."""

    def __init__(self, *, largest: float = LARGEST) -> None:
        self.largest = largest
        self.memory: Tensor | None = None

    def carve(self, like: Tensor, *sizes: int) -> list[Tensor]:
        """Flat uninitialised tensors of `sizes`, of the type of `like`; whoever calls next overwrites them.

        A graphics card's allocator, and the compiler, see to this themselves: there they are simply new.
        """
        if like.is_cuda or sum(sizes) * like.itemsize > self.largest or torch.compiler.is_compiling():
            return [like.new_empty(size) for size in sizes]
        if self.memory is None or self.memory.dtype != like.dtype or len(self.memory) < sum(sizes):
            self.memory = like.new_empty(sum(sizes))
        return list(self.memory[: sum(sizes)].split(sizes))

    def products(self, x: Tensor, *weights: Tensor, bias: Tensor | None = None) -> list[Tensor]:
        """x Wᵀ + b for each W, in this memory; under autocast, which changes the type, in new memory."""
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
    """The scratch memory of a network's passes over chunks of a clip: what is in use at once lies apart."""

    def __init__(self) -> None:
        #: A chunk's inputs beside each other.
        self.inputs = Scratch(largest=LARGEST // 4)
        #: What a block makes of them.
        self.values = Scratch(largest=LARGEST // 4)
        #: What its convolutions and attentions need on their way.
        self.inner = Scratch()
