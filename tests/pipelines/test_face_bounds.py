"""Limits of faces to the last unit: gaps, moves, choices, flags. What lies on either side, and the limit itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from media.asymmetric import AsymmetricClip, MarkedFaces, speaker_at
from refusals import passes

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import box_around, extended
from dawn_bench.pipelines.faces.choice import Face, choose, nearest
from dawn_bench.pipelines.faces.gaps import moved, verified_points
from dawn_bench.pipelines.faces.quality import EVERY, FaceLooks, check_face, flags
from dawn_bench.pipelines.faces.speaking import speaking_frames
from dawn_bench.pipelines.faces.tracking import DETECT_EVERY, MAX_TRACKS, CutDetector, Tracker
from dawn_bench.pipelines.settings import PrepareSettings

LIMIT = 3


# --- gaps ------------------------------------------------------------------------------------------------------------


class Visible:
    """Faces by number, each in the frames in which it is `seen`; the level of a picture is its number."""

    name = "visible"

    def __init__(self, *seen: Sequence[bool]) -> None:
        self.seen = seen
        self.shape = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2)) * (30, 40)

    def points(self, face: int, number: int) -> np.ndarray:
        """Points (68,2) that move on by 2 to the right and 1 down."""
        return self.shape + np.array([50 + 2 * number, 60 + number + 200 * face])

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """The boxes of the faces that are seen."""
        number = int(frame[0, 0])
        boxes = [box_around(self.points(face, number)) for face, seen in enumerate(self.seen) if seen[number]]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The points of the face there; NaN where it is not seen."""
        number, face = int(frame[0, 0]), int(box[1] > 150)
        if face >= len(self.seen) or not self.seen[face][number]:
            return np.full((68, 2), np.nan, np.float32)
        return self.points(face, number).astype(np.float32)


def tracked(faces: Visible, count: int, *, max_gap: int = LIMIT) -> Tracker:
    tracker = Tracker(faces, max_gap=max_gap)  # type: ignore[arg-type]
    for number in range(count):
        tracker.step(np.full((300, 200), number, np.uint8))
    return tracker


@pytest.mark.parametrize("gap", [LIMIT - 1, LIMIT, LIMIT + 1])
@pytest.mark.parametrize("first", [0, 7, None], ids=["start", "middle", "end"])
def test_a_gap_as_long_as_the_limit_is_filled_and_no_longer_one(first: int | None, gap: int) -> None:
    count = 20
    begin = count - gap if first is None else first
    seen = [not begin <= number < begin + gap for number in range(count)]
    faces = Visible(seen)

    def result() -> tuple[np.ndarray, np.ndarray]:
        tracker = tracked(faces, count)
        return tracker.result(tracker.choose())

    if gap > LIMIT:
        with pytest.raises(ItemError) as caught:
            result()
        assert caught.value.reason == "no_face"
        return
    points, valid = result()
    assert valid.tolist() == seen
    known = np.flatnonzero(seen)
    for number in range(count):  # on the line between the frames around it, and still at the ends
        there = float(np.clip(number, known[0], known[-1]))
        np.testing.assert_allclose(points[number], faces.shape + np.array([50 + 2 * there, 60 + there]), atol=1e-3)


@pytest.mark.parametrize("seen", [0, 9])
def test_a_clip_is_given_up_in_the_first_frame_past_the_limit(seen: int) -> None:
    """The rest of a long clip is not decoded for nothing."""
    tracker = Tracker(Visible([number < seen for number in range(20)]), max_gap=LIMIT)  # type: ignore[arg-type]
    for number in range(seen + LIMIT):
        tracker.step(np.full((300, 200), number, np.uint8))
    with pytest.raises(ItemError, match="no face"):
        tracker.step(np.full((300, 200), seen + LIMIT, np.uint8))


@pytest.mark.parametrize(("gap", "tracks"), [(LIMIT - 1, 2), (LIMIT, 2), (LIMIT + 1, 3)])
def test_a_face_that_returns_within_the_limit_is_the_same(gap: int, tracks: int) -> None:
    away = [not 6 <= number < 6 + gap for number in range(24)]
    tracker = tracked(Visible([True] * 24, away), 24)
    assert len(tracker.tracks) == tracks
    assert {number for number, _ in tracker.now()} == {0, tracks - 1}


@pytest.mark.parametrize("gap", [LIMIT, LIMIT + 1])
def test_a_gap_of_one_of_two_faces_counts_for_that_face(gap: int) -> None:
    """The other face is there throughout, so that only the result of the track can tell."""
    seen = [number < 20 - gap for number in range(20)]
    tracker = tracked(Visible(seen, [True] * 20), 20)
    assert passes(lambda: tracker.result(tracker.tracks[0])) == (gap <= LIMIT)
    assert tracker.result(tracker.tracks[1])[1].all()


