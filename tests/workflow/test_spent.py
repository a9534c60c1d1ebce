"""The table of where a quickstart's time goes: parts add up over runs, stopped ones too, and outlast them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dawn_bench.workflow import spent as spent_module
from dawn_bench.workflow.spent import Spent


class Clock:
    """A clock of seconds and of processor seconds that stands unless it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.processor = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(spent_module, "_processor", lambda: self.processor)

    def work(self, wall: float, processor: float) -> None:
        """Let time pass."""
        self.wall, self.processor = self.wall + wall, self.processor + processor


def test_parts_add_up_over_runs_that_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "timings.json"
    first = Spent(path)
    with first.part("dataset"):
        clock.work(3, 5)
    with pytest.raises(KeyboardInterrupt), first.part("train"):
        clock.work(20, 30)
        raise KeyboardInterrupt
    again = Spent(path)
    with again.part("train"):
        clock.work(40, 70)
    assert again.parts == {"dataset": (3.0, 5.0), "train": (60.0, 100.0)}
    assert again.timings == {"dataset": 3.0, "train": 60.0, "dataset, processor": 5.0, "train, processor": 100.0}
    assert again.table() == [
        "part          time   processor",
        "dataset        3 s         5 s",
        "train        1 min  1 min 40 s",
        "total    1 min 3 s  1 min 45 s",
    ]


def test_workers_that_have_ended_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spent_module.os, "times", lambda: (1.0, 2.0, 4.0, 8.0, 999.0))
    assert spent_module._processor() == 15.0
