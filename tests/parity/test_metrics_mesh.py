"""LVE and FDD against CodeTalker's script."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts

from dawn_bench.metrics.fdd import Fdd
from dawn_bench.metrics.functional.meshes import lip_errors, liveliness
from dawn_bench.metrics.lve import Lve
from dawn_bench.metrics.protocols.base import protocol


@pytest.mark.parametrize("path", golden_cases("metrics", "lve_fdd.json"), ids=str)
def test_lve_and_fdd(path, tmp_path):
    stored, fact = arrays(path), facts(path)
    for name in ("lve", "fdd"):
        (tmp_path / name).write_text(", ".join(map(str, stored[f"{name}_idx"])))
    chosen = protocol("paper-dawn", (f"mesh_lips={tmp_path / 'lve'}", f"mesh_upper={tmp_path / 'fdd'}"))
    lve, fdd = Lve(chosen), Fdd(chosen)
    for sequence, expected in fact["per_sequence"].items():
        rest = stored[f"tmpl_{sequence.split('_')[0]}"]
        true, generated = stored[f"gt_{sequence}"], stored[f"pred_{sequence}"]
        cut = generated[: len(true)]
        assert len(true) == expected["frames"]
        errors = lip_errors(cut, true, stored["lve_idx"])
        assert float(errors.mean()) == pytest.approx(expected["lve_frames_mean"], rel=1e-6)
        upper = stored["fdd_idx"]
        difference = liveliness(true, rest, upper) - liveliness(cut, rest, upper)
        assert difference == pytest.approx(expected["fdd"], rel=1e-6)
        for metric in (lve, fdd):
            metric.update(
                {"mesh": generated, "meshrest": rest[None]}, {"mesh": true, "meshrest": rest[None]}, clip_id=sequence
            )
    assert lve.compute().value == pytest.approx(fact["lve_frame_weighted"], rel=1e-6)
    assert np.mean(list(lve.compute().per_clip.values())) == pytest.approx(fact["lve_sequence_mean"], rel=1e-6)
    assert fdd.compute().value == pytest.approx(fact["fdd_mean"], rel=1e-6)
