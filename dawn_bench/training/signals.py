"""Learning signal of every stage: its loss decreases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawn_bench.readers import finite, json_lines
from dawn_bench.results import LearningSignal
from dawn_bench.training.logger import LOG_FILE


def read_curve(path: Path) -> list[dict[str, float]]:
    """The whole lines of a loss log; empty when there is no such file."""
    return [point for _, point in json_lines(path) if point is not None]


def loss_falls(run: Path, stage: str) -> LearningSignal:
    """Whether the mean total loss of the last fifth of the log is below that of its first tenth."""
    values = np.array([line["total"] for line in read_curve(run / stage / LOG_FILE) if finite(line.get("total"))])
    if len(values) < 5:
        return LearningSignal(signal=f"{stage}: loss falls", value=None, passed=False, note="too few logged steps")
    first, last = values[: max(1, len(values) // 10)].mean(), values[-max(1, len(values) // 5) :].mean()
    return LearningSignal(
        signal=f"{stage}: loss falls",
        value=float(last),
        baseline=float(first),
        passed=bool(last < first),
        note="mean of the last fifth, of the first tenth",
    )
