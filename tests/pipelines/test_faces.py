"""Face back ends and tracking, on the embedded dataset's source photograph and on scripted faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, FaceBackend, box_around, pick_backend
from dawn_bench.pipelines.faces.tracking import Tracker


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """An image with one face, about 90 px wide, around (225, 125)."""
    return astronaut()


@pytest.fixture(scope="module")
def backend() -> FaceBackend:
    return pick_backend("dlib")


def test_dlib_detects_the_face_and_its_landmarks(backend: FaceBackend, portrait: np.ndarray) -> None:
    boxes = backend.detect(portrait)
    assert boxes.shape == (1, 4)
    points = backend.landmarks(portrait, boxes[0])
    assert points.shape == (68, 2) and points.dtype == np.float32
    np.testing.assert_allclose(points[30], (225, 127), atol=4)  # tip of the nose
    np.testing.assert_allclose(points[36:42].mean(axis=0), (203, 102), atol=4)  # her right eye
    np.testing.assert_allclose(points[8], (221, 178), atol=6)  # chin
    overlap = box_around(points)
    assert np.abs(overlap - boxes[0]).max() < 0.2 * (boxes[0][2] - boxes[0][0])


@pytest.mark.parametrize("size", [64, 128, 1400])
def test_dlib_works_on_small_generated_frames_and_large_ones(
    backend: FaceBackend, portrait: np.ndarray, size: int
) -> None:
    face = cv2.resize(portrait[40:220, 135:315], (size, size), interpolation=cv2.INTER_AREA)
    boxes = backend.detect(face)
    assert len(boxes) == 1
    points = backend.landmarks(face, boxes[0])
    np.testing.assert_allclose(points[30] / size, ((225 - 135) / 180, (127 - 40) / 180), atol=0.03)


def test_dlib_detects_small_faces_in_large_images(backend: FaceBackend, portrait: np.ndarray) -> None:
    wide = np.zeros((720, 1280, 3), np.uint8)
    wide[100:612, 200:712] = portrait
    middles = [(box[:2] + box[2:]) / 2 for box in backend.detect(wide)]
    assert min(np.abs(middle - (425, 225)).max() for middle in middles) < 10


def test_landmarks_do_not_depend_on_earlier_frames(backend: FaceBackend, portrait: np.ndarray) -> None:
    before = backend.detect(portrait)
    backend.detect(np.zeros((1000, 300, 3), np.uint8))
    assert np.array_equal(backend.detect(portrait), before)
    assert backend.fingerprint() == type(backend)().fingerprint()


def test_gray_frames_give_the_same_result(backend: FaceBackend, portrait: np.ndarray) -> None:
    gray = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    box = backend.detect(portrait)[0]
    assert np.abs(backend.detect(gray)[0] - box).max() <= 2
    np.testing.assert_allclose(backend.landmarks(gray, box), backend.landmarks(portrait, box), atol=1)


@pytest.mark.parametrize("scale", [0.7, 1.0, 3.0])
def test_dlib_local_search_near_a_known_face(backend: FaceBackend, portrait: np.ndarray, scale: float) -> None:
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    box = box_around(backend.landmarks(picture, backend.detect(picture)[0]))
    side = box[2] - box[0]
    (again,) = backend.detect_near(picture, box + 0.1 * side)
    assert np.abs(again - box).max() < 0.25 * side
    assert not len(backend.detect_near(picture, box + 2 * side))
    assert not len(backend.detect_near(picture, box + 9000))
    assert not len(backend.detect_near(np.full_like(picture, 90), box))


def test_landmarks_of_a_face_cut_by_the_border(backend: FaceBackend, portrait: np.ndarray) -> None:
    points = backend.landmarks(portrait, backend.detect(portrait)[0])
    corner = 180, 60  # through her right temple and brow
    part = np.ascontiguousarray(portrait[corner[1] :, corner[0] :])
    seen = backend.landmarks(part, box_around(points - corner))
    assert np.abs(seen[27:36] + corner - points[27:36]).max() < 8


def test_auto_picks_a_usable_back_end_and_others_name_what_is_missing() -> None:
    for name in FACE_BACKENDS:
        lacking = FACE_BACKENDS[name].missing()
        if lacking:
            with pytest.raises(InputError, match="cannot run") as caught:
                pick_backend(name)
            assert lacking in str(caught.value) and "\n" not in str(caught.value)
    expected = "dlib" if FACE_BACKENDS["face-alignment"].missing() else "face-alignment"
    assert pick_backend("auto").name == expected


class Scripted:
    """Faces whose positions are encoded in the frame: pixel (0, i) holds x, y and side of face i, in units of 4."""

    name = "scripted"

    @staticmethod
    def missing() -> str | None:
        return None

    def __init__(self) -> None:
        self.detections = 0
        rng = np.random.default_rng(0)
        self.shape = rng.uniform(-0.5, 0.5, (68, 2))

    def fingerprint(self) -> str:
        return "scripted"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        self.detections += 1
        faces = [self.points(row) for row in frame[0].astype(float) * 4 if row[2]]
        boxes = [box_around(points) for points in faces]
        return np.array(sorted(boxes, key=lambda b: b[0] - b[2]), np.float32).reshape(-1, 4)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        centre = (box[:2] + box[2:]) / 2
        faces = [self.points(row) for row in frame[0].astype(float) * 4 if row[2]]
        if not faces:
            return np.full((68, 2), np.nan, np.float32)
        return min(faces, key=lambda p: float(np.abs(p.mean(axis=0) - centre).sum())).astype(np.float32)

    def points(self, row: np.ndarray) -> np.ndarray:
        return self.shape * row[2] + row[:2]


def frame_of(*faces: tuple[int, int, int], gray: int = 0) -> np.ndarray:
    frame = np.full((256, 256, 3), gray, np.uint8)
    frame[0] = 0
    for i, face in enumerate(faces):
        frame[0, i] = face
    return frame


def track(frames: list[np.ndarray], *, max_gap: int = 5) -> tuple[Tracker, np.ndarray, np.ndarray, Scripted]:
    backend = Scripted()
    tracker = Tracker(backend, max_gap=max_gap)
    for frame in frames:
        tracker.step(frame)
    points, valid = tracker.result(tracker.choose())
    return tracker, points, valid, backend


def test_detection_runs_every_fifth_frame() -> None:
    tracker, points, valid, backend = track([frame_of((20 + k // 2, 25, 12)) for k in range(40)])
    assert backend.detections == 8
    assert points.shape == (40, 68, 2) and points.dtype == np.float32 and valid.all()
    assert tracker.faces_max == 1 and len(tracker.tracks) == 1 and not tracker.cuts
    middle = points.mean(axis=1)
    np.testing.assert_allclose(np.diff(middle[:, 0]), [4 * ((k + 1) // 2 - k // 2) for k in range(39)], atol=1e-3)


class Quick(Scripted):
    """The same with local search, which detects only faces near the given box."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        self.looks += 1
        boxes = [box_around(self.points(row)) for row in frame[0].astype(float) * 4 if row[2]]
        return np.array([b for b in boxes if np.abs(b - box).max() < 20], np.float32).reshape(-1, 4)


