"""CPBD, PIQE and the Laplacian's variance on every reference picture.

NIQE and BRISQUE of the same file need parameter files of their authors, which the project does not have.
"""

from __future__ import annotations

import cv2
import pytest
import skimage
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.sharpness import cpbd, laplacian_variance, piqe

CASES = [(path, name) for path in golden_cases("metrics2", "sharpness.json") for name in facts(path)["cases"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].parent}:{case[1]}")
def test_quality_without_a_reference(case):
    path, name = case
    expected, stored = facts(path)["cases"][name], arrays(path)
    gray = stored[f"{name}_gray"]
    same_canny = facts(path)["versions"]["skimage"] == skimage.__version__
    assert cpbd(gray) == pytest.approx(
        expected["cpbd"], rel=1e-6 if same_canny else 0, abs=1e-12 if same_canny else 0.02
    )
    # the reference took the RGB picture for BGR when it made it grey
    assert piqe(cv2.cvtColor(stored[name], cv2.COLOR_BGR2GRAY)) == pytest.approx(expected["piqe"], rel=1e-6)
    assert laplacian_variance(gray) == expected["laplacian_variance_cv2"]
