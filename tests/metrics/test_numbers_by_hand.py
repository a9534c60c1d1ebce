"""The number of every metric over two or three unequal clips, computed by hand from the definition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from dawn_bench.metrics.bas import head_points
from dawn_bench.metrics.functional.bootstrap import ratio_interval
from dawn_bench.metrics.functional.frechet import Sums, frechet_by_clip, frechet_of_moments, interval, moments
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS, Part, Score, by_second, mean_over_time
from dawn_bench.reports.significance import bootstrap

Arrays = dict[str, np.ndarray]


def f(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float64)


def unit(*degrees: float) -> np.ndarray:
    """Vectors of unequal length in the plane."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.arange(1, len(degrees) + 1)[:, None]


def faces(embeddings: np.ndarray, found: list[bool]) -> Arrays:
    return {"identity.arcface": embeddings, "identity.found": np.array(found)}


def eyes(ear: list[float]) -> Arrays:
    """Landmarks whose left eye is a tenth more open than stated, and the right a tenth less."""
    points = np.zeros((len(ear), 68, 2))
    for corner, share in ((36, 1.1), (42, 0.9)):
        points[:, corner + 3, 0] = 2
        for lid, side in ((1, 1), (2, 1), (4, -1), (5, -1)):
            points[:, corner + lid, 1] = side * share * np.array(ear)
    return {"landmarks.dlib": points}


def lines(*values: float) -> np.ndarray:
    """Features of one dimension."""
    return np.array(values)[:, None]


def spread(parts: list[list[float]], mean: float, deviation: float) -> list[list[float]]:
    """Values in parts of the same sizes, with this mean and sample deviation over all of them."""
    flat = np.concatenate(parts)
    scaled = (flat - flat.mean()) / flat.std(ddof=1) * deviation + mean
    ends = np.cumsum([len(part) for part in parts])
    return [list(scaled[end - len(part) : end]) for end, part in zip(ends, parts, strict=True)]


ONE = [[0.0, 1, 5], [2.0, 9], [4.0, 4.5, 3, 8]]
TWO = [[1.0, 1, 2], [7.0, 3], [0.0, 6, 2, 2.5]]
#: Samples of mean 3 and deviation 2 against mean 1 and deviation 5: (3 - 1)² + (2 - 5)².
PLUS = [lines(*part) for part in spread(ONE, 3, 2)], [lines(*part) for part in spread(TWO, 1, 5)]


def ends(first: float, last: float, n: int) -> Arrays:
    """Inception features of 2n + 3 frames whose ends lie `first` and `last` above 0, with the same spread."""
    ramp = np.arange(n) % 5 / 10
    return {"inception": np.concatenate([ramp + first, [99.0, -70, 8], ramp + last])[:, None]}


@dataclass(frozen=True)
class Case:
    """Arrays of generated and true clips, and what a score must say of them."""

    clips: dict[str, tuple[Arrays, Arrays]]
    value: float
    n_frames: int
    per_clip: dict[str, float] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    over_time: tuple[float, ...] = ()
    note: str = ""


LIP, SOUND = f([0, 0], [3, 4], [6, 8]), f([0, 0], [3, 0], [6, 8])
#: Distances of each lip window to the sound window at shifts -1, 0, 1 (zeros beyond the ends).
CURVE_A = (
    (math.hypot(0, 0) + 5 + math.hypot(3, 8)) / 3, (0 + 4 + 0) / 3, (3 + 5 + 10) / 3,
)  # fmt: skip
#: The same of the lips 2, 2 and the sound 3, -1.
CURVE_B = ((2 + 1) / 2, (1 + 3) / 2, (3 + 2) / 2)
REST = np.zeros((1, 4, 3), np.float32)


def mesh(*x: list[float]) -> Arrays:
    """Vertices of which the first coordinate is given by frame; regions 0, 1 and 2, 3."""
    vertices = np.zeros((len(x), 4, 3))
    vertices[..., 1] = x
    regions = {"meshlips": np.array([0, 1]), "meshupper": np.array([2, 3])}
    return {"mesh": vertices, "meshrest": REST, **regions}


