"""Means over a mask when a batch is cut: each part divides by the whole batch's mask, not by its own.

A part weighs by its rows (`dawn_bench.training.shares`), so a mean over its own mask would count a pixel or frame of a
row with little mask more than others. Every process has the whole batch on the CPU before it takes its rows, and so
the size of every mask that the batch alone determines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch

from dawn_bench.training.stage import Batch

#: Keys of a part, besides the batch's own: a float64 scalar on the CPU each. Names of stages' tensors have no space.
_PREFIX = "denominator of "


@runtime_checkable
class HasMaskedMeans(Protocol):
    """A stage with losses that are means over a mask, whose size may differ between rows of a batch."""

    def denominators(self, batch: Batch) -> dict[str, float]:
        """By loss, the size of its mask in the whole `batch` on the CPU, at least 1; without losses that need none.

        `losses` divides by those of `given_denominators` instead of its own mask's size, where there are some.
        """
        ...


def with_denominators(part: Batch, whole: Mapping[str, float], *, share: float) -> Batch:
    """A part with the denominators of its batch, times its `share` of the rows, which is also its weight."""
    return part | {_PREFIX + name: torch.tensor(size * share, dtype=torch.float64) for name, size in whole.items()}


def given_denominators(part: Batch) -> dict[str, float]:
    """The denominators that `with_denominators` put into a part; none for a whole batch. No device is waited for."""
    return {name.removeprefix(_PREFIX): float(size) for name, size in part.items() if name.startswith(_PREFIX)}
