"""The Fréchet distance against pytorch-fid's and the biased one against StyleGAN-V's, on the same features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import facts, recipes

from dawn_bench.metrics.functional.frechet import frechet, frechet_by_clip, frechet_of_moments, moments

#: Old SciPy's root fails on singular covariances (negative, huge, or an error); the newer one is right there.
SCIPY = "scipy1.17.1_numpy2.4.6"
LARGEST = 1000


def cases() -> list:
    out = []
    for path in golden_cases("metrics", "frechet.json"):
        for name, case in facts(path)["cases"].items():
            out.append(pytest.param(path, case, id=f"{path.parents[1].name}-{name}"))
    return out


@pytest.mark.parametrize(("path", "case"), cases())
def test_distance_equals_the_reference(path: Path, case: dict) -> None:
    make = recipes(path.parent).frechet_feats
    one, two = make(**case["a"]), make(**case["b"])
    values = case["values"].get(SCIPY) or list(case["values"].values())[-1]
    full_rank = min(len(one), len(two)) > one.shape[1] and not case["a"].get("rank")
    tolerance = {"rel": 1e-9 if full_rank else 1e-6, "abs": 1e-9}
    if np.ptp(one, axis=0).min() == 0:
        tolerance["rel"] = 1e-6  # constant dimensions: singular too
    assert frechet(one, two) == pytest.approx(values["pytorch_fid"], **tolerance)
    if "styleganv_biased" in values:
        assert frechet(one, two, biased=True) == pytest.approx(values["styleganv_biased"], **tolerance)
    if one.shape[1] <= LARGEST:
        parts = np.array_split(one, 4), np.array_split(two, 4)
        assert frechet_by_clip(*parts).value == pytest.approx(values["pytorch_fid"], **tolerance)
        both = moments(parts[0]), moments(parts[1])
        assert frechet_of_moments(*both) == pytest.approx(values["pytorch_fid"], **tolerance)
