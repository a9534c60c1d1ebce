"""Flicker, smoothness, motion histograms and speeds of points on every reference case."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.video_motion import (
    changes,
    motion_distance,
    motion_histograms,
    point_speeds,
    second_difference,
    smoothness,
)

PATHS = golden_cases("metrics2", "video_motion.json")


def cases(kind: str) -> list[tuple]:
    return [(path, name) for path in PATHS for name in facts(path).get(kind, ())]


def case_id(case: tuple) -> str:
    return f"{case[0].parent}:{case[1]}"


def number(expected: float | None, rel: float = 1e-9) -> object:
    """A reference number at its tolerance; null is NaN."""
    return pytest.approx(np.nan if expected is None else expected, rel=rel, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", cases("cases"), ids=case_id)
def test_changes_between_frames(case):
    path, name = case
    expected, frames = facts(path)["cases"][name], arrays(path)[f"{name}_video"]
    ours = changes(frames)
    assert len(frames) == expected["frames"]
    assert ours.temporal_flickering == number(expected["vbench_temporal_flickering"], 1e-6)
    assert ours.absolute.tolist() == [number(value) for value in expected.get("mean_abs_difference_per_pair", [])]
    assert ours.frozen == expected.get("frozen_pairs", 0)
    values = {
        "mean_abs_difference": ours.mean,
        "rms_difference": ours.rms,
        "brightness_flicker_std": ours.brightness_flicker,
        "second_difference_mean": second_difference(frames),
        "smoothness_linear_interpolation": smoothness(frames),
        "smoothness_every_frame": smoothness(frames, every=True),
    }
    assert values == {key: number(expected.get(key)) for key in values}


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_motion_histograms_and_their_distance(path):
    expected, stored = facts(path)["fvmd_distance"], arrays(path)
    sides = [motion_histograms(stored[f"fvmd_{side}_tracks"]) for side in ("real", "fake")]
    for side, histograms in zip(("real", "fake"), sides, strict=True):
        for kind in ("velocity", "acceleration"):
            np.testing.assert_allclose(getattr(histograms, kind), stored[f"fvmd_{side}_{kind}_hist"], rtol=1e-9)
    joint = [np.concatenate([h.reshape(len(h), -1) for h in histograms], axis=1) for histograms in sides]
    pairs = {
        "velocity": (sides[0].velocity, sides[1].velocity),
        "acceleration": (sides[0].acceleration, sides[1].acceleration),
        "combined": tuple(joint),
    }
    for kind, (real, fake) in pairs.items():
        assert motion_distance(real, fake, offset=1e-5) == number(expected[kind], 1e-6)
        assert motion_distance(real, fake) == number(expected["symmetric_eigh"][kind], 1e-6)


@pytest.mark.parametrize("case", cases("landmark_smoothness"), ids=case_id)
def test_speeds_of_points(case):
    path, name = case
    expected = facts(path)["landmark_smoothness"][name]
    ours = point_speeds(arrays(path)[f"jerk_{name}_points"])
    assert list(ours) == [number(expected[key]) for key in ("velocity", "acceleration", "jerk")]
    assert ours.jerk * 25**3 == number(expected["jerk_per_second3_at_25fps"])
    assert ours.acceleration / ours.velocity == number(expected["acceleration_over_velocity"])
