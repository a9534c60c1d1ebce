"""Beats: known beats of sound and motion, and where the score is undefined."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.metrics.bas import Bas, head_points
from dawn_bench.metrics.features.headpose import HeadPose
from dawn_bench.metrics.features.landmarks import landmarks_of
from dawn_bench.metrics.features.onset import Onset
from dawn_bench.metrics.functional.beats import (
    alignment,
    beat_frames,
    motion_beats,
    onset_envelope,
    onset_frames,
    tempo,
)
from dawn_bench.metrics.protocols.base import protocol


def clicks(every: int, n_frames: int) -> np.ndarray:
    """A short burst of noise at the start of every n-th frame."""
    rng, sound = np.random.default_rng(0), np.zeros(n_frames * 640)
    for t in range(every, n_frames, every):
        sound[t * 640 : t * 640 + 400] = rng.uniform(-1, 1, 400) * np.linspace(1, 0, 400)
    return (20000 * sound).astype(np.int16)


def nodding(n_frames: int, *, period: int) -> np.ndarray:
    """Pose of a head that nods and rests in the middle between and at its turning points."""
    pose = np.zeros((n_frames, 7), np.float32)
    pose[:, 1] = 10 * np.cos(2 * np.pi * (np.arange(n_frames) - 0.3) / period)
    pose[:, 3:6] = 4.5e-4, 60, 60
    return pose


@pytest.mark.parametrize("every", [10, 12, 15])
def test_clicks_are_beats_and_onsets(every):
    envelope = onset_envelope(clicks(every, 200))
    assert len(envelope) == 201
    assert tempo(envelope) == pytest.approx(60 * 25 / every)
    expected = np.arange(every, 200, every)
    # A window reaches a frame and a half ahead, so a click may show up to two frames off.
    assert np.abs(onset_frames(envelope)[:, None] - expected).min(axis=0).max() <= 2
    assert np.abs(beat_frames(envelope)[:, None] - expected).min(axis=1).max() <= 2


def test_rests_of_a_nodding_head():
    rests = motion_beats(head_points(nodding(200, period=50)), smooth=2.0)
    assert np.abs(rests[:, None] - np.arange(0, 200, 25)).min(axis=1).max() <= 1
    assert len(rests) == 7


def test_alignment_of_known_distances():
    beats = np.array([10, 30, 50])
    assert alignment(beats, beats) == 1
    assert alignment(beats, beats + 3) == pytest.approx(np.exp(-0.5))
    # The direction matters: many beats around few.
    assert alignment(np.arange(100), np.array([50])) < alignment(np.array([50]), np.arange(100)) == 1


def test_score_over_clips_and_where_it_is_undefined():
    metric, envelope = Bas(), onset_envelope(clicks(12, 200))
    still = np.tile(nodding(1, period=50), (200, 1))
    metric.update({"headpose": nodding(200, period=24), "onset": envelope}, {}, clip_id="nods")
    metric.update({"headpose": still, "onset": envelope}, {}, clip_id="still")
    silence = onset_envelope(np.zeros(200 * 640, np.int16))
    metric.update({"headpose": nodding(200, period=24), "onset": silence}, {}, clip_id="silent")
    metric.update({"headpose": still[:1], "onset": envelope[:1]}, {}, clip_id="one frame")
    score = metric.compute()
    assert score.n_clips == 1 and 0 < score.value <= 1
    assert "undefined for 3 clips" in score.note
    assert [score.per_clip[i] for i in ("still", "silent", "one frame")] == [None, None, None]


def test_options_change_the_number():
    arrays = {"headpose": nodding(200, period=46), "onset": onset_envelope(clicks(12, 200))}
    values = set()
    for setting in ("bas_direction=audio", "bas_direction=motion", "bas_audio=onset", "bas_sigma=6"):
        metric = Bas(protocol("paper-dawn", (setting,)))
        metric.update(arrays, {}, clip_id="a")
        values.add(metric.compute().value)
    assert len(values) == 4


def test_a_talking_head_has_a_score(embedded_clips):
    known = embedded_clips[0]
    features = {"landmarks.truth": known.truth["landmarks"].astype(np.float32)}
    assert landmarks_of(features)[0] == "truth"
    metric = Bas()
    metric.update(HeadPose().run(known.clip, features) | Onset().run(known.clip, {}), {}, clip_id="a")
    assert 0 < metric.compute().value < 1