def test_detection_is_due_every_fifth_frame_exactly(asymmetric: AsymmetricClip) -> None:
    faces = MarkedFaces()
    tracker = Tracker(faces, max_gap=5)  # type: ignore[arg-type]
    for frame in asymmetric.pictures[: 6 * DETECT_EVERY + 1]:
        tracker.step(frame)
    assert [number // 2 for number in faces.numbers] == list(range(0, 31, DETECT_EVERY))
    assert [min(track.points) for track in tracker.tracks] == [0, 5]
    for track in tracker.tracks:  # points of each frame, not of the latest detection
        xs = [track.points[k][:, 0].mean() for k in sorted(track.points)]
        ys = [track.points[k][:, 1].mean() for k in sorted(track.points)]
        assert len(set(xs)) + len(set(ys)) > len(xs)


@pytest.mark.parametrize("count", [MAX_TRACKS - 1, MAX_TRACKS, MAX_TRACKS + 1])
def test_only_so_many_faces_are_tracked(count: int) -> None:
    class Row(Visible):
        def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
            return np.array([box_around(self.shape + np.array([50 + 60 * k, 60])) for k in range(count)], np.float32)

        def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
            middle = (box[0] + box[2]) / 2
            return (self.shape + np.array([50 + 60 * round((middle - 50) / 60), 60])).astype(np.float32)

    tracker = tracked(Row([True] * 4), 4)
    assert (tracker.faces_max, len(tracker.tracks)) == (count, min(count, MAX_TRACKS))


@pytest.mark.parametrize(
    ("away", "missed", "same"),
    [(100, 0, True), (101, 0, False), (120, 1, True), (121, 1, False), (160, 3, True), (161, 3, False)],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_how_far_a_face_may_move(axis: int, away: int, missed: int, same: bool) -> None:
    box = np.array([300, 300, 400, 400], np.float32)
    step = np.array([away, 0, away, 0] if axis == 0 else [0, away, 0, away], np.float32)
    assert (moved(box, [box + step], missed=missed) == 0) == same
    assert (moved(box, [box - step], missed=missed) == 0) == same


@pytest.mark.parametrize(("side", "same"), [(64, False), (65, True), (155, True), (156, False)])
def test_how_much_larger_or_smaller_a_face_may_be(side: int, same: bool) -> None:
    box = np.array([300, 300, 400, 400], np.float32)
    half = side / 2
    assert (moved(box, [np.array([350 - half, 350 - half, 350 + half, 350 + half])], missed=0) == 0) == same


@pytest.mark.parametrize(("inside", "good"), [(0, True), (1, False)])
@pytest.mark.parametrize("edge", ["left", "top", "right", "bottom"])
def test_mouth_and_nose_must_be_in_the_picture(edge: str, inside: int, good: bool) -> None:
    """Of a box with a side of 100, the pixels from 35 to 65 across and 50 to 85 down."""
    shape = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2)) * (36, 36)
    shape[48:, 1] = np.abs(shape[48:, 1])  # the mouth is in the lower half
    corner = {"left": (-35, 100), "top": (100, -50), "right": (400 - 65, 100), "bottom": (100, 300 - 85)}[edge]
    step = {"left": (-1, 0), "top": (0, -1), "right": (1, 0), "bottom": (0, 1)}[edge]
    x, y = np.array(corner) + inside * np.array(step)
    box = np.array([x, y, x + 100, y + 100], np.float32)

    class Fixed:
        def landmarks(self, frame: np.ndarray, where: np.ndarray) -> np.ndarray:
            points = shape - shape.mean(axis=0)
            return points * 100 / (2.79 * np.sqrt((points**2).sum(axis=1).mean())) + (x + 50, y + 50 + 4)

    picture_of = np.zeros((300, 400), np.uint8)
    assert (verified_points(Fixed(), picture_of, box, thumbnail=None) is not None) == good  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "cut"), [(20, False), (21, True)])
def test_a_cut_is_a_difference_above_the_threshold(step: int, cut: bool) -> None:
    is_cut = CutDetector()
    assert not is_cut(np.full((64, 96), 100, np.uint8))
    assert is_cut(np.full((64, 96), 100 + step, np.uint8)) == cut


