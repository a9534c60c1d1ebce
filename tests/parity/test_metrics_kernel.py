"""Kernel distances, precision and recall, and the extrapolated Fréchet distance against their authors' code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts, make

from dawn_bench.metrics.functional.frechet import frechet
from dawn_bench.metrics.functional.infinity import extrapolate, frechet_infinity
from dawn_bench.metrics.functional.kernel import kid, mmd, mmd_by_clip, polynomial, rbf
from dawn_bench.metrics.functional.prdc import manifolds, realism

CLOSE = {"rel": 1e-9, "abs": 1e-10}
OTHER_KERNELS = {
    "rbf_sigma10": rbf(10.0),
    "poly_degree2_gamma0p5_coef0p25": polynomial(degree=2, gamma=0.5, coef0=0.25),
}


def cases(file: str) -> list:
    """Every case of a file in every root of goldens."""
    return [
        pytest.param(path, name, case, id=f"{path.parents[1].name}-{name}")
        for path in golden_cases("metrics2", file)
        for name, case in facts(path)["cases"].items()
    ]


def given(path: Path, name: str, case: dict[str, Any], side: str) -> np.ndarray:
    """One side's features: a recipe, or stored beside the case."""
    stored = f"{name}_{side}"
    features = make(path.parent, case[side]) if side in case else arrays(path)[stored].astype(np.float64)
    if f"sum_{side}" in case.get("check", {}):
        assert features.sum() == pytest.approx(case["check"][f"sum_{side}"], rel=1e-9)
    return features


@pytest.mark.parametrize(("path", "name", "case"), cases("kid.json"))
def test_kernel_distances_equal_the_references(path: Path, name: str, case: dict[str, Any]) -> None:
    a, b, stored = given(path, name, case, "a"), given(path, name, case, "b"), arrays(path)
    theirs = case["torch_fidelity"]
    draw = {"count": theirs["kid_subsets"], "size": theirs["kid_subset_size"], "seed": theirs["rng_seed"]}
    ours = kid(a, b, **draw)
    assert ours.values == pytest.approx(theirs["per_subset"], **CLOSE)
    assert (ours.mean, ours.std) == (pytest.approx(theirs["mean"], **CLOSE), pytest.approx(theirs["std"], **CLOSE))
    first = mmd(a[stored[f"{name}_tf_idx1"][0]], b[stored[f"{name}_tf_idx2"][0]])
    assert first == pytest.approx(theirs["per_subset"][0], **CLOSE)
    for kernel, function in OTHER_KERNELS.items():
        other = kid(a, b, **draw, kernel=function)
        assert other.mean == pytest.approx(theirs[kernel]["mean"], rel=1e-8, abs=1e-10), kernel
        assert other.std == pytest.approx(theirs[kernel]["std"], rel=1e-8, abs=1e-10), kernel
    clean = case["clean_fid"]
    seed = clean["numpy_seed"]
    some = kid(a, b, count=clean["num_subsets"], size=clean["max_subset_size"], seed=seed, draws="clean-fid")
    assert some.mean == pytest.approx(clean["value"], **CLOSE)
    usual = kid(a, b, seed=seed, draws="clean-fid").mean
    assert usual == pytest.approx(clean["value_defaults_100_subsets_of_1000"], **CLOSE)


@pytest.mark.parametrize(("path", "name", "case"), cases("kid.json"))
def test_distances_of_whole_sets_equal_the_references(path: Path, name: str, case: dict[str, Any]) -> None:
    a, b, n = given(path, name, case, "a"), given(path, name, case, "b"), case["first_n"]
    for estimate, value in case["full_first_n"].items():
        assert mmd(a[:n], b[:n], estimate=estimate.replace("_", "-")) == pytest.approx(value, **CLOSE), estimate
    assert mmd(a, b) == pytest.approx(case["kvd"], **CLOSE)
    clips = mmd_by_clip(np.array_split(a, 5), np.array_split(b, 5))
    assert clips is not None and clips.value == pytest.approx(case["kvd"], **CLOSE)
    squares = mmd(a, b, kernel=polynomial(degree=2, coef0=0.0), estimate="biased")
    assert squares == pytest.approx(case["jedi"]["degree2_coef0"], **CLOSE)
    assert squares is not None and 100 * squares == pytest.approx(case["jedi"]["degree2_coef0_x100"], **CLOSE)
    assert mmd(a, b, estimate="biased") == pytest.approx(case["jedi"]["degree3_coef1_biased"], **CLOSE)


