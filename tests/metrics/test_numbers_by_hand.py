"""The number of every metric over two or three unequal clips, computed by hand from the definition."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import pytest

from dawn_bench.metrics.bas import head_points
from dawn_bench.metrics.frechet_lite0 import projection
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS, Score

Arrays = dict[str, np.ndarray]


def f(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float64)


def unit(*degrees: float) -> np.ndarray:
    """Vectors of unequal length in the plane."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.arange(1, len(degrees) + 1)[:, None]


def faces(embeddings: np.ndarray, detected: list[bool], feature: str = "identity") -> Arrays:
    return {f"{feature}.arcface": embeddings, f"{feature}.found": np.array(detected)}


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
TWO = [[1.0, 1, 2], [7.0, 3, 4], [0.0, 6, 2, 2.5]]
#: Nine samples of mean 3 and deviation 2 against ten of mean 1 and deviation 5: (3 - 1)² + (2 - 5)².
PLUS = [lines(*part) for part in spread(ONE, 3, 2)], [lines(*part) for part in spread(TWO, 1, 5)]


def ends(first: float, last: float, n: int) -> Arrays:
    """Inception features of 2n + 3 frames whose ends lie `first` and `last` above 0, with the same spread."""
    ramp = np.arange(n) % 5 / 10
    return {"inception": np.concatenate([ramp + first, [99.0, -70, 8], ramp + last])[:, None]}


def seconds(*values: float) -> np.ndarray:
    """Features of one dimension whose middle frames of each second have these values."""
    rows = np.full((25 * len(values), 1), 1e3)
    rows[12::25, 0] = values
    return rows


def both(name: str, *clips: tuple[list[float], list[float]]) -> dict[str, tuple[Arrays, Arrays]]:
    """Clips of one-dimensional features, generated and true."""
    return {f"{k}": ({name: lines(*one)}, {name: lines(*two)}) for k, (one, two) in enumerate(clips)}


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


def mesh(*x: list[float], rest: float = 0) -> Arrays:
    """Vertices of which one coordinate is given by frame; regions 0, 1 and 2, 3; vertex 2 at `rest` in the template."""
    vertices = np.zeros((len(x), 4, 3))
    vertices[..., 1] = x
    regions = {"meshlips": np.array([0, 1]), "meshupper": np.array([2, 3])}
    template = np.zeros((1, 4, 3))
    template[0, 2, 1] = rest
    return {"mesh": vertices, "meshrest": template, **regions}


MESHES = {
    # three frames against two; lips off by 1 and 3, then 2 and 0
    "a": (mesh([1, 0, 1, 0], [2, 1, 3, 0], [9, 9, 9, 9], rest=1), mesh([0, 3, 0, 0], [0, 1, 2, 4])),
    "b": (mesh([5, 0, 0, 2]), mesh([1, 0, 0, 0])),
}
WIDE = np.r_[np.full(25, 100.0), np.full(25, 400.0), np.full(4, 1e4)], np.full(27, 900.0)


def db(mse: float) -> float:
    return 10 * math.log10(255**2 / mse)


#: Sets {0, 1, 2} and {1, 2, 0} under (xy + 1)³: pairs of different ones 1, 1, 27 in both; all nine pairs sum to 192.
CUBES = (([0, 1], [1, 2]), ([2], [0]))
KERNEL = 2 * (1 + 1 + 27) / 3 - 2 * 192 / 9
#: Third neighbours of 0, 1, 2, 10 are 10, 9, 8, 10 away: of 25, 11, 1, -30 two lie in one of these balls. Fifth
#: neighbours of 0 to 4 and 20 are 20, 19, 18, 17, 16, 20 away.
FOUR = [({"x": seconds(a)}, {"x": seconds(b)}) for a, b in zip((25, 11, 1, -30), (0, 1, 2, 10), strict=True)]
TRUE_SIX = ((0, 1), (2, 3), (4, 20))


def of(feature: str, sides: list[tuple[Arrays, Arrays]], *, swapped: bool = False) -> dict[str, tuple[Arrays, Arrays]]:
    pairs = [(two, one) if swapped else (one, two) for one, two in sides]
    return {f"{k}": ({feature: one["x"]}, {feature: two["x"]}) for k, (one, two) in enumerate(pairs)}


def six(*generated: tuple[float, float]) -> list[tuple[Arrays, Arrays]]:
    return [({"x": seconds(*a)}, {"x": seconds(*b)}) for a, b in zip(generated, TRUE_SIX, strict=True)]


def shares(suffix: str, feature: str) -> dict[str, list[Case]]:
    """On the circle of a ball of density and coverage is outside: 0 is 20 from 20."""
    note = "frames, at least 100"
    return {
        f"precision{suffix}": [Case(of(feature, FOUR), 2 / 4, 4, note=note)],
        f"recall{suffix}": [Case(of(feature, FOUR, swapped=True), 2 / 4, 4, note=note)],
        f"density{suffix}": [Case(of(feature, six((0, 4), (38, 50), (-19, 100))), (5 + 6 + 1 + 1) / (5 * 6), 6)],
        f"coverage{suffix}": [Case(of(feature, six((38, 50), (-19, 100), (60, 70))), 2 / 6, 6)],
    }


