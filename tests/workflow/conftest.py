"""Fixtures of the tests of whole jobs."""

from __future__ import annotations

import pytest

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.workflow import scoring


@pytest.fixture
def cheap_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a metric that needs no network, under the names that are asked for."""
    real = scoring.score_method

    def scored(*arguments, metrics, **settings):  # type: ignore[no-untyped-def]
        rows = real(*arguments, metrics=["psnr"], **settings)
        named = [{"metric": m, "label": METRICS[m].title, "weights_state": "seeded"} for m in metrics]
        return [r.model_copy(update=names) for r in rows for names in named]

    monkeypatch.setattr(scoring, "score_method", scored)
