"""Drift: the slope over a clip's seconds, its interval, and clips that are too short or lack a face."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.errors import ItemError
from dawn_bench.metrics.drift import slope_weights
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS

NAMES = ("drift-cpbd", "drift-exposure", "drift-colour", "drift-csim", "drift-fid")


def test_the_weights_give_the_slope_of_a_line():
    for count in (2, 3, 10):
        assert slope_weights(count) @ (3 + 0.5 * np.arange(count)) == pytest.approx(0.5)
        noise = np.random.default_rng(count).normal(size=count)
        assert slope_weights(count) @ noise == pytest.approx(np.polyfit(np.arange(count), noise, 1)[0])


def test_none_is_computed_unless_it_is_named():
    assert all(METRICS[n].optional and METRICS[n].group == "drift" and METRICS[n].whole for n in NAMES)
    assert all(METRICS[n].aim() == "zero" for n in NAMES)


def test_the_drift_is_the_mean_slope_over_the_seconds_of_each_clip():
    metric = METRICS["drift-cpbd"]()
    metric.update({"cpbd": np.repeat([0.9, 0.7, 0.5], 25)}, {}, clip_id="a")
    metric.update({"cpbd": np.r_[np.repeat([0.4, 0.4, 0.4, 0.4], 25), np.zeros(24)]}, {}, clip_id="b")
    metric.update({"cpbd": np.ones(74)}, {}, clip_id="c")
    score = metric.compute()
    assert score.value == pytest.approx(-0.1) and score.n_clips == 2
    assert score.per_clip == {"a": pytest.approx(-0.2), "b": pytest.approx(0), "c": None}
    assert (score.low, score.high) == (pytest.approx(-0.2), pytest.approx(0))
    assert "0.65 in second 1, 0.45 in second 3" in score.note and "fewer than 3 whole seconds (1)" in score.note
    assert score.over_time[:2] == pytest.approx((0.65, 0.55))


@pytest.mark.parametrize("name", ["drift-exposure", "drift-colour"])
def test_a_shift_that_grows_drifts_and_a_constant_one_does_not(name: str):
    lab = np.zeros((100, 3))
    lab[:, 0 if name == "drift-exposure" else 2] = np.repeat([0, 2, 4, 6], 25)
    for shift, slope in ((lab, 2), (lab * 0 + 5, 0)):
        metric = METRICS[name]()
        metric.update({"levels.lab": shift}, {"levels.lab": np.zeros((100, 3))}, clip_id="a")
        assert metric.compute().value == pytest.approx(slope)


def turned(degrees: np.ndarray, variant: str) -> dict[str, np.ndarray]:
    angle = np.radians(degrees)
    return {
        f"identity.{variant}": np.stack([np.cos(angle), np.sin(angle)], 1),
        "identity.found": np.ones(len(angle), bool),
    }


@pytest.mark.parametrize(("variant", "each"), [("arcface", 25), ("dlib", 5)])
@pytest.mark.parametrize("reference", ["true", "source"])
def test_the_identity_drifts(variant: str, each: int, reference: str):
    """Cosines 1, 1/2 and 0, in networks of every frame and of every fifth; the true face turns half as far."""
    ours, theirs = (turned(np.repeat(d, each), variant) for d in ([0, 60, 90], [0, 0, 30]))
    wanted = (0 - 1) / 2 if reference == "source" else (np.cos(np.pi / 3) - 1) / 2
    ours["identity.found"][1] = False  # a frame that does not count
    metric = METRICS["drift-csim"](protocol("paper-dawn", (f"csim_reference='{reference}'",)))
    metric.update(ours, theirs, clip_id="a")
    assert metric.compute().value == pytest.approx(wanted)
    ours["identity.found"][each : 2 * each] = False
    metric.update(ours, theirs, clip_id="a")
    assert metric.compute().value is None and "a second without a face (1)" in metric.compute().note


def test_the_fid_drifts_with_pictures_that_decay():
    rng = np.random.default_rng(0)
    metric, still = METRICS["drift-fid"](), METRICS["drift-fid"]()
    growth = np.repeat([0.0, 1, 2, 3], 25)[:, None]
    for k in range(12):
        true, noise = rng.normal(size=(2, 100 + k, 1))
        metric.update({"inception": noise[:100] + growth}, {"inception": true}, clip_id=f"{k:02d}")
        still.update({"inception": noise + 1}, {"inception": true}, clip_id=f"{k:02d}")
    with pytest.raises(ItemError, match="74 frames, FID-drift needs 75"):
        metric.update({"inception": true[:74]}, {"inception": true}, clip_id="x")
    score = metric.compute()
    # distances about 0, 1, 4, 9: the slope of these is 3
    assert score.value == pytest.approx(3, abs=0.4) and score.low < score.value < score.high and score.low > 1
    assert len(score.over_time) == 4 and score.n_frames == 12 * 100
    assert "in second 4" in score.note and "12 clips, at least 20" in score.note
    assert abs(still.compute().value) < 0.3


def test_the_fid_of_seconds_that_half_of_the_clips_reach():
    metric = METRICS["drift-fid"]()
    for k, frames in enumerate((75, 100, 130)):
        true = np.random.default_rng(k).normal(size=(frames, 1))
        metric.update({"inception": true + 1}, {"inception": true}, clip_id=str(k))
    score = metric.compute()
    assert len(score.over_time) == 4 and score.n_clips == 2 and "1 of 3 clips end before second 4" in score.note
    assert score.value == pytest.approx(0, abs=1e-6) and score.over_time == pytest.approx((1, 1, 1, 1))