@pytest.mark.parametrize("path", golden_cases("metrics2", "kid.json"), ids=lambda path: path.parents[1].name)
def test_edges_of_kernel_distances_are_refused_or_undefined(path: Path) -> None:
    edge, x = facts(path)["edge"], np.random.default_rng(0).standard_normal((8, 4))
    with pytest.raises(eval(edge["subset_larger_than_set"]["raises"], {}, {"ValueError": ValueError})):
        kid(x, x, count=2, size=9)
    assert kid(x, x, count=2, size=9, draws="clean-fid").mean == pytest.approx(mmd(x, x))
    assert mmd(x[:1], x) is edge["one_sample"] is None


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize(("path", "name", "case"), cases("prdc.json"))
def test_precision_recall_density_coverage_equal_the_references(
    path: Path, name: str, case: dict[str, Any], k: int
) -> None:
    true, generated = given(path, name, case, "real"), given(path, name, case, "fake")
    for source, inside in (("prdc", "<"), ("torch_fidelity", "<="), ("kynkaanniemi", "<=")):
        theirs = case[f"k{k}"][source]
        if "raises" in theirs:
            if min(len(true), len(generated)) <= k:
                with pytest.raises(ValueError, match=rf"at least {k + 1} are needed"):
                    manifolds(generated, true, k=k, inside=inside)
            continue  # prdc alone fails at k + 1 samples, where the neighbours are defined
        ours = manifolds(generated, true, k=k, inside=inside)
        for field, value in theirs.items():
            exact = field != "f_score"  # torch-fidelity multiplies in float32
            assert getattr(ours, field) == pytest.approx(value, rel=0 if exact else 1e-7, abs=1e-12), (source, field)
    if (stored := f"{name}_k{k}_realism_squared_ratio") in arrays(path):
        assert realism(generated, true, k=k, all_balls=True) ** 2 == pytest.approx(arrays(path)[stored], rel=1e-4)


@pytest.mark.parametrize(("path", "name", "case"), cases("fid_infinity.json"))
def test_the_extrapolated_distance_equals_the_reference(path: Path, name: str, case: dict[str, Any]) -> None:
    true, generated = given(path, name, case, "real"), given(path, name, case, "fake")
    draw = {"least": case["min_fake"], "points": case["num_points"], "seed": case["numpy_seed"]}
    ours = frechet_infinity(true, generated, **draw)
    assert ours is not None and list(ours.sizes) == case["sizes"]
    close = {"rel": 1e-6, "abs": 1e-8} if len(generated) > generated.shape[1] else {"rel": 1e-6, "abs": 1e-6}
    assert ours.distances == pytest.approx(case["fid_at_size"], **close)
    assert ours.infinity == pytest.approx(case["infinity"], **close)
    assert (ours.slope, ours.r2) == (pytest.approx(case["slope"], **close), pytest.approx(case["r2"], **close))
    assert ours.error == pytest.approx(case["intercept_stderr"], **close)
    assert frechet(generated, true) == pytest.approx(case["full_set"], **close)
    rows = arrays(path)[f"{name}_order"][0][: case["sizes"][0]]
    assert frechet(generated[rows], true) == pytest.approx(case["fid_at_size"][0], **close)


def test_a_line_needs_two_sizes_and_more_samples_than_the_least() -> None:
    x = np.random.default_rng(0).standard_normal((40, 3))
    with pytest.raises(ValueError, match="not more than the least"):
        frechet_infinity(x, x, least=40, points=3)
    assert frechet_infinity(x, x, least=20, points=1) is None
    line = extrapolate([10, 20], [3.0, 2.0])
    assert line is not None and line.error is None
    assert (line.infinity, line.slope, line.r2) == pytest.approx((1, 20, 1))
