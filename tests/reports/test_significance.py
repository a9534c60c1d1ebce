"""The paired bootstrap finds differences that clips agree on, and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.significance import bootstrap, comparisons
from dawn_bench.results import ScoreRow


def test_pairing_sees_a_small_difference_under_a_large_spread(row: Callable[..., ScoreRow]) -> None:
    rng = np.random.default_rng(0)
    base = {f"clip{i}": float(v) for i, v in enumerate(rng.normal(20, 5, 30))}
    swing = rng.normal(0, 4, 30)
    noise = {c: v + float(s) for (c, v), s in zip(base.items(), swing - swing.mean(), strict=True)}
    better = {c: v + 0.5 + float(rng.normal(0, 0.1)) for c, v in base.items()} | {"only-here": 99.0, "undefined": None}

    def make(method: str, per_clip: dict[str, float | None]) -> ScoreRow:
        mean = float(np.mean([per_clip[c] or 0.0 for c in base]))
        return row(method, mean, metric="psnr", higher_is_better=True, per_clip=per_clip)

    (table,) = leaderboards([make("base", dict(base)), make("better", better), make("noise", dict(noise))])
    compared = {(c.best, c.other): c for c in comparisons(table)}
    against = compared["better", "base"]
    assert against.significant and against.n_clips == 30 and 0.4 < against.low < against.difference < against.high < 0.6
    assert not compared["better", "noise"].significant


def test_too_few_common_clips_give_no_comparison(row: Callable[..., ScoreRow]) -> None:
    per_clip = {f"clip{i}": 1.0 * i for i in range(4)}
    (table,) = leaderboards([row("a", 1.0, per_clip=per_clip), row("b", 2.0, per_clip=per_clip)])
    assert comparisons(table) == []


def test_the_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(1)
    inside = [low <= 0 <= high for low, high in (bootstrap(rng.normal(0, 1, 40), seed=i) for i in range(200))]
    assert 0.88 <= np.mean(inside) <= 0.99
