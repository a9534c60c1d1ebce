"""DR25 and DR50 over given features against the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import facts

from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS

REFERENCES = {"matched_windows": "matching", "against_all_gt": "all"}


@pytest.mark.parametrize("path", golden_cases("metrics", "dr.json"), ids=str)
@pytest.mark.parametrize("length", [25, 50])
@pytest.mark.parametrize("reference", REFERENCES)
def test_dr_equals_the_reference(path: Path, length: int, reference: str) -> None:
    wanted = facts(path)[f"n{length}"][reference]
    chosen = protocol("paper-dawn", (f"dr_reference={REFERENCES[reference]}",))
    metric = METRICS[f"dr{length}"](chosen)
    with np.load(path.with_suffix(".npz")) as stored:
        for i, (generated, true) in enumerate(zip(stored["gen"], stored["gt"], strict=True)):
            metric.update({"inception": generated}, {"inception": true}, clip_id=f"{i:03d}")
    score = metric.compute()
    assert score.value == pytest.approx(wanted["dr"], rel=1e-9)
    assert f"FID_st {wanted['fid_st']:.4g}, FID_ed {wanted['fid_ed']:.4g}" in score.note
