"""DTW, soft-DTW, temporal misalignment and PSNR along a path on every reference case."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.dtw import (
    dtw,
    dtw_distance,
    mean_temporal_misalignment,
    path_psnr,
    sakoe_chiba,
    soft_alignment,
    soft_dtw,
    soft_dtw_divergence,
    squared_distances,
)

PATHS = golden_cases("metrics2", "dtw.json")


def cases(kind: str) -> list[tuple]:
    return [(path, name) for path in PATHS for name in facts(path).get(kind, ())]


def case_id(case: tuple) -> str:
    return f"{case[0].parent}:{case[1]}"


def number(expected: float | None, rel: float = 1e-9, abs: float = 1e-12) -> object:
    """A reference number at its tolerance; null is NaN."""
    return pytest.approx(np.nan if expected is None else expected, rel=rel, abs=abs, nan_ok=True)


def assert_path(pairs: np.ndarray, n: int, m: int) -> None:
    """The path joins first to first and last to last, and goes on by one frame of one side or of both."""
    assert pairs[0].tolist() == [0, 0] and pairs[-1].tolist() == [n - 1, m - 1]
    assert {tuple(step) for step in np.diff(pairs, axis=0).tolist()} <= {(0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("case", cases("cases"), ids=case_id)
def test_dtw(case):
    path, name = case
    expected, stored = facts(path)["cases"][name], arrays(path)
    x, y = stored[f"{name}_x"], stored[f"{name}_y"]
    costs = squared_distances(x, y)
    ours = dtw(costs)
    assert dtw_distance(x, y) == number(expected["dtw"], 1e-8, 1e-8)
    assert ours.cost == number(expected["dtw_squared"], 1e-8, 1e-8)
    assert costs[ours.pairs[:, 0], ours.pairs[:, 1]].sum() == pytest.approx(ours.cost, rel=1e-12)
    assert_path(ours.pairs, len(x), len(y))
    radius = expected["sakoe_chiba"]["radius"]
    assert dtw_distance(x, y, radius=radius) == number(expected["sakoe_chiba"]["dtw"], 1e-8, 1e-8)


@pytest.mark.parametrize("case", cases("cases"), ids=case_id)
def test_soft_dtw(case):
    path, name = case
    stored = arrays(path)
    x, y = stored[f"{name}_x"], stored[f"{name}_y"]
    costs = squared_distances(x, y)
    for gamma, expected in facts(path)["cases"][name]["gamma"].items():
        smooth = float(gamma)
        assert soft_dtw(costs, gamma=smooth) == number(expected["soft_dtw"], 1e-8, 1e-8)
        assert soft_dtw(squared_distances(x, x), gamma=smooth) == number(expected["self_x"], 1e-8, 1e-8)
        assert soft_dtw(squared_distances(y, y), gamma=smooth) == number(expected["self_y"], 1e-8, 1e-8)
        assert soft_dtw_divergence(x, y, gamma=smooth) == number(expected["divergence"], 1e-8, 1e-8)
        alignment = soft_alignment(costs, gamma=smooth)
        assert alignment.sum() == number(expected["alignment_sum"], 0, 1e-5)
        assert alignment[0].sum() == number(expected["alignment_trace_row0"], 0, 1e-5)
        if (key := f"{name}_alignment_g{gamma}") in stored:
            np.testing.assert_allclose(alignment, stored[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", cases("mtm"), ids=case_id)
def test_mean_temporal_misalignment(case):
    path, name = case
    expected, stored = facts(path)["mtm"][name], arrays(path)
    ours = mean_temporal_misalignment(stored[f"mtm_{name}_gt"], stored[f"mtm_{name}_pred"])
    assert ours.frames.tolist() == expected["deltas"]
    assert ours.mean == number(expected["mean_delta"])
    assert ours.cost == number(expected["ddtw_cost"])


@pytest.mark.parametrize("case", cases("path_psnr"), ids=case_id)
def test_psnr_along_the_path(case):
    path, name = case
    expected, stored = facts(path)["path_psnr"][name], arrays(path)
    x, y = stored[f"psnr_{name}_x"], stored[f"psnr_{name}_y"]
    ours = path_psnr(x, y, cap=expected["cap"])
    assert dtw_distance(x.reshape(len(x), -1) / 255, y.reshape(len(y), -1) / 255) == number(expected["dtw"])
    np.testing.assert_allclose(ours.pairs, stored[f"psnr_{name}_per_pair"], rtol=1e-9)
    assert ours.mean == number(expected["path_mean_psnr"])
    assert ours.mean_by_frame == number(expected["reference_mean_psnr"])
    assert ours.of_mean_error == number(expected["psnr_of_path_mean_mse"])


def test_a_band_that_leaves_only_the_diagonal_is_the_distance_without_alignment():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 9, 3))
    assert sakoe_chiba(9, 9, 0).sum() == 9
    assert dtw_distance(x, y, radius=0) == pytest.approx(np.linalg.norm(x - y))
    assert sakoe_chiba(3, 5, 0).all(axis=0).tolist() == [False, False, True, False, False]