def test_local_search_replaces_most_full_searches() -> None:
    backend = Quick()
    tracker = Tracker(backend, max_gap=5)
    for k in range(100):
        tracker.step(frame_of((20 + k // 4, 25, 12), *([(52, 50, 8)] if k > 30 else [])))
    points, valid = tracker.result(tracker.choose())
    assert backend.detections == 4 and backend.looks == 16 + 8  # the second face came to notice at frame 50
    assert valid.all() and len(tracker.tracks) == 2 and tracker.faces_max == 2
    assert abs(points[-1].mean(axis=0)[0] - 4 * (20 + 99 // 4)) < 4


def test_a_missed_local_search_triggers_a_full_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "detect_near", lambda self, frame, box: np.zeros((0, 4), np.float32))
    backend = Quick()
    tracker = Tracker(backend, max_gap=5)
    for _ in range(40):
        tracker.step(frame_of((20, 25, 12)))
    _, valid = tracker.result(tracker.choose())
    assert backend.detections == 8 and len(tracker.tracks) == 1 and valid.all()


def test_short_gaps_are_interpolated_and_marked_invalid() -> None:
    frames = [frame_of((20, 25, 12)) for _ in range(10)] + [frame_of() for _ in range(4)]
    frames += [frame_of((25, 25, 12)) for _ in range(10)]
    _, points, valid, _ = track(frames)
    assert list(np.flatnonzero(~valid)) == [10, 11, 12, 13]
    np.testing.assert_allclose(np.diff(points[9:15].mean(axis=1)[:, 0]), 4.0, atol=1e-3)


def test_long_gaps_reject_the_clip() -> None:
    frames = [frame_of((20, 25, 12)) for _ in range(10)] + [frame_of() for _ in range(6)]
    with pytest.raises(ItemError) as caught:
        track(frames)
    assert caught.value.reason == "no_face" and "%" in caught.value.detail
    with pytest.raises(ItemError, match="no_face"):
        track([frame_of() for _ in range(3)])
    assert track(frames, max_gap=6)[2].sum() == 10


def test_of_two_faces_the_longer_track_is_kept() -> None:
    short, long = (45, 20, 16), (15, 30, 10)
    frames = [frame_of(long, short) for _ in range(12)] + [frame_of(long) for _ in range(20)]
    tracker, points, valid, _ = track(frames)
    assert tracker.faces_max == 2 and len(tracker.tracks) == 2 and valid.all()
    assert np.abs(points.mean(axis=1) - (60, 120)).max() < 12


def test_on_a_tie_the_larger_face_is_kept() -> None:
    _, points, _, _ = track([frame_of((45, 20, 16), (15, 30, 10)) for _ in range(12)])
    assert points[:, :, 0].mean() > 150


def test_cuts_are_detected_and_the_face_is_reacquired() -> None:
    frames = [frame_of((15, 30, 10)) for _ in range(13)] + [frame_of((45, 20, 12), gray=90) for _ in range(13)]
    tracker, points, valid, _ = track(frames)
    assert tracker.cuts == [13] and valid.all()
    assert points[12, :, 0].mean() < 80 < points[13, :, 0].mean()


@pytest.mark.parametrize("first", [0, 1])
def test_after_a_cut_the_largest_face_continues_the_longest_track(first: int) -> None:
    """The longest track began first, or was found beside a face that had begun before it and was lost in between."""
    long, short = (15, 30, 10), (45, 20, 8)
    alone = [frame_of(long) for _ in range(10)] if first == 0 else [frame_of(short)]
    lost = [] if first == 0 else [frame_of(long) for _ in range(10)]
    both = [frame_of(long, short) for _ in range(10)]
    cut = [frame_of((30, 50, 7), (30, 10, 12), gray=90) for _ in range(6)]
    frames = alone + lost + both + cut
    tracker, *_ = track(frames, max_gap=12)
    assert tracker.cuts == [len(frames) - 6]
    lengths = [len(face.points) for face in tracker.tracks]
    kept, other = tracker.tracks[int(np.argmax(lengths))], tracker.tracks[int(np.argmin(lengths))]
    assert len(tracker.tracks) == 2 and len(kept.points) > len(other.points)
    assert np.abs(kept.points[len(frames) - 1].mean(axis=0) - (120, 40)).max() < 6
    assert np.abs(other.points[len(frames) - 1].mean(axis=0) - (120, 200)).max() < 6


def test_a_face_that_comes_late_in_a_new_shot_is_still_that_of_the_last_one() -> None:
    """The first frames after the cut show nobody."""
    frames = [frame_of((15, 30, 10)) for _ in range(10)] + [frame_of(gray=90) for _ in range(2)]
    frames += [frame_of((45, 20, 12), gray=90) for _ in range(9)]
    tracker, points, valid, _ = track(frames)
    assert tracker.cuts == [10] and len(tracker.tracks) == 1
    assert np.flatnonzero(~valid).tolist() == [10, 11]
    assert np.abs(points[12:].mean(axis=1) - (180, 80)).max() < 12


def test_a_face_that_is_away_does_not_take_the_points_of_another() -> None:
    """The landmarks of a back end are on some face, and between two detections nothing else tells."""
    away, other = (15, 30, 10), (45, 20, 12)
    frames = [frame_of(other) if 12 <= k < 16 else frame_of(away, other) for k in range(24)]
    tracker, *_ = track(frames)
    assert len(tracker.tracks) == 2
    for one in tracker.tracks:
        middles = np.stack([points.mean(axis=0) for points in one.points.values()])
        assert np.ptp(middles, axis=0).max() < 1
    assert sorted(len(one.points) for one in tracker.tracks) == [20, 24]


class Drifting:
    """One face of 100 px that stays; its landmarks lie 4 px to the right of the middle of the box that is given."""

    name = "drifting"

    def __init__(self) -> None:
        shape = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2))
        around = box_around(shape)
        self.shape = (shape - (around[:2] + around[2:]) / 2) * 100 / (around[2] - around[0])

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        return np.array([[150, 100, 250, 200]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return (self.shape + (box[:2] + box[2:]) / 2 + (4, 0)).astype(np.float32)


def test_landmarks_that_have_drifted_are_placed_anew_and_others_are_kept() -> None:
    """In the detector's box where that has less than half in common with them, and in the five frames after that; a
    detector's box is coarse, so that the points in it are refined by a second pass."""
    tracker = Tracker(Drifting(), max_gap=5)  # type: ignore[arg-type]
    for _ in range(17):
        tracker.step(np.full((300, 400), 90, np.uint8))
    (one,) = tracker.tracks
    drifts = [round(float((box_around(one.points[k])[[0, 2]].mean()) - 200)) for k in range(17)]
    assert drifts == [*range(8, 45, 4), 8, 8, 8, 8, 8, 4, 8]


def test_after_a_cut_points_are_refined_in_the_detectors_box() -> None:
    tracker = Tracker(Drifting(), max_gap=5)  # type: ignore[arg-type]
    for number in range(5):
        tracker.step(np.full((300, 400), 30 if number < 3 else 90, np.uint8))
    (one,) = tracker.tracks
    assert [round(float(box_around(one.points[k])[[0, 2]].mean() - 200)) for k in range(5)] == [8, 12, 16, 8, 12]


@pytest.mark.real
def test_yunet_replaces_hog_where_present(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portrait: np.ndarray, backend: FaceBackend
) -> None:
    (tmp_path / "yunet_n_dynamic.onnx").write_bytes((shared / "data/nets/yunet_n_dynamic.onnx").read_bytes())
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    with_network = pick_backend("dlib")
    assert with_network.fingerprint() != backend.fingerprint()
    box, hog = with_network.detect(portrait)[0], backend.detect(portrait)[0]
    assert np.abs(box - hog).max() < 0.25 * (hog[2] - hog[0])
    assert not len(with_network.detect(np.full((300, 400, 3), 90, np.uint8)))
