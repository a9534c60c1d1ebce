"""The intervals of scores, worked out by hand: the jackknife of distances, the bootstrap of means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from dawn_bench.metrics.functional.bootstrap import ratio_interval
from dawn_bench.metrics.functional.frechet import Sums, frechet_by_clip, frechet_of_moments, interval, moments
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS, Part, by_second, mean_over_time
from dawn_bench.reports.significance import bootstrap

#: Values of one dimension in three clips of unequal length, nine generated and ten true.
ONE = [[0.0, 1, 5], [2.0, 9], [4.0, 4.5, 3, 8]]
TWO = [[1.0, 1, 2], [7.0, 3, 4], [0.0, 6, 2, 2.5]]


def f(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float64)


def lines(*values: float) -> np.ndarray:
    """Features of one dimension."""
    return np.array(values)[:, None]


def influences(one: list[list[float]], two: list[list[float]]) -> tuple[float, list[float]]:
    """The distance in one dimension and each clip's influence on it, from the derivative by hand."""
    x, y = np.concatenate(one), np.concatenate(two)
    (m, s), (u, r) = ((side.mean(), side.std(ddof=1)) for side in (x, y))
    changes = []
    for values, mean, own, other, gap in ((one, m, s, r, m - u), (two, u, r, s, u - m)):
        change = [
            sum((v - mean) ** 2 * (1 - other / own) + 2 * (v - mean) * gap for v in part) / sum(map(len, values))
            for part in values
        ]
        changes.append([c - sum(change) * len(p) / sum(map(len, values)) for c, p in zip(change, values, strict=True)])
    return (m - u) ** 2 + (s - r) ** 2, [a + b for a, b in zip(*changes, strict=True)]


@pytest.mark.parametrize("dimensions", [1, 30], ids=["many samples", "few samples"])
def test_the_interval_of_a_frechet_distance_by_hand(dimensions: int) -> None:
    """t quantile of n - 1 degrees times sqrt(n / (n - 1) * sum of the squared influences), clips of unequal length."""
    value, influence = influences(ONE, TWO)
    parts = [[np.pad(lines(*p), ((0, 0), (0, dimensions - 1))) for p in side] for side in (ONE, TWO)]
    distance = frechet_by_clip(*parts)
    assert distance.value == pytest.approx(value)
    assert distance.influence == pytest.approx(influence) and abs(sum(influence)) < 1e-9
    reach = student.ppf(0.975, 2) * math.sqrt(3 / 2 * sum(i**2 for i in influence))
    low, high = interval(value, np.array(influence), floor=-99)
    assert (low, high) == (pytest.approx(value - reach), pytest.approx(value + reach))
    assert interval(value, np.array(influence), floor=0.0)[0] == max(value - reach, 0.0)
    metric = METRICS["fid"]()
    for clip, a, b in zip("abc", *parts, strict=True):
        metric.update({"inception": a}, {"inception": b}, clip_id=clip)
    score = metric.compute()
    assert (score.low, score.high) == (pytest.approx(max(value - reach, 0)), pytest.approx(value + reach))


def test_the_quantile_is_that_of_the_t_distribution() -> None:
    low, high = interval(10.0, np.array([1.0, -1.0, 2.0, -2.0, 0.0]), floor=0.0)
    reach = 2.7764451 * math.sqrt(5 / 4 * 10)  # 97.5 % point of 4 degrees of freedom, from a printed table
    assert (low, high) == (pytest.approx(10 - reach), pytest.approx(10 + reach))


def test_the_interval_of_a_degradation_rate_by_hand() -> None:
    """A ratio R = L / F has the influence (l - R f) / F, and DR is R - 1; it cannot be below -1."""
    rng = np.random.default_rng(3)
    frames = {clip: rng.normal(0, 1 + k / 3, (2, 60, 1)) for k, clip in enumerate("abcd")}
    metric = METRICS["dr25"]()
    for k, (clip, (ours, theirs)) in enumerate(frames.items()):
        ours = ours + np.linspace(1, 2 + k / 2, 60)[:, None]
        frames[clip] = np.stack([ours, theirs])
        metric.update({"inception": ours}, {"inception": theirs}, clip_id=clip)
    (first, f_by), (last, l_by) = (
        influences(*([list(sides[k, :, 0][end]) for sides in frames.values()] for k in (0, 1)))
        for end in (slice(25), slice(-25, None))
    )
    influence = [(b - last / first * a) / first for a, b in zip(f_by, l_by, strict=True)]
    reach = student.ppf(0.975, 3) * math.sqrt(4 / 3 * sum(i**2 for i in influence))
    score, value = metric.compute(), last / first - 1
    assert score.value == pytest.approx(value) and score.n_frames == 200
    assert (score.low, score.high) == (pytest.approx(max(value - reach, -1)), pytest.approx(value + reach))
    assert f"FID_st {first:.4g}, FID_ed {last:.4g} over 100 frames each" in score.note


