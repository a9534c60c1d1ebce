"""Frames per second and peak memory of whole clips: `eager` at four lengths, `compiled` at one."""

from __future__ import annotations

from dawn_cuda import LENGTHS, Budget, compiled_rows, eager_rows
from world import Lease, talker

from dawn_bench.models.dawn.options import Precision


def main(lease: Lease, mode: str) -> int:
    """The rows of one mode, within the part's limit."""
    generator, budget = talker(lease), Budget.of(lease.seconds - 5)
    if mode == "eager":
        lengths, steps = ((6, 12), 2) if lease.tiny else (LENGTHS, 20)
        eager_rows(generator, lengths, ("fp32", "bf16"), budget=budget, steps=steps)
    else:
        lengths, steps = ((6,), 2) if lease.tiny else ((200,), 20)
        precisions: tuple[Precision, ...] = ("fp32",) if lease.tiny else ("bf16",)
        complete = compiled_rows(generator, lengths, precisions, budget=budget, steps=steps, least=40)
        return 0 if complete or lease.pretended else 1  # the compiler takes no tensors of the pretended device
    return 0
