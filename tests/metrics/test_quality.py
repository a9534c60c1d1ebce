"""Quality without a network: sharpness, distortion, flicker, exposure, colour and block edges on known damage."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.functional.sharpness import block_edges, cpbd, piqe
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Score

NAMES = ("cpbd", "piqe", "flicker-gap", "exposure-shift", "colour-shift", "block-edges")


def picture(side: int = 128) -> np.ndarray:
    return cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_AREA)


def frames(count: int = 6) -> np.ndarray:
    """A picture that moves by a pixel a frame."""
    return np.stack([np.roll(picture(), t, axis=1) for t in range(count)])


def score(name: str, generated: np.ndarray, true: np.ndarray) -> Score:
    metric = METRICS[name]()
    (feature,) = metric.needs
    sides = [FEATURES[feature]().run(Clip("a", "s", "test", len(f), {"frames": f}), {}) for f in (generated, true)]
    metric.update(*sides, clip_id="a")
    return metric.compute()


def damaged(kind: str) -> np.ndarray:
    clean = frames()
    if kind == "blur":
        return np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in clean])
    if kind == "jpeg":
        return np.stack([cv2.imdecode(cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1) for f in clean])
    if kind == "dark":
        return (clean * 0.7).astype(np.uint8)
    if kind == "cast":
        return np.clip(clean + np.array([25, 0, -25]), 0, 255).astype(np.uint8)
    if kind == "flicker":
        return np.clip(clean + np.where(np.arange(len(clean)) % 2, 20, -20)[:, None, None, None], 0, 255).astype(
            np.uint8
        )
    return np.repeat(clean[:1], len(clean), axis=0)


def test_none_is_computed_unless_it_is_named():
    assert all(METRICS[name].optional and METRICS[name].group == "picture" for name in NAMES)


@pytest.mark.parametrize(
    ("name", "worse", "sign"),
    [
        ("cpbd", "blur", -1), ("piqe", "blur", 1), ("flicker-gap", "flicker", 1),
        ("flicker-gap", "still", 1), ("exposure-shift", "dark", 1), ("colour-shift", "cast", 1),
        ("block-edges", "jpeg", 1),
    ],
)  # fmt: skip
def test_each_notices_its_damage(name: str, worse: str, sign: int):
    clean = frames()
    truth, damage = score(name, clean, clean).value, score(name, damaged(worse), clean).value
    assert sign * (damage - truth) > 0.1


@pytest.mark.parametrize(
    ("name", "other"),
    [("exposure-shift", "blur"), ("colour-shift", "blur"), ("flicker-gap", "cast"), ("colour-shift", "still")],
)
def test_each_leaves_other_damage(name: str, other: str):
    clean = frames()
    assert score(name, damaged(other), clean).value == pytest.approx(score(name, clean, clean).value, abs=0.8)


def test_the_flicker_is_the_mean_difference_from_frame_to_frame():
    steady, step = np.full((4, 16, 16, 3), 100, np.uint8), np.full((4, 16, 16, 3), 100, np.uint8)
    step[2:] = 130
    result = score("flicker-gap", step, steady)
    assert result.value == pytest.approx(10) and "flicker 10.000, of the true clips 0.000" in result.note
    assert score("flicker-gap", steady[:1], step[:1]).value is None


def test_a_shift_is_from_the_first_true_frame():
    grey = np.full((2, 16, 16, 3), 119, np.uint8)  # L* 50
    white = np.full((2, 16, 16, 3), 255, np.uint8)
    later = np.concatenate([grey[:1], white[:1]])
    assert score("exposure-shift", white, later).value == pytest.approx(50, abs=0.2)
    assert score("colour-shift", white, later).value == pytest.approx(0, abs=0.05)


def test_block_edges_are_the_steps_at_every_eighth_pixel():
    steps = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    assert block_edges(steps) == pytest.approx(0)
    steps[:, 8:] += 2  # 1 of the 3 borders steps by 3, of the mean 5/3 against 1 inside
    assert block_edges(steps) == pytest.approx((5 - 3) / (5 + 3))
    assert block_edges(np.full((32, 32), 7, np.uint8)) == 0
    flat = np.kron(np.arange(16).reshape(4, 4) * 13 % 200, np.ones((8, 8))).astype(np.uint8)
    assert block_edges(flat) == 1
    flat[3, 3] += 1
    assert 0.99 < block_edges(flat) < 1, "one pixel changes little"
    assert [block_edges(flat[:h, :w]) for h, w in ((1, 1), (1, 9), (8, 8))] == [0, pytest.approx(1), 0]
    assert cpbd(flat[:1, :1]) == 0


def test_the_distortion_of_noise_and_compression_shows_at_256_px():
    gray = cv2.cvtColor(picture(256), cv2.COLOR_RGB2GRAY)
    noisy = np.clip(gray + np.random.default_rng(0).normal(0, 20, gray.shape), 0, 255).astype(np.uint8)
    compressed = cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_GRAYSCALE)
    assert min(piqe(noisy), piqe(compressed)) > piqe(gray) + 5


def test_small_and_black_pictures():
    with pytest.raises(ItemError, match="too_small: CPBD needs frames of 64 x 64 pixels"):
        score("cpbd", frames()[:, :63], frames())
    black = np.zeros((64, 64), np.uint8)
    assert cpbd(black) == 0 and piqe(black) == 100
