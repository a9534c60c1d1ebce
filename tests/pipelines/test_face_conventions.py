"""Conventions of faces where nothing is symmetric: sides, sizes, places, colours, orders, and what the tracker asks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from media.asymmetric import DRAWN, AsymmetricClip, MarkedFaces, speaker_at, turns_once

from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces import gaps, quality
from dawn_bench.pipelines.faces.backends.dlib import DlibBackend
from dawn_bench.pipelines.faces.backends.mediapipe import MediaPipeBackend
from dawn_bench.pipelines.faces.base import box_around, pick_backend
from dawn_bench.pipelines.faces.choice import MOST_FACES, Face, choose, nearest
from dawn_bench.pipelines.faces.gaps import thumbnail_of, verified_points
from dawn_bench.pipelines.faces.tracking import DETECT_EVERY, MAX_TRACKS, Tracker
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings


@pytest.fixture
def backend() -> DlibBackend:
    """dlib's back end, whose detectors a test replaces."""
    chosen = pick_backend("dlib")
    assert isinstance(chosen, DlibBackend)
    return chosen


def picture_of(*patches: tuple[int, int, int, int, Any], ground: int = 60) -> np.ndarray:
    """A picture (240,400,3) with patches x0, y0, x1, y1 of a colour."""
    picture = np.full((240, 400, 3), ground, np.uint8)
    for x0, y0, x1, y1, colour in patches:
        picture[y0:y1, x0:x1] = colour
    return picture


# --- dlib's detectors ------------------------------------------------------------------------------------------------


class BluePatches:
    """In place of YuNet: the blue patches of a picture in BGR, the smallest first, none in the smallest picture."""

    def setInputSize(self, size: tuple[int, int]) -> None:
        """Width and height of the next picture."""
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        """x, y, width and height of each."""
        assert (image.shape[1], image.shape[0]) == self.size
        blue = (image[..., 0] > 160) & (image[..., 2] < 90)
        count, _, facts, _ = cv2.connectedComponentsWithStats(blue.astype(np.uint8))
        rows = sorted((facts[k, :4].tolist() for k in range(1, count)), key=lambda row: row[2] * row[3])
        return 1, np.array(rows, np.float32) if rows and max(self.size) > 160 else None


BLUE, RED = (0, 0, 255), (255, 0, 0)


