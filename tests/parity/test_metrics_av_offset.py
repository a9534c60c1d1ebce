"""The lag between mouth and sound: every reference case, from the sound and from given tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts, make

from dawn_bench.metrics.functional.av_offset import av_offset, envelope, fill_gaps, lag_correlations

PATHS = golden_cases("metrics2", "av_offset.json")
CASES = [(path, name) for path in PATHS for name in facts(path)["cases"]]


def sound(path: Path, name: str) -> np.ndarray:
    """The int16 sound of a case, checked by its sum."""
    fact = facts(path)["cases"][name]
    if fact["wav"] == "stored":
        samples = arrays(path)[f"{name}_wav"]
    else:
        samples = make(path.parent, {k: v for k, v in fact["wav"].items() if k != "change"})
        if change := fact["wav"].get("change"):
            assert change == "second half set to zero"
            samples = samples.copy()
            samples[len(samples) // 2 :] = 0
    assert np.abs(samples.astype(np.int64)).sum() == fact["sum_abs_wav"]
    return samples


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].parent}:{case[1]}")
def test_envelope_correlations_lag_and_verdict(case):
    path, name = case
    fact, stored = facts(path)["cases"][name], arrays(path)
    mouth, expected = stored[f"{name}_mouth"], dict(fact["result"])
    loudness = envelope(sound(path, name), n_frames=len(mouth), fps=fact["fps"], sample_rate=fact["sample_rate"])
    np.testing.assert_allclose(loudness, stored[f"{name}_envelope"], rtol=1e-9, atol=1e-12)
    max_lag = expected.pop("max_lag")
    result = av_offset(mouth, loudness, max_lag=max_lag)
    assert len(mouth) == expected.pop("frames")
    assert expected.pop("offset_ms", None) == (
        None if result.refined is None else pytest.approx(1000 * result.refined / fact["fps"], rel=1e-6, abs=1e-6)
    )
    assert (result.verdict, result.offset) == (expected.pop("verdict"), expected.pop("offset"))
    for field, value in expected.items():
        assert getattr(result, field) == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), field
    if result.r is not None:  # the curve of the others is not looked at
        curve = lag_correlations(fill_gaps(mouth), loudness, max_lag=max_lag)
        np.testing.assert_allclose(curve, stored[f"{name}_r"], rtol=1e-9, atol=1e-9)
