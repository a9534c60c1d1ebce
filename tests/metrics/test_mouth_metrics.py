"""Mouth, sound and head without a network: known tracks, the embedded dataset's truth, and edges."""

from __future__ import annotations

import numpy as np
import pytest
from talking_face import face, poses, score, wave

from dawn_bench.clip import Clip
from dawn_bench.metrics.av import AvCorr, AvLag
from dawn_bench.metrics.features.envelope import Envelope
from dawn_bench.metrics.features.landmarks import Landmarks
from dawn_bench.metrics.features.repeated import Repeated
from dawn_bench.metrics.functional.landmark_distance import similar
from dawn_bench.metrics.head_spread import HeadSpread, spread
from dawn_bench.metrics.lmd import FaceDistance, MouthDistance
from dawn_bench.metrics.mouth_corr import MouthCorr
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.silence_leak import SilenceLeak
from dawn_bench.pipelines.extractors.head import HEAD

NAMES = ("mouth-corr", "m-lmd", "f-lmd", "av-corr", "av-lag", "head-spread", "silence-leak")


def test_none_is_computed_unless_it_is_named_and_the_protocol_of_embedded_metrics_lists_all():
    from dawn_bench.metrics.protocols.base import protocol

    assert not set(NAMES) & set(usual_metrics())
    assert set(NAMES) <= set(usual_metrics(protocol("embedded")))
    assert [METRICS[name].group for name in NAMES] == [*["sync"] * 5, "motion", "sync"]


def test_mouth_correlation_is_that_of_the_openings_whatever_their_size():
    true = wave(100)
    assert score(MouthCorr(), face(true), face(true)).value == pytest.approx(1)
    assert score(MouthCorr(), face(0.1 + 0.3 * true, size=1.7, turn=20), face(true)).value == pytest.approx(1, abs=1e-4)
    assert score(MouthCorr(), face(0.4 - true), face(true)).value == pytest.approx(-1, abs=1e-4)
    other = wave(100, period=17, seed=5)
    expected = np.corrcoef(true, other)[0, 1]
    assert score(MouthCorr(), face(other), face(true)).value == pytest.approx(expected, abs=1e-4)


def test_a_still_mouth_scores_zero_and_a_still_true_mouth_is_undefined():
    true = wave(60)
    assert score(MouthCorr(), face(np.full(60, 0.1)), face(true)).value == 0
    undefined = score(MouthCorr(), face(true), face(np.full(60, 0.1)))
    assert undefined.value is None and undefined.note.startswith("undefined for 1 clip")
    assert score(MouthCorr(), face(true[:24]), face(true[:24])).value is None


def test_frames_without_a_face_do_not_count():
    true, ours = wave(80), wave(80)
    ours[10:20] = 0.9
    generated = face(ours)
    generated["landmarks.found"][10:20] = False
    metric = MouthCorr()
    assert score(metric, generated, face(true)).value == pytest.approx(1)
    assert metric.left_out(metric.records["a"]) == "10-19"
    distance = MouthDistance()
    assert score(distance, generated, face(true)).value == pytest.approx(0, abs=1e-6)
    assert distance.records["a"].n_frames == 70 and distance.left_out(distance.records["a"]) == "10-19"


def test_the_note_of_the_correlation_has_the_level_of_chance():
    metric = MouthCorr()
    for k, clip_id in enumerate("abc"):
        track = face(wave(90, seed=k, period=9 + 4 * k))
        metric.update(track, track, clip_id=clip_id)
    folded = metric.compute()
    assert folded.value == pytest.approx(1)
    tracks = [wave(90, seed=k, period=9 + 4 * k) for k in range(3)]
    chance = np.mean([np.corrcoef(tracks[k], tracks[k - 1])[0, 1] for k in range(3)])
    assert f"{chance:.3f} with the true mouths of other clips" in folded.note
    assert "landmarks by dlib" in folded.note and "270 of 270 frames equal the true ones" in folded.note


def test_landmark_distances_ignore_pose_and_framing_and_measure_the_mouth():
    true = face(np.full(50, 0.1))
    for metric in (MouthDistance, FaceDistance):
        assert score(metric(), face(np.full(50, 0.1), turn=25, size=1.4), true).value == pytest.approx(0, abs=1e-5)
    eyes = np.linalg.norm(true["landmarks.dlib"][0, 36] - true["landmarks.dlib"][0, 45])
    wide = face(np.full(50, 0.3))
    # six inner points move by 10 px each, and the centre of the mouth stays
    moved = 6 * 10 / eyes
    assert score(MouthDistance(), wide, true).value == pytest.approx(moved / 20, rel=0.03)
    assert score(FaceDistance(), wide, true).value == pytest.approx(moved / 68, rel=0.03)


