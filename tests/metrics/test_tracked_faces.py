"""Faces among others: tracks of two people, sizes of boxes, places in time, the scale at which faces are looked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scoring_keys import Loads, clip

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features import landmarks, syncnet
from dawn_bench.metrics.features.landmarks import Landmarks, landmarks_of
from dawn_bench.metrics.functional.facetrack import FaceTrack, smoothed, tracks
from dawn_bench.metrics.networks import s3fd
from dawn_bench.metrics.protocols.base import PAPER_DAWN_TRACKED
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.person import FOUND, OTHERS, OTHERS_FOUND, TRACKS, Face, Person, which


def test_two_faces_stay_two_tracks_in_whatever_order_they_are_detected() -> None:
    left, right = np.array([10.0, 20, 50, 70]), np.array([90.0, 15, 120, 60])
    detections = [np.stack([left + k, right - k][:: 1 if k % 3 else -1]) for k in range(9)]
    people = tracks(detections, more_than=5, larger_than=0)
    assert [track.frames.tolist() for track in people] == [list(range(9))] * 2
    for track, start, step in zip(people, (right, left), (-1, 1), strict=True):  # frame 0 lists the right one first
        np.testing.assert_array_equal(track.boxes, start + step * np.arange(9)[:, None])


def test_the_mean_size_of_a_track_counts() -> None:
    """Boxes 30 high of widths 40, 40 and 70: 50 on average."""
    boxes = [np.array([[10.0, 10, 10 + width, 40]]) for width in (40, 40, 70)]
    assert [len(tracks(boxes, more_than=1, larger_than=limit)) for limit in (49.9, 50)] == [1, 0]
    wide, high = (np.tile(box, (20, 1)) for box in ([10.0, 20, 90, 50], [10.0, 20, 40, 100]))
    assert {float(half) for box in (wide, high) for half in smoothed(box)[2][6:-6]} == {40.0}


def test_a_track_is_compared_with_the_target_at_its_own_time() -> None:
    """The target is elsewhere before the track begins; while it lasts, more than half of the time must fit."""
    target = np.tile([10.0, 10, 50, 50], (30, 1))
    track = FaceTrack(np.arange(20, 30), target[20:30].copy())
    target[:20] += 200
    assert syncnet._is_at(track, target)
    for away, there in ((4, True), (6, False)):
        moved = target.copy()
        moved[20 : 20 + away] += 200
        assert syncnet._is_at(track, moved) == there


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(128, 256, 1.0), (256, 128, 1.0), (100, 64, 1.0), (512, 400, 0.32), (400, 512, 0.32), (600, 1024, 0.25)],
)
def test_faces_are_looked_for_at_a_short_side_of_128_or_a_quarter(
    height: int, width: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, float]] = []

    def detect(network: Any, frame: np.ndarray, *, scale: float) -> np.ndarray:
        given.append((int(frame[0, 0, 0]), scale))
        return np.array([[1.0, 2, 3, 4 + len(given), 0.9]])

    monkeypatch.setattr(s3fd, "detect", detect)
    feature: Any = SimpleNamespace(detector_weights=object(), detector=object(), device="cpu")
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[1] = 7
    boxes = syncnet.SyncNetFeature._detect(feature, frames)
    assert given == [(0, scale), (7, scale)]
    assert [box.tolist() for box in boxes] == [[[1, 2, 3, 5]], [[1, 2, 3, 6]]]


class Crowd:
    """A back end that sees faces side by side; the first pixel of a frame tells how many."""

    name, networks, takes_gray = "crowd", (), False

    def fingerprint(self) -> str:
        return "crowd-1"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        x = 12.0 + 50 * np.arange(frame[0, 0, 0])
        return np.stack([x, x * 0 + 12, x + 30, x * 0 + 42], 1)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        inside = np.stack(np.meshgrid(np.linspace(0.15, 0.85, 17), np.linspace(0.15, 0.85, 4)), -1).reshape(68, 2)
        points = box[:2] + inside * (box[2:] - box[:2])
        seen = any(np.hypot(*(box[:2] - b[:2])) < 25 for b in self.detect(frame))
        return points if seen else np.full((68, 2), np.nan)


def crowd(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.setattr(landmarks, "pick_backend", Crowd)
    frames = np.zeros((len(counts), 60, 320, 3), np.uint8)
    frames[:, 0, 0] = np.array(counts)[:, None]
    return Landmarks().run(Clip("c", "s", "test", len(counts), {"frames": frames}), {})


def test_landmarks_are_of_six_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparation follows three; whom a true clip is about may be any of them."""
    arrays = crowd([6] * 8, monkeypatch)
    assert arrays[TRACKS].tolist() == [6] and arrays[OTHERS].shape == (5, 8, 68, 2) and arrays[OTHERS_FOUND].all()
    places = [landmarks_of(arrays)[1], *arrays[OTHERS]]
    assert len({round(float(points[..., 0].mean()), -1) for points in places}) == 6


def test_a_face_that_is_missed_for_two_seconds_is_the_same_one_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = crowd([1] * 6 + [0] * 60 + [1] * 6, monkeypatch)
    assert arrays[TRACKS].tolist() == [1] and np.flatnonzero(~arrays[FOUND]).tolist() == list(range(6, 66))


def faces(x: float, side: float, *, n: int = 10) -> Face:
    box = [x - side / 2, 100 - side / 2, x + side / 2, 100 + side / 2]
    return Face(np.tile(np.array(box, np.float32), (n, 1)), np.ones(n, bool))


@pytest.mark.parametrize(("side", "near"), [(8.0, 14.0), (20.0, 14.0), (90.0, 14.0)])
def test_how_near_a_face_is_does_not_depend_on_its_own_size(side: float, near: float) -> None:
    """Three quarters of a side of the true face, 20 px, are 15 px, whatever a method draws."""
    person = Person(faces(100, 20), [faces(300, 20)])
    assert which("c", [faces(100 + near, side)], person) == 0
    with pytest.raises(ItemError, match="no face at the place"):
        which("c", [faces(100 + 16, side)], person)


@pytest.mark.parametrize("of_true", [1, 2])
@pytest.mark.parametrize("of_output", [1, 2])
def test_the_tracked_route_follows_the_person_where_either_clip_shows_two(
    of_true: int, of_output: int, light: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated, true = clip("g", seed=1), clip("t", seed=2)
    points = np.random.default_rng(0).uniform(10, 30, (2, 36, 68, 2)).astype(np.float32)

    def several(self: Extraction, shown: Clip) -> dict[str, np.ndarray]:
        arrays = {"landmarks.fake": points[0], FOUND: np.ones(36, bool)}
        more = {OTHERS: points[1:] + 80, OTHERS_FOUND: np.ones((1, 36), bool)}
        return arrays | (more if (of_true if shown is true else of_output) == 2 else {})

    monkeypatch.setattr(Extraction, "_faces", several)
    targets = []
    metric = METRICS["lse-c"]
    extraction = Extraction([metric], PAPER_DAWN_TRACKED)

    def run(self: Any, shown: Clip, given: Any) -> dict[str, np.ndarray]:
        targets.append(given.get("face.target"))
        return {"syncnet.lip": np.zeros((1, 2)), "syncnet.audio": np.zeros((1, 2))}

    monkeypatch.setattr(syncnet.SyncNetFeature, "run", run)
    extraction.arrays(metric, generated, true)
    assert [target is not None for target in targets] == [max(of_true, of_output) == 2]
