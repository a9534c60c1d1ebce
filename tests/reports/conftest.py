"""Synthetic score rows for the tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
