"""Fréchet distances and bootstrap intervals read what they need block by block, and the true side's moments once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.metrics import fid
from dawn_bench.metrics.features.inception import Inception
from dawn_bench.metrics.functional import bootstrap, frechet
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.scorer import score_method


def features(seed: int, clips: int = 12, length: int = 9, *, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(length, 8)) + shift + rng.normal(size=8) / 3).astype(np.float32) for _ in range(clips)]


class Recorded:
    """Rows of a clip that note how many are read at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.reads = rows, rows.shape, list[int]()

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("read as a whole")

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.rows[rows]

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        part = self.rows[first:last]
        self.reads.append(len(part))
        return part


def test_long_clips_are_read_in_parts_and_short_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = features(1, shift=0.2), features(2)
    whole = frechet.frechet_by_clip(one, two)
    monkeypatch.setattr(frechet, "ROWS", 5)
    recorded = [Recorded(part) for part in two]
    parts = frechet.frechet_by_clip(one, recorded)
    assert {count for part in recorded for count in part.reads} == {4, 5}
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    np.testing.assert_allclose(parts.influence, whole.influence, rtol=1e-6)
    monkeypatch.setattr(frechet, "ROWS", 1024)
    assert sum(1 for _ in frechet._batches(two)) == 1


def test_influences_equal_those_in_float64() -> None:
    one, two = features(1, 30, 20, shift=0.2), features(2, 30, 20)
    result = frechet.frechet_by_clip(one, two)
    m1, m2 = frechet.moments(one), frechet.moments(two)
    root, solve = frechet._root_of(m1.covariance)
    values, vectors = np.linalg.eigh(root.T @ m2.covariance @ root)
    to = solve(vectors * values**0.25)
    x = [part.astype(np.float64) - m1.mean for part in one]
    change = [np.sum(p * p) - np.sum((p @ to) ** 2) + 2 * np.sum(p @ (m1.mean - m2.mean)) for p in x]
    back = root @ (vectors / values**0.25)
    y = [part.astype(np.float64) - m2.mean for part in two]
    change2 = [np.sum(p * p) - np.sum((p @ back) ** 2) - 2 * np.sum(p @ (m1.mean - m2.mean)) for p in y]
    expected = (np.array(change) - np.mean(change)) / m1.n + (np.array(change2) - np.mean(change2)) / m2.n
    np.testing.assert_allclose(result.influence, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def scored(seed: int, truth: list[Clip], folder: Path | None) -> tuple[float | None, ...]:
    made = [Clip(c.id, "s", "t", 9, {"frames": np.roll(c["frames"], seed, axis=1) // 2}) for c in truth]
    (row,) = score_method(
        f"m{seed}", made, truth, dataset="d", split="t", metrics=["fid"], weights="seeded", features_dir=folder,
        rankable=False,
    )  # fmt: skip
    return row.value, row.low, row.high


def test_the_moments_of_the_true_side_are_computed_once_for_all_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = np.random.default_rng(0).normal(size=(768, 8)).astype(np.float32) / 100
    monkeypatch.setattr(
        Inception, "run", lambda self, clip, given: {"inception": clip["frames"].reshape(-1, 768).astype("f4") @ sums}
    )
    rng = np.random.default_rng(3)
    truth = [Clip(f"c{k}", "s", "t", 9, {"frames": rng.integers(0, 256, (9, 16, 16, 3), np.uint8)}) for k in range(5)]
    alone = [scored(seed, truth, None) for seed in (1, 2)]
    computed: list[int] = []
    moments = fid.moments
    monkeypatch.setattr(fid, "moments", lambda parts, **how: computed.append(len(parts)) or moments(parts, **how))
    assert [scored(seed, truth, tmp_path) for seed in (1, 2)] == alone
    assert computed == [5]
    scored(3, truth[:4], tmp_path)  # other true clips have other moments
    assert computed == [5, 4]


def test_biased_and_unbiased_moments_are_kept_apart(tmp_path: Path) -> None:
    from dawn_bench.metrics.scoring.feature_cache import FeatureCache

    cache, values = FeatureCache(tmp_path), []
    for covariance in ("unbiased", "biased", "unbiased"):
        metric = METRICS["fvd16"](PAPER_DAWN.model_copy(update={"fvd_covariance": covariance}))
        for k, (one, two) in enumerate(zip(features(1, shift=0.3), features(2), strict=True)):
            for side, array in (("g", one), ("t", two)):
                cache.put("i3d.16", "1", f"{side}{k}", {"i3d.16": array})
            metric.update(*(cache.get("i3d.16", "1", f"{side}{k}") for side in "gt"), clip_id=str(k))  # type: ignore[arg-type]
        plain = frechet.frechet(*map(np.concatenate, (features(1, shift=0.3), features(2))), biased=metric.biased)
        values.append(metric.compute().value)
        assert values[-1] == pytest.approx(plain, rel=1e-9)
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_a_bootstrap_in_blocks_has_the_draws_of_one_at_once(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n)
    total, weight = rng.normal(size=n), rng.uniform(1, 9, n)
    in_blocks = bootstrap.ratio_interval(total, weight, seed=4)
    picks = np.random.default_rng(4).multinomial(n, np.full(n, 1 / n), size=1000)
    low, high = np.quantile((picks @ total) / (picks @ weight), [0.025, 0.975])
    assert in_blocks == (low, high)
    monkeypatch.setattr(bootstrap, "BLOCK", 7)
    assert bootstrap.ratio_interval(total, weight, seed=4) == pytest.approx(in_blocks, rel=1e-14)
