"""The learning rate of a step: linear warm-up, then a cosine down to a floor, at which it stays."""

from __future__ import annotations

import math

from dawn_bench.training.stage import LoopConfig


def learning_rate(loop: LoopConfig, step: int) -> float:
    """Linear warm-up, then cosine from `learning_rate` down to `final_learning_rate` at `decay_span`, then constant."""
    if step < loop.warmup:
        return loop.learning_rate * (step + 1) / loop.warmup
    share = min(1.0, (step - loop.warmup) / max(1, decay_span(loop) - loop.warmup))
    low = min(loop.final_learning_rate, loop.learning_rate)
    return low + (loop.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * share))


def decay_span(loop: LoopConfig) -> int:
    """The step at which the rate reaches its floor: `decay_steps`, else the last one."""
    return loop.steps if loop.decay_steps is None else loop.decay_steps


def is_constant(loop: LoopConfig) -> bool:
    """Whether the rate stays where the warm-up ends, so that it does not depend on the number of steps."""
    return loop.final_learning_rate >= loop.learning_rate
