"""Head motion, lip dynamics, silent lips, key points and blinks on every reference case."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.blinks import blink_facts
from dawn_bench.metrics.functional.head_motion import head_motion, keypoint_confidence, lip_dynamics, silent_lips

PATHS = golden_cases("metrics2", "head_motion.json")


def cases(kind: str) -> list[tuple]:
    return [(path, name) for path in PATHS for name in facts(path).get(kind, ())]


def case_id(case: tuple) -> str:
    return f"{case[0].parent}:{case[1]}"


def number(expected: float | None) -> object:
    """A reference number at its tolerance; null is NaN."""
    return pytest.approx(np.nan if expected is None else expected, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", cases("theval"), ids=case_id)
def test_head_motion_of_theval(case):
    path, name = case
    expected, stored = facts(path)["theval"][name], arrays(path)
    ours = head_motion(stored[f"head_{name}_pitch_yaw_roll_deg"], stored[f"head_{name}_face_centre"])
    assert ours.dynamics == number(expected["theval_head_motion_dynamics"])
    assert ours.rotation == number(expected["without_translation"])
    assert list(ours.jerkiness) == [number(value) for value in expected["smoothness_pitch_yaw_roll"]]
    assert (ours.spread, ours.speed) == (number(expected["std_mean"]), number(expected["speed_deg_per_frame"]))


@pytest.mark.parametrize("case", cases("lip_dynamics"), ids=case_id)
def test_lip_dynamics_of_theval(case):
    path, name = case
    expected = facts(path)["lip_dynamics"][name]
    points = arrays(path)[f"lips_{name}"]
    assert points.shape[1] == expected["points"]
    assert lip_dynamics(points, scale=expected["scale"]) == number(expected["std_over_time"])


@pytest.mark.parametrize("case", cases("silent_lips"), ids=case_id)
def test_silent_lips_of_theval(case):
    path, name = case
    expected = facts(path)["silent_lips"][name]["median_abs_deviation_from_mean"]
    assert silent_lips(arrays(path)[f"silent_lips_{name}"]) == number(expected)


@pytest.mark.parametrize("case", cases("keypoint_confidence"), ids=case_id)
def test_confidence_and_variance_of_key_points(case):
    path, name = case
    expected, stored = facts(path)["keypoint_confidence"][name], arrays(path)
    ours = keypoint_confidence(
        stored[f"hk_{name}_points"], stored[f"hk_{name}_confidence"], threshold=expected["threshold"]
    )
    assert ours.points == expected["points_used"]
    names = {"mean": "hkc", "mean_where_seen": "hkc_frames_with_points", "variance": "hkv"}
    names |= {"variance_anyway": "hkv_all_frames_no_threshold", "steps": "motion_mean_abs"}
    for field, key in names.items():
        assert getattr(ours, field) == number(expected[key]), key


@pytest.mark.parametrize("case", cases("blinks"), ids=case_id)
def test_blinks_as_runs_of_shut_frames(case):
    path, name = case
    expected = facts(path)["blinks"][name]
    ours = blink_facts(
        arrays(path)[f"ear_{name}"],
        fps=expected["fps"],
        threshold=expected["threshold"],
        least=expected["min_frames"],
        most=expected["max_frames"],
    )
    assert [list(blink) for blink in ours.blinks] == expected["blinks"]
    assert len(ours.blinks) == expected["count"]
    assert ours.seconds_seen == number(expected["seconds_seen"])
    assert (ours.per_minute, ours.per_minute / 60) == (
        number(expected["rate_per_minute"]),
        number(expected["rate_per_second"]),
    )
    assert (ours.duration, ours.closed) == (number(expected["duration_mean"]), number(expected["closed_share"]))
    between = ours.intervals
    if len(between):
        assert between.mean() == number(expected["interval_mean"])
        assert between.std() == number(expected["interval_std_population"])
        assert (between.min(), between.max()) == (number(expected["interval_min"]), number(expected["interval_max"]))
    else:
        assert expected["interval_mean"] is expected["interval_std_population"] is expected["interval_min"] is None
    if len(between) > 1:
        assert between.std(ddof=1) == number(expected["interval_std_sample"])
    else:
        assert expected["interval_std_sample"] is None
