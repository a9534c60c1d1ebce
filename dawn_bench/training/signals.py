"""Learning signal of every stage: its loss decreases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dawn_bench.results import LearningSignal
from dawn_bench.training.logger import LOG_FILE


def read_curve(path: Path) -> list[dict[str, float]]:
    """The lines of a loss log; empty when there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loss_falls(run: Path, stage: str) -> LearningSignal:
    """Whether the mean total loss of the last fifth of the log is below that of its first tenth."""
    values = np.array([line["total"] for line in read_curve(run / stage / LOG_FILE)])
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
