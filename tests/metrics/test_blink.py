"""Blinks: known eye openness, both rules, and the embedded dataset's blinks through pictures and landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.metrics.bas import Bas
from dawn_bench.metrics.blink import BlinkRate
from dawn_bench.metrics.features.landmarks import Landmarks
from dawn_bench.metrics.functional.blinks import closing_edges, closures
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.scorer import score_method

CLOSING = (0.3, 0.2, 0.1, 0.1, 0.18, 0.25, 0.3)


def eyes(blinks: list[int], n_frames: int) -> np.ndarray:
    """Landmarks (T,68,2) whose eye aspect ratio is 0.3, with a blink at each of the frames."""
    ear = np.full(n_frames, 0.3)
    for t in blinks:
        ear[t : t + len(CLOSING)] = CLOSING[: n_frames - t]
    points = np.zeros((n_frames, 68, 2))
    for corner in (36, 42):
        points[:, corner + 3, 0] = 1
        for lid, side in ((1, 1), (2, 1), (4, -1), (5, -1)):
            points[:, corner + lid, 1] = side * ear / 2
    return points


@pytest.mark.parametrize("rule", ["closing-edge", "online", "threshold"])
def test_known_blinks_give_their_rate(rule):
    metric = BlinkRate(protocol("paper-dawn", (f"blink_rule={rule}",)))
    metric.update({"landmarks.dlib": eyes([20, 60, 130], 200)}, {}, clip_id="three in 8 s")
    metric.update({"landmarks.dlib": eyes([], 100)}, {}, clip_id="none in 4 s")
    score = metric.compute()
    assert score.value == pytest.approx(3 / 12)  # all blinks over all seconds
    assert score.per_clip == pytest.approx({"three in 8 s": 0.375, "none in 4 s": 0})
    assert "landmarks by dlib" in score.note and "mean of the clips' rates 0.188" in score.note


def test_slow_closing_is_no_edge_but_may_pass_the_threshold():
    ear = np.concatenate([np.linspace(0.3, 0.1, 11), np.linspace(0.1, 0.3, 11)])
    assert len(closing_edges(ear)) == 0
    assert len(closures(ear)) == 1


def test_an_eye_still_shut_at_the_end():
    ear = np.array([0.3] * 10 + [0.1] * 5)
    assert closing_edges(ear).tolist() == [9]
    assert len(closures(ear)) == 0


def test_one_frame_has_no_blink():
    metric = BlinkRate()
    metric.update({"landmarks.dlib": eyes([], 1)}, {}, clip_id="a")
    assert metric.compute().value == 0


def test_blinks_of_the_embedded_dataset_match_its_truth(embedded_clips):
    metric, feature = BlinkRate(), Landmarks()
    true, seconds = 0, 0.0
    for known in embedded_clips:
        metric.update(feature.run(known.clip, {}), {}, clip_id=known.clip.id)
        true, seconds = true + len(known.truth["blinks"]), seconds + known.clip.seconds
    assert true > 0
    assert metric.compute().value == pytest.approx(true / seconds)


def test_the_score_names_its_landmark_model(embedded_clips):
    known = embedded_clips[0]
    short = Clip("c", "s", "test", 6, {k: known.clip[k][: 6 * n] for k, n in (("frames", 1), ("audio", 640))})
    rows = score_method("m", [short], [short], dataset="d", split="test", metrics=("blink", "bas"), weights="seeded")
    assert BlinkRate.backend() == "dlib-68 canonical" and Bas.backend() == BlinkRate.backend()
    assert [row.weights_state for row in rows] == ["canonical", "canonical"]


def test_another_landmark_file_is_another_fingerprint(monkeypatch):
    feature, print_ = Landmarks(), Landmarks().fingerprint
    other = replace(feature.resolved[0], state="user", sha256="0" * 64)
    monkeypatch.setattr("dawn_bench.metrics.features.landmarks.face_weights", lambda backend: [other])
    assert Landmarks().weights_state == "user" and Landmarks().fingerprint != print_
