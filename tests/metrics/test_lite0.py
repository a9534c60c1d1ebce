"""The distances on EfficientNet-Lite0: they order faults of pictures and of motion, by real features."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.lite0 import Lite0, load_lite0, prepared
from dawn_bench.metrics.frechet_lite0 import Steps
from dawn_bench.metrics.functional.kernel import mmd, mmd_by_clip
from dawn_bench.metrics.scoring.base import METRICS, Score
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.listing import metric_names
from dawn_bench.pipelines.media.video import read_frames

CLIPS = Path(__file__).parents[2].parent / "shared" / "data" / "clips"
REAL = ("WDA_AlexandriaOcasioCortez_000.mp4", "grid_sbwe5n.mpg", "voxceleb2_00098.mp4")
#: Frames of each clip, and their side.
FRAMES, SIDE = 24, 64
Video = np.ndarray
Fault = Callable[[Video], Video]


def blurred(sigma: float) -> Fault:
    return lambda video: np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def noisy(sigma: float) -> Fault:
    noise = np.random.default_rng(0)
    return lambda video: (video + noise.normal(0, sigma, video.shape)).round().clip(0, 255).astype(np.uint8)


def holding(k: int) -> np.ndarray:
    """Frame numbers that show every k-th frame for k frames."""
    return np.arange(FRAMES) // k * k


@cache
def features(video: bytes) -> np.ndarray:
    frames = np.frombuffer(video, np.uint8).reshape(-1, SIDE, SIDE, 3)
    return Lite0().run(Clip("a", "s", "test", len(frames), {"frames": frames}), {})["lite0"]


def rows_of(videos: list[Video]) -> list[np.ndarray]:
    return [features(video.tobytes()) for video in videos]


def score(name: str, generated: list[np.ndarray], true: list[np.ndarray]) -> Score:
    metric = METRICS[name]()
    for number, (ours, theirs) in enumerate(zip(generated, true, strict=True)):
        metric.update({"lite0": ours}, {"lite0": theirs}, clip_id=str(number))
    return metric.compute()


def number(name: str, generated: list[np.ndarray], true: list[np.ndarray]) -> float:
    value = score(name, generated, true).value
    assert value is not None
    return value


def small(frames: np.ndarray) -> Video:
    """The centre of a few frames, reduced."""
    side = min(frames.shape[1:3])
    top, left = ((size - side) // 2 for size in frames.shape[1:3])
    inner = frames[:FRAMES, top : top + side, left : left + side]
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in inner])


@pytest.fixture(scope="module", params=["embedded", "real"])
def videos(request: pytest.FixtureRequest) -> list[Video]:
    if request.param == "embedded":
        return [small(known.clip["frames"]) for known in request.getfixturevalue("embedded_clips")]
    if not CLIPS.is_dir():
        pytest.skip("needs the real clips of ../shared/data/clips")
    return [small(read_frames(CLIPS / name, max_frames=FRAMES)) for name in REAL]


@pytest.mark.parametrize("name", ["frechet-lite0", "kernel-lite0"])
def test_the_more_a_picture_is_at_fault_the_farther_it_is(videos: list[Video], name: str) -> None:
    true = rows_of(videos)
    for faults in ((blurred(0.75), blurred(1.5)), (noisy(4), noisy(25))):
        values = [number(name, rows_of([fault(video) for video in videos]), true) for fault in faults]
        assert number(name, true, true) < values[0] < values[1]


def test_still_and_jerky_motion_are_told_from_true_motion(videos: list[Video]) -> None:
    name, true = "frechet-motion-lite0", rows_of(videos)
    jerky = [number(name, [rows[holding(k)] for rows in true], true) for k in (2, 3, 5)]
    frozen = number(name, [rows[np.minimum(np.arange(FRAMES), FRAMES // 2)] for rows in true], true)
    still = number(name, [rows[[0] * FRAMES] for rows in true], true)
    assert number(name, true, true) == pytest.approx(0, abs=1e-6 * still)
    assert 0 < jerky[0] < jerky[1] < jerky[2] < still and 0 < frozen < still
    assert jerky[0] > 0.02 * still


def test_true_motion_of_another_moment_beats_a_still_picture(videos: list[Video]) -> None:
    """Which in all 1,280 dimensions it does not: there the distance of a few frames is that of their directions."""
    halves = [(rows[: FRAMES // 2], rows[FRAMES // 2 :]) for rows in rows_of(videos)]
    one, two = (list(side) for side in zip(*halves, strict=True))
    other, still = (
        number("frechet-motion-lite0", two, one),
        number("frechet-motion-lite0", [rows[[0] * len(rows)] for rows in two], one),
    )
    assert other < 0.8 * still


def test_the_order_of_frames_is_motion_alone(videos: list[Video]) -> None:
    true = rows_of(videos)
    mixed = [rows[np.random.default_rng(0).permutation(FRAMES)] for rows in true]
    assert number("frechet-lite0", mixed, true) == pytest.approx(0, abs=1e-3)
    assert number("kernel-lite0", mixed, true) == pytest.approx(number("kernel-lite0", true, true))
    still = [rows[[0] * FRAMES] for rows in true]
    assert number("frechet-motion-lite0", mixed, true) > number("frechet-motion-lite0", still, true)


def clips(seed: int, count: int, frames: int, *, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(shift + 0.3 * rng.normal(size=6), 1, (frames, 6)).astype(np.float32) for _ in range(count)]


def test_the_kernel_distance_is_that_of_all_frames_with_an_interval_over_clips() -> None:
    ours, true = clips(0, 8, 12, shift=0.5), clips(1, 8, 12)
    result = score("kernel-lite0", ours, true)
    assert result.value == pytest.approx(mmd(np.concatenate(ours), np.concatenate(true)))
    assert result.low is not None and result.high is not None and result.low < result.value < result.high
    assert (result.n_clips, result.n_frames, result.note) == (8, 96, "")
    two = score("kernel-lite0", ours[:2], true[:2])
    assert (two.low, two.high) == (None, None) and two.value is not None
    single = score("kernel-lite0", [ours[0][:1]], [true[0]])
    assert single.value is None and "no pair" in single.note


def test_equal_sets_are_slightly_below_zero() -> None:
    true = clips(1, 8, 12)
    assert -0.3 < number("kernel-lite0", true, true) < 0 < number("kernel-lite0", clips(0, 8, 12, shift=0.5), true)


def test_groups_of_clips_give_the_distance_of_the_whole_without_bias() -> None:
    ours, true = clips(0, 24, 20, shift=0.5), clips(1, 24, 20)
    whole, grouped = mmd_by_clip(ours, true), mmd_by_clip(ours, true, most=200)
    assert whole is not None and grouped is not None
    assert (whole.groups, grouped.groups) == (1, 3)
    assert grouped.value == pytest.approx(whole.value, rel=0.2)
    assert len(grouped.influence) == 24 and grouped.influence.sum() == pytest.approx(0, abs=1e-12)
    long = mmd_by_clip(ours[:4], true[:4], most=20)
    assert long is not None and long.groups == len(long.influence) == 4 and np.ptp(long.influence) > 0


def test_groups_of_sets_that_are_not_paired_have_both_sides() -> None:
    ours, true, nothing = clips(0, 9, 20, shift=0.5), clips(1, 6, 20), np.zeros((0, 6), np.float32)
    sides = [*ours, *[nothing] * 6], [*[nothing] * 9, *true]
    whole, grouped = mmd_by_clip(*sides), mmd_by_clip(*sides, most=60)
    assert whole is not None and whole.value == pytest.approx(mmd(np.concatenate(ours), np.concatenate(true)))
    assert grouped is not None and grouped.groups == 3
    assert grouped.value == pytest.approx(whole.value, rel=0.4)
    many = mmd_by_clip(*sides, most=20)
    assert many is not None and (many.groups, len(many.influence)) == (6, 15), "every clip is in a group of both sides"


def test_the_jackknife_leaves_one_clip_out_at_a_time() -> None:
    ours, true = clips(0, 5, 12, shift=0.5), clips(1, 5, 12)
    distance = mmd_by_clip(ours, true)
    without = [
        mmd(np.concatenate(ours[:k] + ours[k + 1 :]), np.concatenate(true[:k] + true[k + 1 :])) for k in range(5)
    ]
    assert distance is not None
    assert distance.influence == pytest.approx(0.8 * (np.mean(without) - np.array(without, float)))


@pytest.mark.parametrize("name", ["frechet-lite0", "frechet-motion-lite0", "kernel-lite0"])
def test_features_that_are_not_finite_fail_their_clip(name: str) -> None:
    rows = np.ones((4, 3), np.float32)
    rows[2, 1] = np.nan
    with pytest.raises(ItemError, match="not_finite"):
        METRICS[name]().measure({"lite0": rows}, {"lite0": rows})


def test_differences_are_read_part_by_part() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
    steps, whole = Steps(rows), np.asarray(Steps(rows))
    assert steps.shape == whole.shape == (8, 16) and len(Steps(rows[:1])) == len(Steps(rows[:0])) == 0
    assert np.array_equal(steps.read(3, 5), whole[3:5]) and np.array_equal(np.asarray(steps[2:6]), whole[2:6])
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(steps))), whole)
    assert len(np.asarray(Steps(rows[:1]))) == 0 and len(steps[8:9]) == 0
    lengths = np.linalg.norm(np.diff(rows, axis=0), axis=1)
    assert np.linalg.norm(whole, axis=1).mean() == pytest.approx(lengths.mean(), rel=0.25)


def test_motion_counts_frames_and_flags_few() -> None:
    result = score("frechet-motion-lite0", clips(0, 3, 12), clips(1, 3, 12))
    assert result.n_frames == 36 and "33 frames, at least 160" in result.note


@pytest.mark.parametrize(("height", "width", "side"), [(64, 64, 128), (128, 100, 128), (129, 64, 224), (256, 256, 224)])
def test_small_frames_enter_with_128_pixels_and_others_with_224(height: int, width: int, side: int) -> None:
    x = prepared(torch.full((2, height, width, 3), 255, dtype=torch.uint8))
    assert tuple(x.shape) == (2, 3, side, side) and torch.allclose(x, torch.ones(()))
    assert prepared(torch.full((1, 128, 128, 3), 127, dtype=torch.uint8)).abs().max() == 0


def test_equal_frames_are_computed_once_and_known_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (9, 80, 9, 80, 9, 200)])
    network = load_lite0(weights.resolve("efficientnet-lite0"), "cpu")
    seen: list[int] = []
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda x: seen.append(len(x)) or forward(x))
    clip = Clip("a", "s", "test", 6, {"frames": frames})
    rows = Lite0().run(clip, {})["lite0"]
    assert seen == [3] and rows.shape == (6, 1280) and rows.dtype == np.float32
    assert np.array_equal(rows[0], rows[4]) and not np.allclose(rows[0], rows[1])
    known = {"known.frames": frames[:5], "known.rows": rows[:5]}
    again = Lite0().run(clip, known)["lite0"]
    assert seen == [3, 1] and np.abs(again - rows).max() < 1e-4


def test_one_pass_serves_all_three_and_its_weights_are_canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [METRICS[name]() for name in ("frechet-lite0", "kernel-lite0", "frechet-motion-lite0")]
    extraction, calls = Extraction(metrics), []
    run = Lite0.run
    monkeypatch.setattr(Lite0, "run", lambda self, clip, given: calls.append(clip.id) or run(self, clip, given))
    one, two = (
        Clip(name, "s", "test", 3, {"frames": np.random.default_rng(k).integers(0, 256, (3, 32, 32, 3), np.uint8)})
        for k, name in enumerate("ab")
    )
    for metric in metrics:
        metric.update(*extraction.arrays(metric, one, two), clip_id="a")
        assert extraction.weights_state(metric) == "canonical"
    assert sorted(calls) == ["a", "b"]
    assert all(metric.optional and metric.group == "picture" and "Lite0" in metric.title for metric in metrics)


@pytest.mark.parametrize("label", ["{}", "{} ↓", "{} (embedded)", "{} (embedded) ↑"])
def test_titles_in_brackets_are_names_with_and_without_what_a_report_adds(label: str) -> None:
    names = ("frechet-lite0", "kernel-lite0", "frechet-motion-lite0", "id-dlib", "fid")
    assert metric_names(label.format(METRICS[name].title) for name in names) == names
