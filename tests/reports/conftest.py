"""Synthetic score rows for the tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from distinct_rows import Shown, rows_of

from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow


@pytest.fixture
def row() -> Callable[..., ScoreRow]:
    """A builder of rows: fields that a test does not set are the same for all."""

    def make(method: str, value: float | None, **other: Any) -> ScoreRow:
        fields = {
            "dataset": "crema",
            "split": "test",
            "protocol": "paper-dawn",
            "metric": "fid",
            "higher_is_better": False,
            "n_clips": 8,
            "n_frames": 800,
            "weights_state": "canonical",
            "fingerprint": "f0",
            "created": "2026-01-01T00:00:00+00:00",
        }
        return ScoreRow.model_validate({"method": method, "value": value} | fields | other)

    return make


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A report of rows that are all distinct."""

    def make(method: str, value: float | None, **other: Any) -> ScoreRow:
        fields = {"dataset": "crema", "split": "test", "protocol": "paper-dawn", "created": "2026-01-01T00:00:00+00:00"}
        return ScoreRow.model_validate({"method": method, "value": value} | fields | other)

    rows, root = rows_of(make), tmp_path_factory.mktemp("shown")
    ResultsStore(root / "results").append(rows)
    stored = ResultsStore(root / "results").rows()
    written = write_report(root / "results", root / "out", published=())
    (board,) = leaderboards(stored)
    return Shown({(r.method, r.metric): r for r in rows}, board, {p.suffix[1:]: p.read_text() for p in written})
