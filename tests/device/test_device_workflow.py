"""Whole commands on a CUDA device: `evaluate` gives the rows of the CPU, `prepare` its cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pretended.device import pretended_cuda
from pretended.networks import publish_hubert

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods


def rows(out: Path) -> dict[tuple[str, str], ScoreRow]:
    return {(row.method, row.metric): row for row in ResultsStore(out).rows()}


def test_evaluate_on_the_device_gives_the_rows_of_the_cpu(
    tiny_cache: Path, untrained: Callable[[str], Path], tmp_path: Path
) -> None:
    def evaluated(device: str) -> Path:
        out = tmp_path / device.partition(":")[0]
        job = Evaluation(
            cache=tiny_cache, out=out, device=device, methods=("dawn",), checkpoint=untrained("dawn"), sanity=False,
            metrics=("psnr", "lpips"), weights="seeded", max_clips=2, options={"steps": 2},
        )  # fmt: skip
        assert not evaluate_methods(job).failed
        return out

    expected = rows(evaluated("cpu"))
    with pretended_cuda() as record:
        out = evaluated("cuda:1")
        assert set(record.devices) == {1} and record.operations["convolution"]
        ours = rows(out)
        record.clear()
        evaluated("cuda:0")  # the other card of the machine
        assert not record.operations["convolution"], "outputs and features do not depend on the card"
        assert {key: row.fingerprint for key, row in rows(out).items()} == {k: r.fingerprint for k, r in ours.items()}
    assert ours.keys() == expected.keys() == {("dawn", "psnr"), ("dawn", "lpips")}
    for key, row in ours.items():
        assert type(row.value) is float and row.value == pytest.approx(expected[key].value, rel=2e-3)
        assert row.per_clip == pytest.approx(expected[key].per_clip, rel=2e-3)
        assert (row.n_clips, row.n_frames, row.coverage) == (2, 60, 1.0)
        assert row.device == "Pretended GPU 1" and expected[key].device.startswith("cpu ")
        assert row.fingerprint != expected[key].fingerprint


def test_prepare_on_the_device_writes_the_cache_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    publish_hubert(tmp_path / "weights")
    root = write_embedded(tmp_path / "set", speakers=1, clips=1, seconds=1.0, size=96, seed=1)
    settings = PrepareSettings(dataset="embedded", size=64, extract=("pose", "hubert"))
    expected = prepare(root, tmp_path / "cpu", settings)
    with pretended_cuda() as record:
        report = prepare(root, tmp_path / "gpu", settings)
    assert (report.ok, report.quarantined) == (expected.ok, {}) and report.ok
    assert record.launches and not record.rounded
    ours, theirs = Cache(tmp_path / "gpu"), Cache(tmp_path / "cpu")
    for clip, other in zip(ours, theirs, strict=True):
        assert clip.fields == other.fields and "hubert" in clip
        for field in clip.arrays:
            value, reference = np.asarray(clip[field]), np.asarray(other[field])
            assert value.dtype == reference.dtype
            np.testing.assert_allclose(value.astype(float), reference.astype(float), rtol=2e-3, atol=2e-3)
