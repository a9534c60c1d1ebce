"""PSNR, SSIM, LPIPS: limits, direction, sizes that no window fits into."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.images import ssim_per_frame
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction

NAMES = ("psnr", "ssim", "lpips")
RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8).repeat(2, axis=1).repeat(2, axis=2)[:, :64, :64]


def clip(frames: np.ndarray) -> Clip:
    return Clip("a", "s", "test", len(frames), {"frames": frames})


def scores(generated: np.ndarray, true: np.ndarray) -> dict:
    metrics = [METRICS[name]() for name in NAMES]
    extraction = Extraction(metrics, weights="seeded")
    for metric in metrics:
        metric.update(*extraction.arrays(metric, clip(generated), clip(true)), clip_id="a")
    return {m.name: m.compute() for m in metrics}


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def test_identical_frames_give_the_limits() -> None:
    by_metric = scores(TRUE, TRUE)
    assert by_metric["psnr"].value == 100 and "4 of 4 frames equal" in by_metric["psnr"].note
    assert by_metric["ssim"].value == pytest.approx(1, abs=1e-12)
    assert by_metric["lpips"].value == 0


def test_more_noise_is_worse_in_the_direction_that_each_metric_declares() -> None:
    little, much = scores(noisy(TRUE, 5), TRUE), scores(noisy(TRUE, 40), TRUE)
    for name in NAMES:
        better = little[name].value > much[name].value
        assert better == METRICS[name].higher_is_better, name


def test_psnr_of_a_known_error() -> None:
    true = np.full((2, 64, 64, 3), 100, np.uint8)
    assert scores(true + np.uint8(1), true)["psnr"].value == pytest.approx(20 * np.log10(255))


def test_pictures_too_small_for_a_window_fail_in_one_line() -> None:
    small = clip(TRUE[:, :10, :10])
    for name in ("ssim", "lpips"):
        with pytest.raises(ItemError, match="too_small"):
            Extraction([METRICS[name]], weights="seeded").arrays(METRICS[name], small, small)


@pytest.mark.parametrize("shape", [(40, 16, 20, 3), (5, 11, 23), (2, 300, 260, 3)], ids=str)
@pytest.mark.parametrize(
    ("window", "options"),
    [("gaussian", {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}), ("uniform", {})],
)
def test_blocks_of_frames_give_the_bits_of_scikit_image(shape: tuple[int, ...], window: str, options: dict) -> None:
    true = RNG.integers(0, 256, shape).astype(np.uint8)
    generated = noisy(true // 2 + 40, 25)
    axis = 2 if len(shape) == 4 else None
    by_frame = [
        structural_similarity(a, b, data_range=255.0, channel_axis=axis, **options)
        for a, b in zip(generated, true, strict=True)
    ]
    assert np.array_equal(ssim_per_frame(generated, true, window=window), by_frame)