def test_a_mouth_that_sits_lower_is_no_other_mouth():
    true, lower = face(wave(50)), face(wave(50))
    lower["landmarks.dlib"][:, 48:, 1] += 5
    assert score(MouthDistance(), lower, true).value == pytest.approx(0, abs=1e-6)
    eyes = np.linalg.norm(true["landmarks.dlib"][0, 36] - true["landmarks.dlib"][0, 45])
    # 20 of 68 points are lower by 5 px, and the centre of all by 5 * 20 / 68
    expected = 5 * 2 * 20 / 68 * 48 / 68 / eyes
    assert score(FaceDistance(), lower, true).value == pytest.approx(expected, rel=1e-3)


def test_a_frame_of_another_pose_is_moved_onto_the_true_one():
    true = face(np.full(1, 0.1))["landmarks.dlib"].astype(float)
    turned = face(np.full(1, 0.1), turn=-40, size=0.6)["landmarks.dlib"].astype(float)
    assert np.abs(similar(turned, true) - true).max() < 1e-3


@pytest.mark.parametrize("shift", [-6, -1, 0, 4, 9])
def test_the_lag_is_that_of_the_mouth_behind_the_sound(shift):
    track = wave(200)
    arrays = face(np.roll(track, shift)) | {"envelope": track}
    folded = score(AvLag(), arrays)
    assert folded.value == pytest.approx(shift, abs=0.1)
    assert folded.n_frames == 200


def test_the_correlation_with_the_sound_is_at_no_lag_and_of_no_lips_zero():
    track = wave(200)
    assert score(AvCorr(), face(track) | {"envelope": track}).value == pytest.approx(1)
    expected = np.corrcoef(np.roll(track, 3), track)[0, 1]
    assert score(AvCorr(), face(np.roll(track, 3)) | {"envelope": track}).value == pytest.approx(expected, abs=1e-3)
    assert score(AvCorr(), face(np.full(200, 0.2)) | {"envelope": track}).value == 0


def test_the_lag_abstains_and_says_why():
    track, metric = wave(200), AvLag()
    metric.update(face(np.full(200, 0.2)) | {"envelope": track}, {}, clip_id="still")
    metric.update(face(track) | {"envelope": np.zeros(200)}, {}, clip_id="silent")
    metric.update(
        face(wave(200, period=7, seed=8)) | {"envelope": np.random.default_rng(3).random(200)}, {}, clip_id="c"
    )
    folded = metric.compute()
    assert folded.value is None and set(folded.per_clip.values()) == {None}
    for why in ("still mouth (1)", "no sound (1)", "no lag stands out (1)"):
        assert why in folded.note
    corr = AvCorr()
    corr.update(face(track) | {"envelope": np.zeros(200)}, {}, clip_id="silent")
    assert corr.compute().value is None and "no sound (1)" in corr.compute().note


def test_sound_shorter_than_the_picture_is_silence_at_the_end():
    sound = np.full(640 * 3 + 100, 16384, np.int16)
    values = Envelope().run(Clip("a", "", "", 5, {"audio": sound}), {})["envelope"]
    assert values == pytest.approx([0.5] * 4)
    track = wave(60)
    arrays = face(track) | {"envelope": track[:40]}
    expected = np.corrcoef(track, np.pad(track[:40], (0, 20)))[0, 1]
    assert score(AvCorr(), arrays).value == pytest.approx(expected, abs=1e-3)


def test_head_spread_is_the_difference_to_the_truth_in_eye_distances():
    swing = 10 * np.sin(np.arange(100) / 7)
    assert score(HeadSpread(), poses(swing), poses(swing)).value == 0
    still, double = (
        score(HeadSpread(), poses(0 * swing), poses(swing)),
        score(HeadSpread(), poses(2 * swing), poses(swing)),
    )
    assert still.value == pytest.approx(spread(poses(swing)["headpose"]))
    assert double.value == pytest.approx(still.value, rel=0.1), "twice the motion is as far off as none"
    assert "spread 0.000, of the true clips 0.0" in still.note


def test_a_head_that_slides_by_an_eye_distance_has_that_spread():
    pose = poses(np.zeros(200))["headpose"]
    eyes = np.abs(HEAD[36, 0] - HEAD[45, 0]) * 4.5e-4
    pose[100:, 4] += 2 * eyes
    assert spread(pose) == pytest.approx(1, rel=1e-4)
    pose[:, 3] *= 2
    pose[:, 4:6] *= 2
    assert spread(pose) == pytest.approx(1, rel=1e-4), "the size of the picture does not count"