@pytest.mark.parametrize(
    ("first", "stop"),
    [((-3, 2), (5, 9)), ((4, -2), (8, 5)), ((6, 3), (16, 8)), ((2, 5), (7, 14)), ((-4, -2), (15, 12))],
)
def test_a_part_beyond_a_picture_repeats_the_nearest_pixels(first: tuple[int, int], stop: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    (x0, y0), (x1, y1) = first, stop
    wide = np.pad(frame, ((10, 10), (10, 10), (0, 0)), mode="edge")
    expected = wide[10 + y0 : 10 + y1, 10 + x0 : 10 + x1]
    np.testing.assert_array_equal(extended(frame, np.array(first), np.array(stop)), expected)


# --- which face ------------------------------------------------------------------------------------------------------


def face(x: float, *, frames: int = 100, size: float = 50, speaking: int = 0) -> Face:
    return Face(np.array([x, 0, x + size, size]), frames, speaking)


@pytest.mark.parametrize(
    ("other", "choice", "chosen"),
    [
        (face(0, frames=25), "left", 1),  # a quarter of the longest
        (face(0, frames=24), "left", 0),
        (face(300, frames=25), "right", 1),
        (face(300, frames=24), "right", 0),
        (face(0, frames=90, speaking=30), "speaking", 1),  # nine tenths of the longest
        (face(0, frames=89, speaking=30), "speaking", 0),
        (face(0, speaking=20), "speaking", 1),  # a tenth of the clip more than 10 to 19
        (face(0, speaking=19), "speaking", 0),
        (face(0, size=51), "largest", 1),
        (face(0, size=50), "largest", 0),
    ],
)
def test_who_is_chosen(other: Face, choice: str, chosen: int) -> None:
    assert choose([face(90, speaking=10), other], choice) == chosen


@pytest.mark.parametrize(("away", "near"), [(75, True), (76, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_face_is_at_a_place_up_to_three_quarters_of_its_side(axis: int, away: int, near: bool) -> None:
    target = np.array([100, 200, 200, 300.0])
    step = np.array([away, 0] * 2 if axis == 0 else [0, away] * 2)
    assert (nearest((target + step)[None], target) == 0) == near


@pytest.mark.parametrize(("frames", "speaking"), [(10, 0), (11, 1), (13, 3)])
def test_speech_is_seen_from_eleven_frames_on(frames: int, speaking: int) -> None:
    points = np.zeros((frames, 68, 2))
    points[:, 8, 1] = 100
    points[:, [61, 67], 0], points[:, [63, 65], 0] = 0, 20
    points[:, [62, 66], 0] = 10
    points[::2, [67, 66, 65], 1] = 3  # straight below 61, 62 and 63: crosswise, the gap would hardly change
    assert speaking_frames(points) == speaking


@pytest.mark.parametrize(("frames", "looks"), [(EVERY, 1), (EVERY + 1, 2), (2 * EVERY, 2), (2 * EVERY + 1, 3)])
def test_faces_are_looked_at_in_every_twelfth_frame(frames: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("dawn_bench.pipelines.faces.quality.sharpness", lambda patch: seen.append(1) or 0.5)
    looking, points = FaceLooks(), np.random.default_rng(0).uniform(20, 60, (68, 2))
    for number in range(frames):
        looking.step(number, np.zeros((80, 80), np.uint8), [(0, points)])
    assert len(seen) == looks


def test_the_facts_of_a_face_are_those_of_the_frames_that_are_looked_at() -> None:
    points = np.tile(speaker_at(0), (2 * EVERY + 1, 1, 1))
    points[::EVERY, :, 1] = (points[::EVERY, :, 1] - 60) * 1.5 + 60
    height = FaceLooks().facts(0, points, width=400, height=300)["face_height"]
    assert height == pytest.approx(1.5 * np.ptp(speaker_at(0)[:, 1]))


@pytest.mark.parametrize("blurred", [0, 1])
def test_looks_are_those_of_the_face_that_is_asked_for(blurred: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 400), dtype=np.uint8)
    frame[:, 200 * blurred : 200 * blurred + 200] = 90
    faces = [(face, speaker_at(0) + np.array([-18 + 200 * face, 30])) for face in (0, 1)]
    looking = FaceLooks()
    looking.step(0, frame, faces)
    sharp = [looking.facts(face, points[None], width=400, height=200)["sharpness"] for face, points in faces]
    assert sharp[blurred] < 0.01 < sharp[1 - blurred]


GOOD = {"mouth_covered": 0.0, "yaw": 0.0, "face_height": 99.0, "face_in_frame": 1.0, "sharpness": 0.5}


@pytest.mark.parametrize(
    ("name", "limit", "worse", "flag"),
    [
        ("mouth_covered", 0.25, 1, "mouth covered"),
        ("yaw", 30.0, 1, "profile"),
        ("face_height", 40.0, -1, "tiny face"),
        ("face_in_frame", 0.95, -1, "cut face"),
        ("sharpness", 0.01, -1, "blurred"),
    ],
)
def test_a_face_is_flagged_past_the_limit(name: str, limit: float, worse: int, flag: str) -> None:
    assert flags(GOOD | {name: limit}) == ""
    assert flags(GOOD | {name: float(np.nextafter(limit, worse * np.inf))}) == flag
    assert flags(GOOD | {name: float(np.nextafter(limit, -worse * np.inf))}) == ""


@pytest.mark.parametrize(
    ("name", "setting", "limit", "worse", "reason"),
    [
        ("mouth_covered", "max_mouth_covered", 0.8, 1, "mouth_covered"),
        ("yaw", "max_yaw", 45.0, 1, "profile"),
        ("face_height", "min_face_height", 20.0, -1, "tiny_face"),
        ("face_in_frame", "min_face_in_frame", 0.6, -1, "cut_face"),
        ("sharpness", "min_sharpness", 0.0, -1, "blurred"),
    ],
)
def test_a_face_is_refused_past_the_usual_limit(name: str, setting: str, limit: float, worse: int, reason: str) -> None:
    assert PrepareSettings.model_fields[setting].default == limit
    check_face(GOOD | {name: limit}, PrepareSettings())
    with pytest.raises(ItemError) as caught:
        check_face(GOOD | {name: float(np.nextafter(limit, worse * np.inf))}, PrepareSettings())
    assert caught.value.reason == reason
