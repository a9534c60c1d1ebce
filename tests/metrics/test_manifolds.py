"""Precision to coverage, KID, and the extrapolated distances: what they tell apart, and when they say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.metrics.functional.frechet import frechet
from dawn_bench.metrics.functional.kernel import mmd
from dawn_bench.metrics.functional.prdc import manifolds, realism
from dawn_bench.metrics.scoring.base import METRICS, Metric, Score

SHARES = ["precision", "recall", "density", "coverage"]


def clips(seed: int, count: int, frames: int, *, width: int = 3, spread: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [spread * rng.normal(size=(frames, width)) for _ in range(count)]


def score(metric: Metric, generated: list[np.ndarray], true: list[np.ndarray]) -> Score:
    for number, (ours, theirs) in enumerate(zip(generated, true, strict=True)):
        metric.update({metric.needs[0]: ours}, {metric.needs[0]: theirs}, clip_id=f"{number:03d}")
    return metric.compute()


def test_a_collapsed_generator_is_precise_and_covers_little() -> None:
    true, collapsed, wide = (clips(seed, 30, 100, spread=s) for seed, s in ((0, 1.0), (1, 0.2), (2, 4.0)))
    precise, recalled, dense, covered = (
        [score(METRICS[share](), given, true).value for given in (collapsed, wide)] for share in SHARES
    )
    assert precise[0] > 0.9 > 0.3 > precise[1] and dense[0] > 0.8 > 0.3 > dense[1]
    assert recalled[0] < 0.2 < 0.9 < recalled[1] and covered[0] < 0.5


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("suffix", ["", "-lite0"])
def test_shares_are_over_one_frame_a_second_of_all_clips(share: str, suffix: str) -> None:
    ours, true = clips(0, 25, 60, spread=0.8), clips(1, 25, 60)
    result = score(METRICS[share + suffix](), ours, true)
    chosen = [np.concatenate([rows[[12, 37]] for rows in side]) for side in (ours, true)]
    k, inside = (3, "<=") if share in ("precision", "recall") else (5, "<")
    assert result.value == getattr(manifolds(*chosen, k=k, inside=inside), share)
    assert result.n_frames == 50 and "50 frames, at least 100 are needed" in result.note
    assert result.low is not None and result.high is not None and result.low <= result.value <= result.high
    assert share == "density" or result.high <= 1


def test_as_many_frames_as_neighbours_are_undefined() -> None:
    assert score(METRICS["coverage"](), clips(0, 5, 25), clips(1, 5, 25)).value is None
    assert "5 frames or fewer" in score(METRICS["coverage"](), clips(0, 5, 25), clips(1, 5, 25)).note
    assert score(METRICS["coverage"](), clips(0, 6, 25), clips(1, 6, 25)).value is not None
    assert score(METRICS["recall"](), clips(0, 4, 25), clips(1, 4, 25)).value is not None


def test_a_sample_among_small_balls_is_more_real_than_one_outside() -> None:
    true = np.random.default_rng(0).normal(size=(60, 3))
    ratios = realism(np.array([[0.0, 0, 0], [9, 9, 9]]), true)
    assert ratios[0] > 1 > ratios[1]


@pytest.mark.parametrize(("name", "array", "each"), [("kid", "inception", 1), ("kvd16", "i3d.16", 16)])
def test_kernel_distances_are_over_all_features(name: str, array: str, each: int) -> None:
    ours, true = clips(0, 6, 9, spread=1.5), clips(1, 6, 9)
    metric = METRICS[name]()
    result = score(metric, ours, true)
    assert metric.needs == (array,) and metric.optional
    assert result.value == pytest.approx(mmd(np.concatenate(ours), np.concatenate(true)))
    assert result.n_frames == 54 * each


@pytest.mark.parametrize(("name", "each"), [("fid-inf", 1), ("fvd16-inf", 16)])
def test_the_extrapolated_distance_is_near_the_true_one(name: str, each: int) -> None:
    """Two equal distributions are 0 apart; the plain distance of 1,000 samples of 60 features is not."""
    ours, true = clips(0, 200, 5, width=60), clips(1, 200, 5, width=60)
    result = score(METRICS[name](), ours, true)
    plain = frechet(np.concatenate(ours), np.concatenate(true))
    assert result.value is not None and abs(result.value) < 0.2 * plain
    assert result.low is not None and result.high is not None and result.low < result.value < result.high
    assert result.n_frames == 1000 * each and result.note in ("R² 0.99", "R² 1.00")


def test_too_few_clips_or_samples_are_not_extrapolated() -> None:
    few = score(METRICS["fid-inf"](), clips(0, 199, 5), clips(1, 199, 5))
    assert few.value is None and few.note == "199 clips, at least 200 are needed"
    thin = score(METRICS["fid-inf"](), clips(0, 200, 2, width=200), clips(1, 200, 2, width=200))
    assert thin.value is None and thin.note == "400 samples of 200 features are too few for a line"


def test_sets_that_are_not_paired_have_shares() -> None:
    ours, true, nothing = clips(0, 9, 25), clips(1, 12, 25), np.zeros((0, 3))
    paired = score(METRICS["recall"](), [*ours, *[nothing] * 12], [*[nothing] * 9, *true])
    chosen = [np.concatenate([rows[[12]] for rows in side]) for side in (ours, true)]
    assert paired.value == manifolds(*chosen).recall and paired.n_frames == 9