def test_silence_leak_is_lip_motion_over_that_of_true_speech():
    speech = wave(100)
    metric = SilenceLeak()
    metric.update(face(0.3 + 0.25 * speech), face(speech), clip_id="a")
    metric.update(face(np.full(100, 0.4)), face(0.5 * speech), clip_id="open and still")
    folded = metric.compute()
    assert folded.per_clip == pytest.approx({"a": 0.25, "open and still": 0}, abs=1e-3)
    assert folded.value == pytest.approx(0.25 / 1.5, abs=1e-3), "the clip that speaks more counts more"
    assert METRICS["silence-leak"].driven_by == "silence" and METRICS["silence-leak"].shows == ("motion",)
    assert score(SilenceLeak(), face(speech), face(np.full(100, 0.1))).value is None


def test_on_the_embedded_dataset_true_mouths_lead_and_still_ones_and_those_of_others_follow(embedded_clips):
    landmarks = [Landmarks().run(known.clip, {}) for known in embedded_clips]
    envelopes = [Envelope().run(known.clip, {}) for known in embedded_clips]
    sides = {"true": landmarks, "other": [*landmarks[1:], landmarks[0]]}
    sides["still"] = [{name: np.repeat(array[:1], len(array), axis=0) for name, array in a.items()} for a in landmarks]
    values: dict[tuple[str, str], float | None] = {}
    for metric in ("mouth-corr", "m-lmd"):
        for side, arrays in sides.items():
            folding = METRICS[metric]()
            for k, known in enumerate(embedded_clips):
                folding.update(arrays[k], landmarks[k], clip_id=known.clip.id)
            values[metric, side] = folding.compute().value
    for sound in ("own", "other"):
        for metric in ("av-corr", "av-lag"):
            folding = METRICS[metric]()
            for k, known in enumerate(embedded_clips):
                heard = envelopes[k if sound == "own" else k - 1]
                folding.update(landmarks[k] | heard, {}, clip_id=known.clip.id)
            values[metric, sound] = folding.compute().value
    assert values["mouth-corr", "true"] == pytest.approx(1) and values["m-lmd", "true"] == 0
    assert abs(values["mouth-corr", "other"]) < 0.2 and values["mouth-corr", "still"] == 0
    # between lips at chance and none at all, the distance prefers none
    assert 0 < values["m-lmd", "still"] < values["m-lmd", "other"]
    assert values["av-corr", "own"] > 0.8 and abs(values["av-corr", "other"]) < 0.2
    assert values["av-lag", "own"] == pytest.approx(0, abs=0.3), "written with the sound in step"


def test_a_repeated_picture_has_one_opening_though_its_landmarks_drift():
    frames = np.zeros((6, 8, 8, 3), np.uint8)
    frames[3:, 0, 0, 0] = 1
    flags = Repeated().run(Clip("a", "", "", 6, {"frames": frames}), {})["repeated"]
    assert flags.tolist() == [False, True, True, False, True, True]
    true, drift = wave(60), 0.1 + 0.002 * np.arange(60)
    still = face(drift) | {"repeated": np.arange(60) > 0}
    assert score(MouthCorr(), face(drift), face(true)).value != 0, "without the flags it would seem to move"
    assert score(MouthCorr(), still, face(true)).value == 0
    assert score(SilenceLeak(), still, face(true)).value == 0
    assert score(MouthCorr(), face(true), still).note.startswith("undefined for 1 clip; the true mouth rests (1)")
    assert "the true lips rest (1)" in score(SilenceLeak(), face(true), still).note


def test_the_reason_for_a_clip_without_a_value_is_the_right_one():
    few = score(AvCorr(), face(np.full(9, 0.2)) | {"envelope": wave(9)})
    assert few.value is None and "too short (1)" in few.note
    steady = score(AvLag(), face(wave(90)) | {"envelope": np.full(90, 0.3)})
    assert steady.value is None and "sound of one loudness (1)" in steady.note
    assert "both faces in fewer than 25 frames (1)" in score(MouthCorr(), face(wave(24)), face(wave(24))).note


def test_the_spread_of_a_head_is_over_the_frames_that_show_both_faces():
    pose = np.zeros((30, 7), np.float32)
    pose[:, 3], pose[:, 0] = 4e-4, 20 * np.sin(np.arange(30))
    seen = np.arange(30) < 20
    gaps, noisy = pose.copy(), {"landmarks.found": seen}
    gaps[20:, 0] = 80
    metric = HeadSpread()
    folded = score(metric, {"headpose": gaps} | noisy, {"headpose": pose})
    assert folded.value == pytest.approx(0, abs=1e-6) and folded.n_frames == 20
    assert metric.left_out(metric.records["a"]) == "20-29"
    alone = score(HeadSpread(), {"headpose": gaps, "landmarks.found": np.arange(30) == 0}, {"headpose": pose})
    assert alone.value is None and "both faces in fewer than 2 frames (1)" in alone.note
