"""Eye aspect ratio and both blink rules against DinoMan/blink-detector and plain counters."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.functional.blinks import closing_edges, closures, online, openness, spans

CASES = [(path, name) for path in golden_cases("metrics", "blink.json") for name in facts(path)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].parent}:{case[1]}")
def test_openness_edges_and_closures(case):
    path, name = case
    stored, fact = arrays(path), facts(path)[name]
    eyes = stored[f"{name}_eye_lmk_36to47"]
    landmarks = np.zeros((len(eyes), 68, 2))
    landmarks[:, 36:48] = eyes
    ear = openness(landmarks)
    assert np.abs(ear - stored[f"{name}_ear"]).max() < 1e-12
    assert closing_edges(ear).tolist() == fact["dinoman_offline_points"]
    for rule, count in fact["threshold"].items():
        threshold, frames = rule.split("_")
        assert len(closures(ear, threshold=float(threshold), frames=int(frames))) == count, rule
    closed_spans = spans(ear, closing_edges(ear))
    assert [start for start, _ in closed_spans] == fact["dinoman_offline_start"]
    assert [end for _, end in closed_spans] == fact["dinoman_offline_end"]
    assert [list(blink) for blink in online(ear)] == fact["dinoman_online"]