def test_all_true_frames_may_be_the_reference_of_both_ends() -> None:
    metric = METRICS["dr25"](protocol("paper-dawn", ("dr_reference=all",)))
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(2, 3, (60, 1)), rng.normal(0, 1, (75, 1))
    metric.update({"inception": ours}, {"inception": theirs}, clip_id="a")

    def distance(part: np.ndarray) -> float:
        return float((part.mean() - theirs.mean()) ** 2 + (part.std(ddof=1) - theirs.std(ddof=1)) ** 2)

    assert metric.compute().value == pytest.approx(distance(ours[-25:]) / distance(ours[:25]) - 1)


@pytest.mark.parametrize("biased", [False, True])
def test_sums_and_parts_have_the_moments_of_all_samples(biased: bool) -> None:
    x = np.random.default_rng(5).normal(3, 2, (11, 2)) @ f([1, 2], [0, 3])
    whole = np.mean(x, axis=0), np.cov(x.T, bias=biased)
    added = (Sums.of(x[:4]) + Sums.of(x[4:])).moments(biased=biased)
    parted = moments([x[:1], x[1:]], biased=biased)
    for m in (added, parted):
        assert m.n == 11 and m.mean == pytest.approx(whole[0]) and m.covariance == pytest.approx(whole[1])
    y = moments([x[:, ::-1] * 2 + 1])
    gap = whole[0] - (x[:, ::-1] * 2 + 1).mean(axis=0)
    root = np.trace(np.linalg.cholesky(whole[1]).T @ y.covariance @ np.linalg.cholesky(whole[1]))
    eigen = np.linalg.eigvals(parted.covariance @ y.covariance).real
    wanted = gap @ gap + np.trace(parted.covariance) + np.trace(y.covariance) - 2 * np.sqrt(eigen).sum()
    assert root > 0 and frechet_of_moments(parted, y) == pytest.approx(wanted)


def exact(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Every resample of a few clips, in order."""
    picks = np.array(list(product(range(len(total)), repeat=len(total))))
    return np.sort(total[picks].sum(axis=1) / weight[picks].sum(axis=1))


def share_below(values: np.ndarray, bound: float) -> tuple[float, float]:
    """Share of values below a bound, and up to it."""
    return float((values < bound - 1e-12).mean()), float((values <= bound + 1e-12).mean())


#: Six clips: 46,656 resamples. Unequal weights tell a ratio of sums from a mean of ratios.
TOTAL, WEIGHT = np.array([2.0, 3.0, 40.0, 5.0, 1.0, -6.0]), np.array([1.0, 4.0, 9.0, 2.0, 1.0, 3.0])


@pytest.mark.parametrize(
    ("bounds", "weight"),
    [
        pytest.param(lambda: ratio_interval(TOTAL, WEIGHT), WEIGHT, id="metrics"),
        pytest.param(lambda: bootstrap(TOTAL[None])[0], np.ones(6), id="differences"),
    ],
)
def test_both_bootstraps_cover_the_middle_95_percent_of_all_resamples(
    bounds: Callable[[], tuple[float, float]], weight: np.ndarray
) -> None:
    values = exact(TOTAL, weight)
    for bound, tail in zip(bounds(), (0.025, 0.975), strict=True):
        below, up_to = share_below(values, bound)
        assert below - 0.012 <= tail <= up_to + 0.012


class Given(METRICS["ssim"]):  # type: ignore[misc]
    """A mean of given shares: total, weight and frames of each clip."""

    def measure(self, generated: Mapping[str, Any], true: Mapping[str, Any]) -> Part:
        return Part(*generated["x"])


def given(clips: Mapping[str, tuple[float, float, int]], *, seed: int = 0) -> Given:
    metric = Given(seed=seed)
    for clip, share in clips.items():
        metric.update({"x": share}, {}, clip_id=clip)
    return metric


def test_an_interval_follows_the_seed_and_the_weights_of_the_clips() -> None:
    clips = {f"{k}": (t, w, 1) for k, (t, w) in enumerate(zip(TOTAL, WEIGHT, strict=True))}
    scores = [given(clips, seed=seed).compute() for seed in (0, 1)]
    for seed, score in enumerate(scores):
        assert (score.low, score.high) == ratio_interval(TOTAL, WEIGHT, seed=seed)
    assert (scores[0].low, scores[0].high) != (scores[1].low, scores[1].high)
    assert scores[0].value == scores[1].value == pytest.approx(45 / 20)


def test_an_undefined_clip_counts_neither_in_the_mean_nor_in_the_interval() -> None:
    metric = given({"a": (6, 2, 10), "b": (0, 0, 7), "c": (5, 1, 3)})
    score = metric.compute()
    assert (score.value, score.n_clips, score.n_frames) == (pytest.approx(11 / 3), 2, 13)
    assert (score.low, score.high) == (3, 5) and score.per_clip == {"a": 3, "b": None, "c": 5}
    assert metric.left_out(metric.records["b"]) == "all" and metric.left_out(metric.records["a"]) == ""


def test_a_second_is_25_frames_and_half_of_the_clips_reach_the_last_one() -> None:
    assert by_second(np.arange(60.0)) == (12.0, 37.0)
    three = [(1.0, 2.0, 3.0, 4.0), (3.0, 4.0, 5.0), (5.0,)]
    assert mean_over_time(three) == (3.0, 3.0, 4.0)
    assert mean_over_time([*three, (7.0,)]) == (4.0, 3.0, 4.0)  # two of four reach the third second
