"""FID and the Fréchet distance: known truth, singular covariances, the interval."""

from __future__ import annotations

from dataclasses import is_dataclass

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.functional.frechet import frechet, frechet_by_clip, frechet_of_moments, interval, moments
from dawn_bench.metrics.scoring.base import METRICS, Metric
from dawn_bench.metrics.scoring.extraction import Extraction


def fed(metric: Metric, generated: list[np.ndarray], true: list[np.ndarray]) -> Metric:
    for i, (a, b) in enumerate(zip(generated, true, strict=True)):
        metric.update({metric.needs[0]: a}, {metric.needs[0]: b}, clip_id=f"{i:02d}")
    return metric


def clips(rng: np.random.Generator, n: int, frames: int, dim: int, *, shift: float = 0.0) -> list[np.ndarray]:
    mix = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    return [(rng.standard_normal((frames, dim)) + 0.4 * rng.standard_normal(dim)) @ mix + shift for _ in range(n)]


@pytest.mark.parametrize(("n", "dim"), [(500, 12), (30, 200)], ids=["many samples", "few samples"])
def test_equal_sets_have_distance_0_and_a_shift_its_square(n: int, dim: int) -> None:
    x = np.random.default_rng(0).standard_normal((n, dim))
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet(x + 0.5, x) == pytest.approx(0.25 * dim, rel=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(500, 12), (30, 200)], ids=["many samples", "few samples"])
def test_scaling_gives_the_closed_form(n: int, dim: int) -> None:
    x = np.random.default_rng(1).standard_normal((n, dim))
    x -= x.mean(axis=0)
    assert frechet(3 * x, x) == pytest.approx(4 * np.trace(np.cov(x.T)), rel=1e-9)


def test_both_routes_agree_where_both_apply() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((60, 8)) @ rng.standard_normal((8, 50)), rng.standard_normal((55, 50))
    by_moments = frechet_by_clip([x], [y]).value  # 50 < 55: the many-samples route, on a covariance of rank 8
    wide = np.pad(x, ((0, 0), (0, 30))), np.pad(y, ((0, 0), (0, 30)))  # the same sets in 80 dimensions: the other route
    assert frechet(*wide) == pytest.approx(by_moments, rel=1e-6)
    assert frechet_of_moments(moments([x]), moments([y])) == pytest.approx(by_moments, rel=1e-9)


def test_a_covariance_of_rank_one_and_constant_features_are_defined() -> None:
    rng = np.random.default_rng(3)
    line = rng.standard_normal((300, 1)) @ np.ones((1, 20))
    assert frechet(line, line) == pytest.approx(0, abs=1e-6)
    constant = np.ones((300, 20))
    assert frechet(constant, constant) == 0
    assert frechet(constant, line) == pytest.approx(
        np.sum((1 - line.mean(0)) ** 2) + 20 * line[:, 0].var(ddof=1), rel=1e-6
    )


@pytest.mark.parametrize(("frames", "dim"), [(10, 200), (12, 10)], ids=["few samples", "many samples"])
def test_influence_is_the_change_from_leaving_a_clip_out(frames: int, dim: int) -> None:
    rng = np.random.default_rng(4)
    true = clips(rng, 12, frames, dim)
    generated = [x + 0.3 * rng.standard_normal(x.shape) + 0.3 * rng.standard_normal(dim) for x in true]
    influence = frechet_by_clip(generated, true).influence
    without = [frechet_by_clip(generated[:i] + generated[i + 1 :], true[:i] + true[i + 1 :]).value for i in range(12)]
    jackknife = 11 / 12 * (np.mean(without) - np.array(without))
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    assert np.corrcoef(influence, jackknife)[0, 1] > 0.95
    assert influence.std() == pytest.approx(jackknife.std(), rel=0.25)


def test_interval_holds_the_value_and_is_none_for_two_clips() -> None:
    low, high = interval(5.0, np.array([0.3, -0.1, -0.2]), floor=0.0)
    assert low is not None and high is not None and 0 <= low < 5 < high
    assert interval(5.0, np.array([0.3, -0.3]), floor=0.0) == (None, None)
    assert interval(0.1, np.array([3.0, -1.0, -2.0]), floor=0.0)[0] == 0.0