#: Squared length of what a difference of 1 is projected to.
LENGTH = float(np.sum(projection(1) ** 2))
#: A fall of exactly 0.1 in one frame: 0.3 -> 0.2.
SHUT = [0.3] * 6 + [0.2, 0.1, 0.2] + [0.3] * 6
CASES: dict[str, list[Case]] = {
    "fid": [
        Case(
            {k: ({"inception": a}, {"inception": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 9,
            note="9 frames, at least 2049",
        ),
        Case(
            {k: ({"inception": b}, {"inception": a}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 10,
            note="9 frames, at least 2049",
        ),
    ],
    "frechet-lite0": [
        Case(
            {k: ({"lite0": a}, {"lite0": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 9,
            note="9 frames, at least 1281",
        )
    ],
    # differences 1, 3 and 2 of mean 2 and deviation 1; 0, 4 and -1 of mean 1 and variance 7
    "frechet-motion-lite0": [
        Case(
            both("lite0", ([0, 1, 4], [0, 0, 4]), ([5, 7], [9, 8])), LENGTH * (1 + (1 - math.sqrt(7)) ** 2), 5,
            note="3 frames, at least 160",
        )
    ],
    "kernel-lite0": [Case(both("lite0", *CUBES), KERNEL, 3)],
    "kid": [Case(both("inception", *CUBES), KERNEL, 3)],
    "kvd16": [Case(both("i3d.16", *CUBES), KERNEL, 48)],
    **shares("", "inception"),
    **shares("-lite0", "lite0"),
    "fvd16": [
        Case({k: ({"i3d.16": a}, {"i3d.16": b}) for k, a, b in zip("abc", *PLUS, strict=True)}, 13, 144),
        Case(
            {k: ({"i3d.16": a}, {"i3d.16": b}) for k, a, b in zip("abc", *PLUS, strict=True)},
            4 + (2 * math.sqrt(8 / 9) - 5 * math.sqrt(9 / 10)) ** 2, 144, settings=("fvd_covariance=biased",),
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
            {"a": (faces(unit(0, 60, 90, 5, 120), [True, True, True, False, True]),
                   faces(unit(0, 0, 0, 0, 0), [True, True, True, True, False])),
             "b": (faces(unit(60), [True]), faces(unit(0), [True]))},
            (0.5 + 0.5) / 2, 4, {"a": 0.5, "b": 0.5}, note="no face in 33.3% of the frames",
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
    "id-dlib": [
        Case(
            {"a": (faces(unit(0, 60, 90, 5, 120), [True, True, True, False, True], "id-dlib"),
                   faces(unit(0, 0, 0, 0, 0), [True, True, True, True, False], "id-dlib")),
             "b": (faces(unit(60), [True], "id-dlib"), faces(unit(0), [True], "id-dlib"))},
            (0.5 + 0.5) / 2, 4, {"a": 0.5, "b": 0.5}, note="no face in 33.3% of the frames",
        )
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
    # squares of vertices 2, 3 from the template over two frames: true 0, 4 and 0, 16; generated 0, 4 and 0, 0
    "fdd": [Case(MESHES, ((2 + 8) / 2 - (2 + 0) / 2) / 2, 3, {"a": 4, "b": 0}, note="mean of |difference| 2.0000e+00")],
}  # fmt: skip


def measured(name: str, case: Case) -> Score:
    metric = METRICS[name](protocol("paper-dawn", case.settings))
    for clip, arrays in case.clips.items():
        metric.update(*arrays, clip_id=clip)
    return metric.compute()


#: Metrics whose numbers are worked out elsewhere: of beats below, of 200 clips, of a mouth and of sound, of pictures,
#: of seconds.
ELSEWHERE = {
    *("bas", "fid-inf", "fvd16-inf"),
    *("mouth-corr", "m-lmd", "f-lmd", "av-corr", "av-lag", "silence-leak", "head-spread"),
    *("m-lvd", "f-lvd", "m-lmd-sdtw", "mtm", "apd"),
    *("cpbd", "piqe", "flicker-gap", "exposure-shift", "colour-shift", "block-edges"),
    *("drift-cpbd", "drift-exposure", "drift-colour", "drift-csim", "drift-fid"),
}
#: Metrics that are one number over all clips.
OF_ALL = {
    "fid",
    "fvd16",
    "fvd32",
    "dr25",
    "dr50",
    "kid",
    "kvd16",
    "frechet-lite0",
    "frechet-motion-lite0",
    "kernel-lite0",
}
OF_ALL |= {*shares("", "inception"), *shares("-lite0", "lite0")}


def test_every_metric_has_a_number_by_hand() -> None:
    assert set(CASES) == set(METRICS) - ELSEWHERE, "add the metric to CASES: clips, and its number worked out by hand"


@pytest.mark.parametrize(("name", "case"), [pytest.param(n, c, id=n) for n, cases in CASES.items() for c in cases])
def test_the_number_by_hand(name: str, case: Case) -> None:
    score = measured(name, case)
    assert score.value == pytest.approx(case.value, abs=1e-5)  # SyncNet's distance adds 1e-6
    assert (score.n_clips, score.n_frames) == (len(case.clips), case.n_frames)
    assert {clip: score.per_clip[clip] for clip in case.per_clip} == pytest.approx(case.per_clip, abs=1e-5)
    assert score.over_time[: len(case.over_time)] == pytest.approx(case.over_time)
    assert case.note in score.note


@pytest.mark.parametrize("name", sorted(set(CASES) - OF_ALL))
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
