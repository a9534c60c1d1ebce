"""Velocities, time-aligned mouths and poses: known motion, known delays, and clips of which too little is seen."""

from __future__ import annotations

import numpy as np
import pytest
from talking_face import face, poses, score, wave

from dawn_bench.metrics.functional.dtw import mean_temporal_misalignment
from dawn_bench.metrics.scoring.base import METRICS

NAMES = ("m-lvd", "f-lvd", "m-lmd-sdtw", "mtm", "apd")


def of(name: str, generated, true):
    return score(METRICS[name](), generated, true)


def late(frames: int, n: int = 120):
    """The true mouth and the same one later, both from within a longer track."""
    track = wave(n + 20)
    return face(track[10 - frames : 10 - frames + n]), face(track[10 : 10 + n])


def test_none_is_computed_unless_it_is_named():
    assert all(METRICS[name].optional for name in NAMES)


@pytest.mark.parametrize("name", ["m-lvd", "f-lvd", "m-lmd-sdtw", "mtm"])
def test_the_true_clip_scores_zero_whatever_its_pose(name: str):
    true = face(wave(60))
    assert of(name, true, true).value == 0
    assert of(name, face(wave(60), turn=20, size=1.3), true).value == pytest.approx(0, abs=1e-4)
    assert "landmarks by dlib" in of(name, true, true).note


def test_the_velocity_distance_is_that_of_the_steps():
    true, ours = face(np.full(40, 0.1)), face(np.where(np.arange(40) % 2, 0.1, 0.2))
    eyes = np.linalg.norm(true["landmarks.dlib"][0, 36] - true["landmarks.dlib"][0, 45])
    # six inner points step by 5 px a frame, and the centre of the mouth stays
    assert of("m-lvd", ours, true).value == pytest.approx(6 * 5 / 20 / eyes, rel=0.03)
    assert of("f-lvd", ours, true).value == pytest.approx(6 * 5 / 68 / eyes, rel=0.03)
    assert of("m-lvd", face(np.full(40, 0.4)), true).value == pytest.approx(0, abs=1e-6), "a wrong shape that stays"


def test_steps_across_a_gap_do_not_count():
    ours, true = face(wave(50)), face(wave(50))
    ours["landmarks.dlib"][20:] = face(wave(50) + 0.2)["landmarks.dlib"][20:]
    assert of("m-lvd", ours, true).value > 1e-4, "a jump"
    ours["landmarks.found"][19:21] = False
    metric = METRICS["m-lvd"]()
    assert score(metric, ours, true).value == pytest.approx(0, abs=1e-6)
    assert metric.left_out(metric.records["a"]) == "19-20" and metric.records["a"].n_frames == 48
    ours["landmarks.found"][::2] = False
    assert of("m-lvd", ours, true).value is None


def test_a_late_mouth_is_near_after_alignment_and_a_wrong_one_is_not():
    ours, true = late(3)
    other = face(wave(120, period=17, seed=5))
    rigid = [of("m-lmd", side, true).value for side in (ours, other)]
    aligned = [of("m-lmd-sdtw", side, true).value for side in (ours, other)]
    assert rigid[0] > 0.5 * rigid[1] and 0 < aligned[0] < 0.25 * aligned[1]
    resting = face(np.full(120, 0.1))
    assert of("m-lmd-sdtw", resting, true).value > aligned[0]
    undefined = of("m-lmd-sdtw", true, resting)
    assert undefined.value is None and "the true mouth rests (1)" in undefined.note
    assert "both faces in fewer than 25 frames (1)" in of("m-lmd-sdtw", face(wave(24)), face(wave(24))).note


@pytest.mark.parametrize("frames", [-3, 2])
def test_the_misalignment_is_the_delay_in_frames(frames: int):
    ours, true = late(frames)
    result = of("mtm", ours, true)
    assert result.value == pytest.approx(abs(frames), abs=0.7) and "pairs of extrema" in result.note
    straight = mean_temporal_misalignment(*(np.sin(np.arange(90) / 5 - shift / 5) for shift in (0, frames)))
    assert straight.mean == pytest.approx(abs(frames), abs=0.5)
    nothing = of("mtm", face(np.full(120, 0.1)), true)
    assert nothing.value is None and "no extrema belong together (1)" in nothing.note


def test_long_clips_are_aligned_ten_seconds_at_a_time():
    """Two stretches of 250 frames, of which the second is late: half of the distance of one that is late alone."""
    ours, true = late(2, 500)
    mixed = {key: np.concatenate([true[key][:250], ours[key][250:]]) for key in true}
    second = {key: array[250:] for key, array in ours.items()}, {key: array[250:] for key, array in true.items()}
    assert of("mtm", mixed, true).value < of("mtm", *second).value
    assert of("m-lmd-sdtw", mixed, true).value == pytest.approx(of("m-lmd-sdtw", *second).value / 2, rel=0.15)


def test_the_pose_distance_is_the_mean_over_three_angles():
    swing = 10 * np.sin(np.arange(50) / 7)
    assert of("apd", poses(swing), poses(swing)).value == 0
    result = of("apd", poses(swing + 6), poses(swing))
    assert result.value == pytest.approx(2) and result.over_time == pytest.approx((2, 2))
    assert of("apd", poses(np.full(9, 179.0)), poses(np.full(9, -179.0))).value == pytest.approx(2 / 3, abs=1e-4)
    seen = {"landmarks.found": np.arange(50) < 20}
    metric = METRICS["apd"]()
    assert score(metric, poses(np.where(np.arange(50) < 20, swing, 90)) | seen, poses(swing)).value == 0
    assert metric.left_out(metric.records["a"]) == "20-49" and metric.compute().over_time == ()
    assert of("apd", poses(swing) | {"landmarks.found": np.zeros(50, bool)}, poses(swing)).value is None