MESHES = {
    # three frames against two; lips off by 1 and 3, then 2 and 0
    "a": (mesh([1, 0, 1, 0], [2, 1, 3, 0], [9, 9, 9, 9]), mesh([0, 3, 0, 0], [0, 1, 2, 4])),
    "b": (mesh([5, 0, 0, 2]), mesh([1, 0, 0, 0])),
}
WIDE = np.r_[np.full(25, 100.0), np.full(25, 400.0), np.full(4, 1e4)], np.full(27, 900.0)


def db(mse: float) -> float:
    return 10 * math.log10(255**2 / mse)


#: A fall of exactly 0.1 in one frame: 0.3 -> 0.2.
SHUT = [0.3] * 6 + [0.2, 0.1, 0.2] + [0.3] * 6
CASES: dict[str, list[Case]] = {
    "fid": [
        Case({k: ({"inception": a}, {"inception": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 9),
    ],
    "fvd16": [
        Case({k: ({"i3d.16": a}, {"i3d.16": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 144),
        Case(
            {k: ({"i3d.16": a}, {"i3d.16": b}) for k, a, b in zip("abc", *PLUS, strict=True)},
            4 + 9 * 8 / 9, 144, settings=("fvd_covariance=biased",),
        ),
    ],
    "fvd32": [Case({k: ({"i3d.32": a}, {"i3d.32": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 288)],
    "dr25": [Case({k: (ends(1 + s, 3 + s, 25), ends(s, s, 25)) for k, s in (("a", 0), ("b", 2))}, 9 / 1 - 1, 100)],
    "dr50": [Case({k: (ends(2 + s, 1 + s, 50), ends(s, s, 50)) for k, s in (("a", 0), ("b", 2))}, 1 / 4 - 1, 200)],
    "lse-c": [
        Case(
            {"a": ({"syncnet.lip": LIP, "syncnet.audio": SOUND}, {}),
             "b": ({"syncnet.lip": f([2], [2]), "syncnet.audio": f([3], [-1])}, {})},
            (median(CURVE_A) - min(CURVE_A) + median(CURVE_B) - min(CURVE_B)) / 2, 15,
            {"a": median(CURVE_A) - min(CURVE_A), "b": median(CURVE_B) - min(CURVE_B)}, ("lse_shift=1",),
        )
    ],
    "lse-d": [
        Case(
            {"a": ({"syncnet.lip": LIP, "syncnet.audio": SOUND}, {}),
             "b": ({"syncnet.lip": f([2], [2]), "syncnet.audio": f([3], [-1])}, {})},
            (min(CURVE_A) + min(CURVE_B)) / 2, 15, {"a": min(CURVE_A), "b": min(CURVE_B)}, ("lse_shift=1",),
        )
    ],
    "lse-offset": [
        Case(
            {"a": ({"syncnet.lip": LIP, "syncnet.audio": SOUND}, {}),
             "b": ({"syncnet.lip": f([2], [2]), "syncnet.audio": f([3], [-1])}, {})},
            0.5, 15, {"a": 0, "b": 1}, ("lse_shift=1",),
        )
    ],
    "csim": [
        Case(
            {"a": (faces(unit(0, 60, 90, 5), [True, True, True, False]), faces(unit(0, 0, 0, 0), [True] * 4)),
             "b": (faces(unit(60), [True]), faces(unit(0), [True]))},
            (0.5 + 0.5) / 2, 4, {"a": 0.5, "b": 0.5}, note="no face in 20.0% of the frames",
        ),
        Case(
            {"a": (faces(unit(0, 60, 90, 5), [True, True, True, False]), faces(unit(0, 0, 0, 0), [True] * 4)),
             "b": (faces(unit(180), [True]), faces(unit(0), [True]))},
            (1.5 / 4 - 1) / 2, 4, {"a": 1.5 / 4, "b": -1}, ("csim_missing=zero",),
        ),
        Case(
            {"a": (faces(unit(90, 30, 5), [True, True, False]), faces(unit(0, 90, 0), [False, True, True])),
             "b": (faces(unit(10), [True]), faces(unit(70, 0), [True, True]))},
            (0.75 + 0.5) / 2, 3, {"a": 0.75, "b": 0.5}, ("csim_reference=source",),
        ),
    ],
    "blink": [
        Case({"a": (eyes(SHUT * 5), {}), "b": (eyes(SHUT), {})}, 6 / (90 / 25), 90, {"a": 5 / 3, "b": 5 / 3}),
        Case(
            {"a": (eyes(SHUT * 4 + [0.3] * 40), {}), "b": (eyes(SHUT), {})}, 5 / (115 / 25), 115, {"a": 1, "b": 5 / 3},
            ("blink_rule=threshold", "blink_threshold=0.15", "blink_frames=1"), note="mean of the clips' rates 1.333",
        ),
        Case({"a": (eyes(SHUT * 5), {}), "b": (eyes(SHUT), {})}, 0, 90, settings=("blink_edge=0.11",)),
    ],
    "psnr": [
        Case(
            {"a": ({"images.mse": WIDE[0]}, {}), "b": ({"images.mse": WIDE[1]}, {})},
            ((25 * db(100) + 25 * db(400) + 4 * db(1e4)) / 54 + db(900)) / 2, 81,
            {"b": db(900)}, over_time=((db(100) + db(900)) / 2, db(400)),
        ),
        Case(
            {"a": ({"images.mse": WIDE[0]}, {}), "b": ({"images.mse": WIDE[1]}, {})},
            db((25 * 100 + 25 * 400 + 4e4 + 27 * 900) / 81), 81, {"b": db(900)}, ("psnr_mean=pooled",),
        ),
        Case(
            {"a": ({"images.mse": f(0, 100, 0)}, {}), "b": ({"images.mse": f(400)}, {})},
            ((50 + db(100) + 50) / 3 + db(400)) / 2, 4, settings=("psnr_cap=50",), note="2 of 4 frames equal",
        ),
    ],
    "ssim": [Case({"a": ({"images.ssim": f(1, 0, 0.5, 0.1)}, {}), "b": ({"images.ssim": f(0.2)}, {})}, 0.3, 5)],
    "lpips": [
        Case(
            {"a": ({"lpips": np.r_[np.full(25, 0.2), np.full(25, 0.6)]}, {}), "b": ({"lpips": f(0.1)}, {})},
            0.25, 51, {"a": 0.4, "b": 0.1}, over_time=(0.2,),
        )
    ],
    "lve": [Case(MESHES, (9 + 4 + 16) / 3, 3, {"a": 6.5, "b": 16}, note="mean over sequences 1.1250e+01")],
    "mve": [Case(MESHES, ((1 + 3 + 1 + 0) / 4 + (2 + 0 + 1 + 4) / 4 + (4 + 2) / 4) / 3, 3)],
    # squares of vertices 2, 3 over two frames: true 0, 4 and 0, 16; generated 1, 9 and 0, 0
    "fdd": [Case(MESHES, ((2 + 8) / 2 - (4 + 0) / 2) / 2, 3, {"a": 3, "b": 0}, note="mean of |difference| 1.5000e+00")],
}  # fmt: skip


def measured(name: str, case: Case) -> Score:
    metric = METRICS[name](protocol("paper-dawn", case.settings))
    for clip, arrays in case.clips.items():
        metric.update(*arrays, clip_id=clip)
    return metric.compute()


def test_every_metric_has_a_number_by_hand() -> None:
    assert set(CASES) | {"bas"} == set(METRICS), "add the metric to CASES: clips, and its number worked out by hand"


@pytest.mark.parametrize(("name", "case"), [pytest.param(n, c, id=n) for n, cases in CASES.items() for c in cases])
def test_the_number_by_hand(name: str, case: Case) -> None:
    score = measured(name, case)
    assert score.value == pytest.approx(case.value, abs=1e-5)  # SyncNet's distance adds 1e-6
    assert (score.n_clips, score.n_frames) == (len(case.clips), case.n_frames)
    assert {clip: score.per_clip[clip] for clip in case.per_clip} == pytest.approx(case.per_clip, abs=1e-5)
    assert score.over_time[: len(case.over_time)] == pytest.approx(case.over_time)
    assert case.note in score.note


@pytest.mark.parametrize("name", sorted(set(CASES) - {"fid", "fvd16", "fvd32", "dr25", "dr50"}))
def test_two_clips_span_the_interval_of_a_mean(name: str) -> None:
    """A quarter of the resamples has one clip twice, so that 95 % reach from one clip's value to the other's."""
    for case in CASES[name]:
        score = measured(name, case)
        values = [value for value in score.per_clip.values() if value is not None]
        assert (score.low, score.high) == (pytest.approx(min(values)), pytest.approx(max(values)))


@pytest.mark.parametrize("direction", ["audio", "motion"])
@pytest.mark.parametrize("hop", [640, 512])
def test_bas_by_hand(monkeypatch: pytest.MonkeyPatch, direction: str, hop: int) -> None:
    """Beats of the sound at 10 and 20, in values of the envelope, against rests of the head at frames 12, 19, 40."""
    sound, rests = [10, 20], [12, 19, 40]
    monkeypatch.setattr("dawn_bench.metrics.bas.motion_beats", lambda points, *, smooth: np.array(rests))
    monkeypatch.setattr("dawn_bench.metrics.bas.beat_frames", lambda envelope, *, rate: np.array(sound))
    metric = METRICS["bas"](protocol("paper-dawn", (f"bas_direction={direction}", f"bas_hop={hop}", "bas_sigma=2")))
    metric.update({"headpose": np.zeros((50, 7)), "onset": np.zeros(51)}, {}, clip_id="a")
    frames = [beat * hop / 640 for beat in sound]
    ours, others = (frames, rests) if direction == "audio" else (rests, frames)
    terms = [math.exp(-min((a - b) ** 2 for b in others) / 8) for a in ours]
    score = metric.compute()
    assert score.value == pytest.approx(sum(terms) / len(terms)) and score.n_frames == 50


def test_the_rigid_head_turns_scales_and_moves() -> None:
    pose = np.zeros((3, 7))
    pose[:, 3] = 1e-3
    pose[1, 3:6], pose[2, 2] = (2e-3, 7, -3), 90
    still, moved, rolled = head_points(pose)
    assert moved[:, :2] == pytest.approx(2 * still[:, :2] + [7, -3]) and moved[:, 2] == pytest.approx(2 * still[:, 2])
    assert rolled[:, 0] == pytest.approx(-still[:, 1]) and rolled[:, 1] == pytest.approx(still[:, 0])


def influences(one: list[list[float]], two: list[list[float]]) -> tuple[float, list[float]]:
    """The distance in one dimension and each clip's influence on it, from the derivative by hand."""
    x, y = np.concatenate(one), np.concatenate(two)
    (m, s), (u, r) = ((side.mean(), side.std(ddof=1)) for side in (x, y))
    changes = []
    for values, mean, own, other, gap in ((one, m, s, r, m - u), (two, u, r, s, u - m)):
        change = [
            sum((v - mean) ** 2 * (1 - other / own) + 2 * (v - mean) * gap for v in part) / sum(map(len, values))
            for part in values
        ]
        changes.append([c - sum(change) * len(p) / sum(map(len, values)) for c, p in zip(change, values, strict=True)])
    return (m - u) ** 2 + (s - r) ** 2, [a + b for a, b in zip(*changes, strict=True)]


@pytest.mark.parametrize("dimensions", [1, 30], ids=["many samples", "few samples"])
def test_the_interval_of_a_frechet_distance_by_hand(dimensions: int) -> None:
    """t quantile of n - 1 degrees times sqrt(n / (n - 1) * sum of the squared influences), clips of unequal length."""
    value, influence = influences(ONE, TWO)
    parts = [[np.pad(lines(*p), ((0, 0), (0, dimensions - 1))) for p in side] for side in (ONE, TWO)]
    distance = frechet_by_clip(*parts)
    assert distance.value == pytest.approx(value)
    assert distance.influence == pytest.approx(influence) and abs(sum(influence)) < 1e-9
    reach = student.ppf(0.975, 2) * math.sqrt(3 / 2 * sum(i**2 for i in influence))
    low, high = interval(value, np.array(influence), floor=-99)
    assert (low, high) == (pytest.approx(value - reach), pytest.approx(value + reach))
    assert interval(value, np.array(influence), floor=0.0)[0] == max(value - reach, 0.0)
    metric = METRICS["fid"]()
    for clip, a, b in zip("abc", *parts, strict=True):
        metric.update({"inception": a}, {"inception": b}, clip_id=clip)
    score = metric.compute()
    assert (score.low, score.high) == (pytest.approx(max(value - reach, 0)), pytest.approx(value + reach))


def test_the_quantile_is_that_of_the_t_distribution() -> None:
    low, high = interval(10.0, np.array([1.0, -1.0, 2.0, -2.0, 0.0]), floor=0.0)
    reach = 2.7764451 * math.sqrt(5 / 4 * 10)  # 97.5 % point of 4 degrees of freedom, from a printed table
    assert (low, high) == (pytest.approx(10 - reach), pytest.approx(10 + reach))


def test_the_interval_of_a_degradation_rate_by_hand() -> None:
    """A ratio R = L / F has the influence (l - R f) / F, and DR is R - 1; it cannot be below -1."""
    rng = np.random.default_rng(3)
    frames = {clip: rng.normal(0, 1 + k / 3, (2, 60, 1)) for k, clip in enumerate("abcd")}
    metric = METRICS["dr25"]()
    for k, (clip, (ours, theirs)) in enumerate(frames.items()):
        ours = ours + np.linspace(1, 2 + k / 2, 60)[:, None]
        frames[clip] = np.stack([ours, theirs])
        metric.update({"inception": ours}, {"inception": theirs}, clip_id=clip)
    (first, f_by), (last, l_by) = (
        influences(*([list(sides[k, :, 0][end]) for sides in frames.values()] for k in (0, 1)))
        for end in (slice(25), slice(-25, None))
    )
    influence = [(b - last / first * a) / first for a, b in zip(f_by, l_by, strict=True)]
    reach = student.ppf(0.975, 3) * math.sqrt(4 / 3 * sum(i**2 for i in influence))
    score, value = metric.compute(), last / first - 1
    assert score.value == pytest.approx(value) and score.n_frames == 200
    assert (score.low, score.high) == (pytest.approx(max(value - reach, -1)), pytest.approx(value + reach))
    assert f"FID_st {first:.4g}, FID_ed {last:.4g} over 100 frames each" in score.note


def test_all_true_frames_may_be_the_reference_of_both_ends() -> None:
    metric = METRICS["dr25"](protocol("paper-dawn", ("dr_reference=all",)))
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(2, 3, (60, 1)), rng.normal(0, 1, (75, 1))
    metric.update({"inception": ours}, {"inception": theirs}, clip_id="a")

    def distance(part: np.ndarray) -> float:
        return float((part.mean() - theirs.mean()) ** 2 + (part.std(ddof=1) - theirs.std(ddof=1)) ** 2)

    assert metric.compute().value == pytest.approx(distance(ours[-25:]) / distance(ours[:25]) - 1)


@pytest.mark.parametrize("biased", [False, True])
def test_sums_and_parts_have_the_moments_of_all_samples(biased: bool) -> None:
    x = np.random.default_rng(5).normal(3, 2, (11, 2)) @ f([1, 2], [0, 3])
    whole = np.mean(x, axis=0), np.cov(x.T, bias=biased)
    added = (Sums.of(x[:4]) + Sums.of(x[4:])).moments(biased=biased)
    parted = moments([x[:1], x[1:]], biased=biased)
    for m in (added, parted):
        assert m.n == 11 and m.mean == pytest.approx(whole[0]) and m.covariance == pytest.approx(whole[1])
    y = moments([x[:, ::-1] * 2 + 1])
    gap = whole[0] - (x[:, ::-1] * 2 + 1).mean(axis=0)
    root = np.trace(np.linalg.cholesky(whole[1]).T @ y.covariance @ np.linalg.cholesky(whole[1]))
    eigen = np.linalg.eigvals(parted.covariance @ y.covariance).real
    wanted = gap @ gap + np.trace(parted.covariance) + np.trace(y.covariance) - 2 * np.sqrt(eigen).sum()
    assert root > 0 and frechet_of_moments(parted, y) == pytest.approx(wanted)


def exact(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Every resample of a few clips, in order."""
    picks = np.array(list(product(range(len(total)), repeat=len(total))))
    return np.sort(total[picks].sum(axis=1) / weight[picks].sum(axis=1))


def share_below(values: np.ndarray, bound: float) -> tuple[float, float]:
    """Share of values below a bound, and up to it."""
    return float((values < bound - 1e-12).mean()), float((values <= bound + 1e-12).mean())


#: Six clips: 46,656 resamples. Unequal weights tell a ratio of sums from a mean of ratios.
TOTAL, WEIGHT = np.array([2.0, 3.0, 40.0, 5.0, 1.0, -6.0]), np.array([1.0, 4.0, 9.0, 2.0, 1.0, 3.0])


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        pytest.param(ratio_interval(TOTAL, WEIGHT), exact(TOTAL, WEIGHT), id="metrics"),
        pytest.param(bootstrap(TOTAL), exact(TOTAL, np.ones(6)), id="differences"),
    ],
)
def test_both_bootstraps_cover_the_middle_95_percent_of_all_resamples(
    bounds: tuple[float, float], values: np.ndarray
) -> None:
    for bound, tail in zip(bounds, (0.025, 0.975), strict=True):
        below, up_to = share_below(values, bound)
        assert below - 0.012 <= tail <= up_to + 0.012


def test_an_interval_follows_its_seed_and_its_clips() -> None:
    total, weight = np.array([2.0, 3.0, 40.0, 5.0, 1.0, -6.0]), np.ones(6)
    metric = {seed: METRICS["ssim"](seed=seed) for seed in (0, 1)}
    for m in metric.values():
        for k, v in enumerate(total):
            m.update({"images.ssim": np.array([v])}, {}, clip_id=str(k))
    intervals = {seed: (m.compute().low, m.compute().high) for seed, m in metric.items()}
    assert intervals[0] == ratio_interval(total, weight, seed=0) != intervals[1]
    assert intervals[1] == ratio_interval(total, weight, seed=1)


def test_an_undefined_clip_counts_neither_in_the_mean_nor_in_the_interval() -> None:
    class Metric(METRICS["ssim"]):  # type: ignore[misc]
        def measure(self, generated: Mapping[str, Any], true: Mapping[str, Any]) -> Part:
            return Part(*generated["x"])

    metric = Metric()
    for clip, (total, weight, frames) in {"a": (6, 2, 10), "b": (0, 0, 7), "c": (5, 1, 3)}.items():
        metric.update({"x": (total, weight, frames)}, {}, clip_id=clip)
    score = metric.compute()
    assert (score.value, score.n_clips, score.n_frames) == (pytest.approx(11 / 3), 2, 13)
    assert (score.low, score.high) == (3, 5) and score.per_clip == {"a": 3, "b": None, "c": 5}
    assert metric.left_out(metric.records["b"]) == "all" and metric.left_out(metric.records["a"]) == ""


def test_a_second_is_25_frames_and_half_of_the_clips_reach_the_last_one() -> None:
    assert by_second(np.arange(60.0)) == (12.0, 37.0)
    three = [(1.0, 2.0, 3.0, 4.0), (3.0, 4.0, 5.0), (5.0,)]
    assert mean_over_time(three) == (3.0, 3.0, 4.0)
    assert mean_over_time([*three, (7.0,)]) == (4.0, 3.0, 4.0)  # two of four reach the third second
