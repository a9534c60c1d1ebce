"""DR: up when later frames are worse, zero when all are equally bad, undefined where it has no meaning."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring.base import METRICS


def score(noise_first: float, noise_last: float, *, frames: int = 60):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    metric = METRICS["dr25"]()
    noise = np.linspace(noise_first, noise_last, frames)[:, None]
    for i in range(8):
        true = rng.standard_normal((frames, 16))
        metric.update({"inception": true + noise * rng.standard_normal(16)}, {"inception": true}, clip_id=str(i))
    return metric.compute()


def test_degrading_later_frames_moves_dr_up() -> None:
    even, worse, worst, better = score(1, 1), score(1, 1.5), score(1, 3), score(2, 1)
    assert better.value < even.value < worse.value < worst.value
    assert even.value == pytest.approx(0, abs=0.1) and worst.value > 1
    assert worst.low < worst.value < worst.high and worst.low >= -1
    assert worst.n_frames == 8 * 50 and "FID_st" in worst.note


def test_perfect_first_frames_leave_dr_undefined() -> None:
    perfect = score(0, 0)
    assert perfect.value is None and "FID_st is 0" in perfect.note


def test_clips_shorter_than_both_ends_are_refused() -> None:
    with pytest.raises(ItemError, match="too_short"):
        score(1, 1, frames=49)


def test_only_the_ends_count() -> None:
    rng = np.random.default_rng(1)
    true = rng.standard_normal((4, 80, 8))
    generated = true + 0.5
    generated[:, -25:] += 0.5
    changed = generated.copy()
    changed[:, 25:-25] += 100
    values = []
    for features in (generated, changed):
        metric = METRICS["dr25"]()
        for i in range(4):
            metric.update({"inception": features[i]}, {"inception": true[i]}, clip_id=str(i))
        values.append(metric.compute().value)
    assert values[0] == values[1] == pytest.approx(3, rel=1e-6)  # |1|² / |0.5|² - 1


def test_degrading_later_frames_moves_dr_and_nothing_that_forgets_the_order() -> None:
    """The same damage to the first or to the last frames: the order of frames is all that differs."""
    rng = np.random.default_rng(5)
    true = rng.standard_normal((6, 60, 8)) @ rng.standard_normal((8, 8))
    noise = np.linspace(0.2, 3, 60)[:, None] * rng.standard_normal((6, 60, 8))
    values = {}
    for name in ("fid", "dr25"):
        for order in ("later", "earlier"):
            metric = METRICS[name]()
            for i in range(6):
                generated, real = (true + noise)[i], true[i]
                if order == "earlier":
                    generated, real = generated[::-1], real[::-1]
                metric.update({"inception": generated}, {"inception": real}, clip_id=str(i))
            values[name, order] = metric.compute().value
    assert values["fid", "later"] == pytest.approx(values["fid", "earlier"], rel=1e-9)
    assert values["dr25", "later"] > 1 > 0 > values["dr25", "earlier"]
    mse = (noise**2).mean(axis=2)  # what PSNR, and with it every mean over frames, depends on
    for errors in (mse, mse[:, ::-1]):
        metric = METRICS["psnr"]()
        for i in range(6):
            metric.update({"images.mse": errors[i]}, {}, clip_id=str(i))
        values.setdefault(("psnr",), []).append(metric.compute().value)
    assert values["psnr",][0] == pytest.approx(values["psnr",][1], rel=1e-12)