def test_yunets_boxes_are_those_of_the_tracker(backend: DlibBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given BGR; a little smaller and lower than what it detects, largest first, in pixels of the whole picture."""
    monkeypatch.setattr(backend, "_yunet", BluePatches())
    picture = picture_of((200, 70, 260, 160, BLUE), (40, 180, 60, 210, BLUE), (300, 20, 380, 120, RED))
    half = 0.46 * np.sqrt(60 * 90)
    x, y = 230, 115 + 0.137 * half
    expected = np.array([x - half, y - half, x + half, y + half])
    boxes = backend.detect(picture)
    assert boxes.shape == (2, 4) and boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[0], expected, atol=2)
    assert abs(boxes[1].reshape(2, 2).mean(axis=0)[0] - 50) < 2
    (near,) = backend.detect_near(picture, expected + np.array([4, -3, 4, -3]))
    np.testing.assert_allclose(near, expected, atol=2)
    assert not len(backend.search(picture)) and not len(backend.search(picture, near=expected))


class Blobs:
    """In place of HOG: the bright blobs of a picture, the smallest first; the darkest is the best. `seen`: widths."""

    def __init__(self, *, padded: bool = False) -> None:
        self.padded, self.seen = padded, list[int]()

    def __call__(self, gray: np.ndarray) -> Sequence[Any]:
        """The blobs; with `padded` only in a picture with a black border."""
        self.seen.append(gray.shape[1])
        return self.run(gray, 0, 0)[0] if not self.padded or gray[0, 0] < 5 else []

    def run(self, gray: np.ndarray, _: int, threshold: float) -> tuple[list[Any], list[float], list[int]]:
        """The blobs, their scores, and nothing."""
        import dlib

        count, labels, facts, _middles = cv2.connectedComponentsWithStats((gray > 110).astype(np.uint8))
        order = sorted(range(1, count), key=lambda k: facts[k, cv2.CC_STAT_AREA])
        boxes = [dlib.rectangle(x, y, x + w - 1, y + h - 1) for x, y, w, h in (facts[k, :4].tolist() for k in order)]
        return boxes, [-float(gray[labels == k].mean()) for k in order], [0] * len(order)


LARGE, SMALL = (40, 50, 120, 130), (250, 60, 310, 120)


@pytest.fixture
def blobs() -> np.ndarray:
    return picture_of((*LARGE, 170), (*SMALL, 250))


@pytest.mark.parametrize("padded", [False, True])
def test_hogs_boxes_are_in_the_picture_largest_first(
    padded: bool, backend: DlibBackend, blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are seen only once the picture has a border."""
    monkeypatch.setattr(backend, "_hog", Blobs(padded=padded))
    np.testing.assert_allclose(backend.detect(blobs), [LARGE, SMALL], atol=3)


def test_the_second_search_has_the_best_first_in_the_picture(
    backend: DlibBackend, blobs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_hog", Blobs())
    near = np.array([100, 30, 300, 230], np.float32)
    np.testing.assert_allclose(backend.search(blobs, near=near), [LARGE, SMALL], atol=4)


@pytest.mark.parametrize(("expect", "widths"), [(None, [320, 640]), (100, [320, 640]), (52, [640, 320])])
def test_the_search_begins_at_the_scale_of_the_face_that_is_expected(
    expect: float | None, widths: list[int], backend: DlibBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    hog = Blobs()
    monkeypatch.setattr(backend, "_hog", hog)
    assert not len(backend.detect(picture_of(), expect=expect))
    assert hog.seen == [*widths, 320]  # the last with a border


@pytest.mark.parametrize(("x", "y"), [(100, 70), (57, 200)])
def test_landmarks_are_placed_to_a_fraction_of_a_pixel(
    x: int, y: int, backend: DlibBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dlib's points are pixels of a patch four times as fine as the picture: their middles are those of its pixels."""

    class Corners:
        def __call__(self, patch: np.ndarray, box: Any) -> Any:
            assert patch.shape == (560, 560)
            corners = [(box.left(), box.top()), (box.right(), box.bottom()), (box.left() + 40, box.top() + 8)]
            return SimpleNamespace(parts=lambda: [SimpleNamespace(x=a, y=b) for a, b in corners * 23][:68])

    monkeypatch.setattr(backend, "_points", Corners())
    points = backend.landmarks(picture_of(), np.array([x, y, x + 100, y + 100], np.float32))
    inner = np.array([[x, y], [x + 99.75, y + 99.75], [x + 10, y + 2]]) + 0.125 - 0.5
    np.testing.assert_allclose(points[:3], inner, atol=1e-4)


# --- MediaPipe -------------------------------------------------------------------------------------------------------


class Meshes:
    """In place of the landmarker, for pictures whose pixels hold their own x and y: faces whose vertex v lies at
    v / 20 pixels right of and v / 40 above a place. With `whole` they are seen in the whole picture alone.
    """

    def __init__(self, *places: tuple[int, int], whole: bool = False) -> None:
        self.places, self.whole = places, whole

    def detect(self, image: Any) -> Any:
        """The faces, in shares of the picture that is given."""
        (x0, y0), (height, width) = image.data[0, 0, :2].astype(int), image.data.shape[:2]
        faces = [
            [SimpleNamespace(x=(x + v / 20 - x0 + 0.5) / width, y=(y - v / 40 - y0 + 0.5) / height) for v in range(478)]
            for x, y in self.places
            if not self.whole or (height, width) == (120, 250)
        ]
        return SimpleNamespace(face_landmarks=faces)


#: Vertices of MediaPipe's mesh by iBUG point: jaw, brows, nose, and both eyes and lips from corner to corner.
KNOWN = {
    0: 127, 8: 152, 16: 356, 17: 70, 26: 300, 27: 168, 30: 4, 33: 2, 36: 33, 37: 160, 38: 158, 39: 133, 40: 153,
    41: 144, 42: 362, 43: 385, 44: 387, 45: 263, 46: 373, 47: 380, 48: 61, 51: 0, 54: 291, 57: 17, 60: 78, 61: 82,
    62: 13, 63: 312, 64: 308, 65: 317, 66: 14, 67: 87,
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
def test_mediapipes_vertices_are_the_68_points_at_their_place(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the face that is nearest to the box; also of one that is seen in the whole picture alone."""
    y, x = np.mgrid[:120, :250]
    picture = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    package = SimpleNamespace(
        Image=lambda image_format, data: SimpleNamespace(data=data), ImageFormat=SimpleNamespace(SRGB=1)
    )
    monkeypatch.setitem(sys.modules, "mediapipe", package)
    backend = MediaPipeBackend.__new__(MediaPipeBackend)
    backend._landmarker = Meshes((130, 70), (95, 60), whole=whole)
    points = backend.landmarks(picture, np.array([90, 30, 140, 80], np.float32))
    vertices = np.array(list(KNOWN.values()))
    expected = np.stack([95 + vertices / 20, 60 - vertices / 40], axis=1)
    np.testing.assert_allclose(points[list(KNOWN)], expected, atol=1e-3)


# --- which face ------------------------------------------------------------------------------------------------------


def test_faces_of_unequal_size_are_ordered_by_their_middles() -> None:
    faces = [Face(np.array([0.0, 0, 100, 100])), Face(np.array([20.0, 0, 40, 20]))]
    assert [choose(faces, choice) for choice in ("left", "1", "2", "right")] == [1, 1, 0, 0]


@pytest.mark.parametrize(("side", "target", "away", "near"), [(40, 100, 70, True), (100, 40, 31, False)])
def test_the_place_of_a_face_is_measured_in_its_own_sides(side: int, target: int, away: int, near: bool) -> None:
    def square(middle: float, side: float) -> np.ndarray:
        return np.array([middle - side / 2, 200 - side / 2, middle + side / 2, 200 + side / 2])

    assert (nearest(square(300 + away, side)[None], square(300, target)) == 0) == near


# --- faces that were missed ------------------------------------------------------------------------------------------


class TwoPasses:
    """A back end whose first pass of landmarks lies `off` pixels to the right of the second."""

    def __init__(self, points: np.ndarray, off: float) -> None:
        self.passes = iter([points + np.array([off, 0]), points])

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The points of the next pass."""
        return next(self.passes)


#: Points around which `box_around` is the box from 150, 100 with a side of 100.
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2))
POINTS -= POINTS.mean(axis=0)
POINTS *= 100 / 2.79 / np.sqrt((POINTS**2).sum(axis=1).mean())
POINTS += (200, 150 + 0.136 * 100 / 2.79)
BOX = np.array([150, 100, 250, 200], np.float32)


@pytest.mark.parametrize(
    ("off", "shift", "likeness", "good"),
    [
        (7.9, 0, 1.0, True),
        (8.1, 0, 1.0, False),  # two passes more than 0.08 sides apart
        (-8.1, 0, 1.0, False),
        (0, 33, 1.0, True),
        (0, 34, 1.0, False),  # less than half of box and points in common
        (7, 33, 1.0, True),  # of the second pass
        (-7, 34, 1.0, False),
        (0, 0, 0.4, True),
        (0, 0, 0.39, False),
    ],
)
def test_verified_points_are_those_of_the_second_pass(
    off: float, shift: float, likeness: float, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    known, points = thumbnail_of(frame, BOX), POINTS + np.array([shift, 0])

    def like(seen: np.ndarray, thumbnail: np.ndarray) -> float:
        np.testing.assert_array_equal(seen, thumbnail_of(frame, box_around(points)))
        assert thumbnail is known
        return likeness

    monkeypatch.setattr(gaps, "likeness", like)
    verified = verified_points(TwoPasses(points, off), frame, BOX, thumbnail=known)  # type: ignore[arg-type]
    assert (verified is not None) == good
    if verified is not None:
        np.testing.assert_array_equal(verified, points)


# --- quality ---------------------------------------------------------------------------------------------------------


class Upright:
    """Detects a face where the mark of an upright picture of 40x60 is at its upper left."""

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """A box where it is."""
        there = frame.shape[:2] == (40, 60) and frame[:4, :8].min() == 255
        return np.array([[10, 10, 30, 30]] if there else np.zeros((0, 4)), np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Some points."""
        return speaker_at(0)


@pytest.mark.parametrize("visible", ["both", "mouth", "eyes"])
@pytest.mark.parametrize(
    ("rotation", "angle"),
    [(None, None), (cv2.ROTATE_180, 180), (cv2.ROTATE_90_CLOCKWISE, 90), (cv2.ROTATE_90_COUNTERCLOCKWISE, 270)],
)
def test_a_turned_picture_is_told_by_how_far_clockwise(
    rotation: int | None, angle: int | None, visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a face of the back end with eyes and mouth, where HOG cannot tell."""
    monkeypatch.setattr(quality, "turns_to_upright", lambda frame: 0)
    monkeypatch.setattr(quality, "mouth_visible", lambda patch: visible != "eyes")
    monkeypatch.setattr(quality, "eyes_visible", lambda patch: visible != "mouth")
    picture = np.full((40, 60), 90, np.uint8)
    picture[:4, :8] = 255
    shown = picture if rotation is None else cv2.rotate(picture, rotation)
    assert quality.turned(shown, Upright()) == (angle if visible == "both" else None)  # type: ignore[arg-type]


def test_a_face_at_the_right_of_a_wide_picture_is_not_cut() -> None:
    points = speaker_at(0) + np.array([180, 0])
    wide, low = np.full((140, 400, 3), 90, np.uint8), np.full((400, 140, 3), 90, np.uint8)
    assert "cut face" not in quality.picture_flags(wide, points)
    assert "cut face" in quality.picture_flags(low, points)


# --- the tracker -----------------------------------------------------------------------------------------------------


class Sized:
    """Two faces of these sides beside each other; `asked` is the side that each detection is told to expect."""

    name = "sized"

    def __init__(self, *sides: int) -> None:
        self.sides, self.asked = sides, list[float | None]()

    def points(self, face: int) -> np.ndarray:
        """The points of a face, whose box has its side."""
        return (POINTS - POINTS.mean(axis=0)) * self.sides[face] / 100 + np.array([120 + 250 * face, 150])

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """The boxes, largest first."""
        self.asked.append(expect)
        boxes = [box_around(self.points(face)) for face in range(len(self.sides))]
        return np.array(sorted(boxes, key=lambda box: box[0] - box[2]), np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The points of the face there."""
        return self.points(int((box[0] + box[2]) / 2 > 245)).astype(np.float32)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("sides", [(60, 90), (90, 60)])
def test_the_largest_face_is_expected_until_a_cut_and_small_ones_where_one_is_chosen(
    sides: tuple[int, int], thorough: bool
) -> None:
    faces = Sized(*sides)
    tracker = Tracker(faces, max_gap=5, thorough=thorough)  # type: ignore[arg-type]
    for number in range(DETECT_EVERY + 2):
        tracker.step(np.full((300, 500), 90 if number > DETECT_EVERY else 30, np.uint8))
    assert tracker.cuts == [DETECT_EVERY + 1]
    assert faces.asked == ([50.0] * 3 if thorough else [None, pytest.approx(90, abs=0.1), None])


@pytest.mark.parametrize(
    ("person", "most", "thorough"),
    [("speaking", MAX_TRACKS, False), ("left", MOST_FACES, True), ("2", MOST_FACES, True)],
)
def test_where_one_of_several_faces_is_chosen_all_are_looked_for(
    person: str, most: int, thorough: bool, asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int, bool]] = []

    class Spied(Tracker):
        def __init__(self, backend: Any, **given: Any) -> None:
            super().__init__(backend, **given)
            made.append((self.max_gap, self.max_tracks, self.thorough))

    monkeypatch.setattr(process, "Tracker", Spied)
    monkeypatch.setattr(process, "turns_to_upright", turns_once)
    settings = PrepareSettings(size=32, extract=(), max_frames=12, max_gap=7, person=person, crop="none", **DRAWN)
    process.process_clip(Source("c", "s", "t", Path(asymmetric.path)), settings, MarkedFaces(), MemorySink())
    assert made == [(7, most, thorough)]