def test_fid_does_not_depend_on_the_order_of_clips_or_ranks() -> None:
    rng = np.random.default_rng(5)
    generated, true = clips(rng, 6, 8, 30), clips(rng, 6, 8, 30, shift=0.2)
    whole = fed(METRICS["fid"](), generated, true)
    one, two = METRICS["fid"](), METRICS["fid"]()
    one.merge({k: whole.records[k] for k in ("05", "02", "00")})
    two.merge({k: whole.records[k] for k in ("04", "01", "03")})
    one.merge(two.records)
    assert one.compute() == whole.compute()
    assert whole.compute().value == pytest.approx(frechet(np.concatenate(generated), np.concatenate(true)))


def test_few_frames_are_flagged_and_one_frame_is_undefined() -> None:
    rng = np.random.default_rng(6)
    score = fed(METRICS["fid"](), clips(rng, 3, 5, 10), clips(rng, 3, 5, 10)).compute()
    assert score.value is not None and "15 frames, at least 2049 are needed" in score.note
    single = fed(METRICS["fid"](), [np.ones((1, 10))], [np.ones((1, 10))]).compute()
    assert single.value is None and "a single frame" in single.note


def test_nan_features_fail_their_clip() -> None:
    with pytest.raises(ItemError, match="not_finite"):
        fed(METRICS["fid"](), [np.full((3, 4), np.nan)], [np.ones((3, 4))])


def state_bytes(metric: Metric) -> int:
    """Bytes of arrays that a metric's state keeps in memory; views of files count nothing."""
    total, waiting = 0, list(metric.records.values())
    while waiting:
        item = waiting.pop()
        if isinstance(item, np.ndarray):
            base = item
            while isinstance(base.base, np.ndarray):
                base = base.base
            total += 0 if isinstance(base, np.memmap) else item.nbytes
        elif is_dataclass(item):
            waiting += vars(item).values()
        elif isinstance(item, tuple | list):
            waiting += item
    return total


@pytest.mark.parametrize("name", ["fid", "fvd16"])
def test_running_sums_give_the_same_distance_for_any_number_of_clips(name: str) -> None:
    rng = np.random.default_rng(9)
    generated, true = clips(rng, 12, 20, 16, shift=0.3), clips(rng, 12, 20, 16)
    whole = fed(METRICS[name](), generated, true).compute()
    one, two = METRICS[name](running=True), METRICS[name](running=True)
    fed(one, generated[:1], true[:1])
    after_one = state_bytes(one)
    for i in range(12):
        metric = one if i < 5 else two
        metric.update({metric.needs[0]: generated[i]}, {metric.needs[0]: true[i]}, clip_id=f"{i:02d}")
    assert state_bytes(one) == after_one == 2 * 8 * (16 + 16 * 16)
    one.merge(two.records)
    score = one.compute()
    assert score.value == pytest.approx(whole.value, rel=1e-9)
    assert (score.n_clips, score.n_frames) == (whole.n_clips, whole.n_frames) == (12, whole.n_frames)
    assert score.low is None and "no interval" in score.note


def test_running_sums_note_clips_counted_twice() -> None:
    rng = np.random.default_rng(9)
    generated, true = clips(rng, 3, 20, 8), clips(rng, 3, 20, 8)
    one, two = (
        fed(METRICS["fid"](running=True), generated, true),
        fed(METRICS["fid"](running=True), generated[:1], true[:1]),
    )
    value = one.compute().value
    fed(one, generated[:1], true[:1])  # seen before: passed over
    assert one.compute().value == value
    one.merge(two.records)
    assert "1 clip counted twice" in one.compute().note


def test_what_a_metric_holds_does_not_grow_with_the_number_of_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a training loop without a folder for features: they lie in files of the extraction's own."""
    monkeypatch.setattr(
        "dawn_bench.metrics.features.inception.inception_features",
        lambda frames, network, **settings: frames.reshape(len(frames), -1)[:, :2048].astype(np.float32),
    )
    metrics = [METRICS[name]() for name in ("fid", "dr25", "ssim")]
    extraction, sizes = Extraction(metrics, weights="seeded"), {}
    for count in range(6):
        a, b = (np.random.default_rng(2 * count + k).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8) for k in (0, 1))
        generated, true = (Clip(str(count), "s", "test", 50, {"frames": frames}) for frames in (a, b))
        for metric in metrics:
            metric.update(*extraction.arrays(metric, generated, true), clip_id=true.id)
        sizes[count] = sum(state_bytes(metric) for metric in metrics)
    assert set(sizes.values()) == {0}
    assert len(extraction._pair) == 2  # the pair at hand
    assert metrics[0].compute().n_frames == 300
