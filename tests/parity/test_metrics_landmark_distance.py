"""LMD, LVD, AKD, AED and APD in every published variant, on every reference case."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.landmark_distance import (
    FACE,
    MOUTH,
    average_keypoint_distance,
    eat_distances,
    frame_distances,
    joint_distance,
    seen_in_both,
    velocity_distance,
)
from dawn_bench.metrics.functional.track_distance import (
    angle_differences,
    embedding_cosine,
    embedding_distance,
    pose_distance,
)

PATHS = golden_cases("metrics2", "landmark_distance.json")
CASES = [(path, name) for path in PATHS for name in facts(path)["cases"]]
POSES = [(path, name) for path in PATHS for name in facts(path).get("apd", ())]


def number(expected: float | None) -> object:
    """A reference number at its tolerance; null is NaN."""
    return pytest.approx(np.nan if expected is None else expected, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].parent}:{case[1]}")
def test_every_variant_of_the_landmark_distance(case):
    path, name = case
    expected = dict(facts(path)["cases"][name])
    generated, true = arrays(path)[f"{name}_pred"], arrays(path)[f"{name}_gt"]
    eat = expected.pop("eat", None)
    if eat is not None:
        ours = eat_distances(generated, true)
        assert [*ours] == [number(eat[key]) for key in ("M-LMD", "F-LMD", "M-LVD", "F-LVD_as_released")]
    if "frames_used" in expected:
        assert seen_in_both(generated, true).sum() == expected.pop("frames_used")
        assert average_keypoint_distance(generated, true) == number(expected.pop("AKD_l1_per_coordinate"))
    for variant, value in expected.items():
        region = MOUTH if variant.startswith("M-") else FACE
        if variant == "AKD_euclid":
            distance = frame_distances(generated, true).mean()
        elif "LVD" in variant:
            distance = velocity_distance(generated, true, region=region)
        else:
            rest = variant[len("F-LMD_") :]
            align = "mean" if rest.startswith("mean_aligned") else "none"
            scale = rest.removeprefix("mean_aligned").removeprefix("_").replace("pixel", "") or "pixels"
            distance = frame_distances(generated, true, region=region, align=align, scale=scale).mean()
        assert distance == number(value), variant


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_frames_without_a_generated_face_and_bodies(path):
    fact, stored = facts(path), arrays(path)
    generated = stored["akd_none_pred"].astype(np.float64)
    generated[fact["akd_none"]["missing_in_generated"]] = np.nan
    assert average_keypoint_distance(generated, stored["akd_none_gt"]) == number(fact["akd_none"]["value"])
    body = joint_distance(stored["body_pred"], stored["body_gt"])
    assert [*body] == [number(fact["body"]["akd"]), number(fact["body"]["mkr"])]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_embedding_distances(path):
    expected, stored = facts(path)["aed"], arrays(path)
    pair = stored["aed_pred"], stored["aed_gt"]
    for form in ("squared_l2", "l2", "l1_mean"):
        assert embedding_distance(*pair, form=form) == number(expected[form])
    for form in ("squared_l2", "l2"):
        assert embedding_distance(*pair, form=form, unit=True) == number(expected[f"unit_{form}"])
    assert embedding_cosine(*pair) == number(expected["cosine_similarity"])
    assert embedding_cosine(*pair, to_first=True) == number(expected["cosine_first_frame_reference"])


@pytest.mark.parametrize("case", POSES, ids=lambda case: f"{case[0].parent}:{case[1]}")
def test_pose_distances(case):
    path, name = case
    expected, stored = facts(path)["apd"][name], arrays(path)
    pair = stored[f"apd_{name}_pred"], stored[f"apd_{name}_gt"]
    names = {"l1_mean": "l1_mean_over_angles", "l1_sum": "l1_sum_over_angles", "l2": "l2"}
    for form, key in (names | {"geodesic": "geodesic_degrees"}).items():
        assert pose_distance(*pair, form=form) == number(expected[key])
    differences = np.abs(angle_differences(*pair)).mean(axis=0)
    assert differences.tolist() == [number(value) for value in expected["per_angle_mae"]]
    assert np.radians(pose_distance(*pair)) == number(expected["radians_l1_mean"])
