"""The paired bootstrap finds differences that clips agree on, and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.significance import RESAMPLES, bootstrap, comparisons
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
    inside = [low <= 0 <= high for low, high in (bootstrap(rng.normal(0, 1, (1, 40)), seed=i)[0] for i in range(200))]
    assert 0.88 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("clips", [5, 64, 1001])
def test_draws_in_blocks_are_those_of_one_pair_alone(clips: int) -> None:
    """An interval has the same bits as from one call of the generator for its pair, whatever else is compared."""
    differences = np.random.default_rng(clips).normal(0.1, 3, (4, clips))[:, ::-1]
    picks = np.random.default_rng(7).integers(clips, size=(RESAMPLES, clips))
    for values, interval in zip(differences, bootstrap(differences, seed=7), strict=True):
        assert np.array_equal(interval, np.percentile(values[picks].mean(axis=1), [2.5, 97.5]))


def test_pairs_of_different_clip_counts_each_have_their_own_draws(row: Callable[..., ScoreRow]) -> None:
    rng = np.random.default_rng(2)
    rows = [
        row(f"m{m}", float(m), metric=metric, higher_is_better=False, per_clip={
            f"clip{c:02d}": float(m + rng.normal(0, 4)) for c in range(30) if metric == "psnr" or c >= 3 * m
        })
        for metric in ("psnr", "csim") for m in range(4)
    ]  # fmt: skip
    (table,) = leaderboards(rows)
    compared = comparisons(table)
    assert [(c.column.metric, c.best, c.other) for c in compared] == [
        (column.metric, "m0", other) for column in table.columns for other in ("m1", "m2", "m3")
    ]
    values = {(r.metric, r.method): r.per_clip for r in rows}
    for c in compared:
        best, other = values[c.column.metric, c.best], values[c.column.metric, c.other]
        gaps = np.array([best[k] - other[k] for k in sorted(best.keys() & other.keys())])  # type: ignore[operator]
        picks = np.random.default_rng(0).integers(len(gaps), size=(RESAMPLES, len(gaps)))
        low, high = np.percentile(gaps[picks].mean(axis=1), [2.5, 97.5])
        assert (c.difference, c.low, c.high, c.n_clips) == (gaps.mean(), low, high, len(gaps))
    assert {c.n_clips for c in compared} == {30, 27, 24, 21}
