"""Faces that the detector misses: moved fast, partly outside the picture, or turned; and those that are not there."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.backends.dlib import DlibBackend, model_file
from dawn_bench.pipelines.faces.base import box_around, overlap, pick_backend
from dawn_bench.pipelines.faces.gaps import moved, thumbnail_of, verified_points
from dawn_bench.pipelines.faces.mmod import Layer, MmodDetector, read_layers
from dawn_bench.pipelines.faces.tracking import Tracker
from dawn_bench.pipelines.media.video import iter_frames

NETWORK = "mmod_human_face_detector.dat"


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A gray picture of 240 px with one face."""
    return cv2.cvtColor(np.ascontiguousarray(astronaut()[:240, 100:340]), cv2.COLOR_RGB2GRAY)


@pytest.fixture(scope="module")
def backend() -> DlibBackend:
    chosen = pick_backend("dlib")
    assert isinstance(chosen, DlibBackend)
    return chosen


@pytest.fixture(scope="module")
def box(backend: DlibBackend, portrait: np.ndarray) -> np.ndarray:
    """The box around the portrait's landmarks."""
    return box_around(backend.landmarks(portrait, backend.detect(portrait)[0]))


@pytest.fixture(scope="module")
def network() -> MmodDetector:
    path = model_file(NETWORK)
    assert path is not None
    return MmodDetector(path)


def shifted(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """The picture moved by x, y pixels; what comes in at the edges is its mirror image."""
    size = picture.shape[1], picture.shape[0]
    return cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]], np.float64), size, borderMode=cv2.BORDER_REFLECT)


def sheared(picture: np.ndarray, box: np.ndarray, amount: float = 0.6) -> np.ndarray:
    """The picture sheared about the face: a stand-in for a head seen from the side, which HOG does not detect."""
    middle = float(box[0] + box[2]) / 2
    matrix = np.array([[1, 0, 0], [amount, 1, -amount * middle]], np.float64)
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def tracked(backend: DlibBackend, frames: list[np.ndarray], *, max_gap: int = 5) -> tuple[Tracker, np.ndarray]:
    tracker = Tracker(backend, max_gap=max_gap)
    for frame in frames:
        tracker.step(frame)
    return tracker, tracker.result(tracker.choose())[1]


# --- the network -----------------------------------------------------------------------------------------------------


def test_the_network_scores_as_in_dlib(network: MmodDetector, portrait: np.ndarray) -> None:
    dlib = pytest.importorskip("dlib")
    theirs = dlib.cnn_face_detection_model_v1(str(model_file(NETWORK)))
    picture = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)
    (expected,) = theirs(picture)
    scores = network.scores(picture)
    assert scores.max() == pytest.approx(expected.confidence, abs=0.1)
    assert np.median(scores) < -0.9
    (found,) = network.whole(picture)
    rect = expected.rect
    assert overlap(found, np.array([rect.left(), rect.top(), rect.right(), rect.bottom()], np.float32)) > 0.6


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_network_places_the_face(
    network: MmodDetector, portrait: np.ndarray, box: np.ndarray, scale: float
) -> None:
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    side = scale * (box[2] - box[0])
    for x, y, factor in ((0.3, 0.2, 1.0), (-0.3, 0.1, 0.8), (0.0, -0.3, 1.4)):
        middle = scale * (box[:2] + box[2:]) / 2 + side * np.array([x, y])
        near = np.concatenate([middle - factor * side / 2, middle + factor * side / 2])
        assert overlap(network.near(picture, near)[0], scale * box) > 0.6
    assert overlap(network.whole(picture)[0], scale * box) > 0.5


def test_the_network_sees_nothing_where_there_is_no_face(network: MmodDetector, box: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    for picture in (np.full((240, 320), 90, np.uint8), noise, cv2.GaussianBlur(noise, (0, 0), 9)):
        assert not len(network.whole(picture)) and not len(network.near(picture, box))


@pytest.mark.parametrize(("row", "column"), [(3, 9), (8, 2)])
def test_a_peak_of_the_scores_is_a_face_at_its_place(row: int, column: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores lie 8 px apart in a picture in which the face has 80; the first one is of the place 17, 18.5."""
    scores = np.full((12, 12), -1.0)
    scores[row, column] = 0.9
    detector = MmodDetector.__new__(MmodDetector)
    monkeypatch.setattr(detector, "scores", lambda picture: scores, raising=False)
    (found,) = detector.near(np.zeros((300, 400), np.uint8), np.array([130, 90, 230, 190], np.float32))
    middle = (np.array([column, row]) * 8 + (17.5, 19)) / 0.8 - 0.5 + (80, 40)
    np.testing.assert_allclose(found, [*(middle - 50), *(middle + 50)], atol=1e-3)


def test_each_colour_has_its_own_mean_in_the_network() -> None:
    """dlib's, of red, green and blue."""
    detector = MmodDetector.__new__(MmodDetector)
    detector.layers = [Layer(np.array([[1.0], [2.0], [4.0]], np.float32), np.zeros(1, np.float32), 1, 1, 0, False)]
    picture = np.array([[[200, 30, 90], [10, 250, 160]]], np.uint8)
    means = np.array([122.782, 117.001, 104.298])
    np.testing.assert_allclose(detector.scores(picture), (picture - means) @ [1, 2, 4] / 256, rtol=1e-5)
    gray = np.array([[40, 170]], np.uint8)
    np.testing.assert_allclose(detector.scores(gray), (gray[..., None] - means) @ [1, 2, 4] / 256, rtol=1e-5)


def test_a_file_of_another_layout_is_refused() -> None:
    path = model_file(NETWORK)
    assert path is not None
    data = path.read_bytes()
    for other in (b"", b"\x05con_4" * 9, data[:300_000], data.replace(b"\x05con_4\x01\x02", b"\x05con_4\x01\x03")):
        with pytest.raises(ValueError, match="dlib"):
            read_layers(other)


# --- the second search of the back end -------------------------------------------------------------------------------


def test_the_search_sees_what_detection_misses(backend: DlibBackend, portrait: np.ndarray, box: np.ndarray) -> None:
    turned = sheared(portrait, box)
    assert not len(backend.detect(turned))
    assert overlap(backend.search(turned, near=box)[0], box) > 0.4
    assert overlap(backend.search(turned)[0], box) > 0.4
    half = shifted(portrait, 0, -float(box[1]) - 0.3 * float(box[2] - box[0]))  # forehead and brows are outside
    assert len(backend.search(half, near=box - [0, box[1], 0, box[1]]))
    for far in (box + 9000, box - 9000, box + 2 * (box[2] - box[0])):
        assert not len(backend.search(portrait, near=far))


def test_the_fingerprint_says_which_detector_is_used(backend: DlibBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    base, second = backend.fingerprint().split("+")
    assert base.startswith("dlib-2-") and second.startswith("mmod-1-")
    monkeypatch.setattr(backend, "_mmod", None)  # as where the wheel lacks the file
    without, third = backend.fingerprint().split("+")
    assert without == base and third.startswith("hog-1-")
    assert not len(backend.search(np.full((240, 240), 90, np.uint8)))


# --- verification ----------------------------------------------------------------------------------------------------


def test_points_are_verified(backend: DlibBackend, portrait: np.ndarray, box: np.ndarray) -> None:
    thumbnail = thumbnail_of(portrait, box)
    points = verified_points(backend, portrait, box, thumbnail=thumbnail)
    assert points is not None and overlap(box_around(points), box) > 0.8
    side = float(box[2] - box[0])
    # the mouth is below the picture
    assert verified_points(backend, portrait[: int(box[1] + 0.6 * side)], box, thumbnail=None) is None
    # half of the face is beside the picture
    assert (
        verified_points(
            backend,
            np.ascontiguousarray(portrait[:, int(box[0] + 0.6 * side) :]),
            box - [0.6 * side + box[0], 0, 0.6 * side + box[0], 0],
            thumbnail=None,
        )
        is None
    )
    # the regressor places points on cloth and background too, but they do not look like the face
    background = box + np.array([0, 1.1 * side, 0, 1.1 * side], np.float32)
    assert verified_points(backend, portrait, background, thumbnail=thumbnail) is None
    assert verified_points(backend, np.full_like(portrait, 90), box, thumbnail=thumbnail) is None


def test_a_face_may_move_by_its_own_width() -> None:
    box = np.array([100, 100, 200, 200], np.float32)
    assert moved(box, [box + 300, box + 60, box + 20], missed=0) == 2
    assert moved(box, [box + 80], missed=0) is None
    assert moved(box, [box + 80], missed=1) == 0
    assert moved(box, [np.array([130, 130, 170, 170], np.float32)], missed=0) is None  # a smaller face behind it
    assert moved(box, [], missed=0) is None


# --- the tracker -----------------------------------------------------------------------------------------------------


def test_a_face_that_jumps_stays_one_track(backend: DlibBackend, portrait: np.ndarray, box: np.ndarray) -> None:
    """As by a blow against the camera: 80 % of the face's width from one frame to the next."""
    away = shifted(portrait, 0.8 * float(box[2] - box[0]), 0)
    tracker, valid = tracked(backend, [portrait] * 11 + [away] * 12 + [portrait] * 9)
    assert len(tracker.tracks) == 1 and valid.mean() > 0.85
    last = box_around(tracker.tracks[0].points[22])
    assert overlap(last, box + np.array([0.8, 0, 0.8, 0], np.float32) * (box[2] - box[0])) > 0.7
    assert overlap(tracker.tracks[0].box, box) > 0.7


def test_a_turned_face_is_followed(backend: DlibBackend, portrait: np.ndarray, box: np.ndarray) -> None:
    amounts = [*np.linspace(0, 0.6, 8), *[0.6] * 16, *np.linspace(0.6, 0, 8)]
    frames = [portrait] * 6 + [sheared(portrait, box, amount) for amount in amounts] + [portrait] * 4
    tracker, valid = tracked(backend, frames)
    assert len(tracker.tracks) == 1 and valid.all() and tracker.tracks[0].second_frames >= 10
    # without the second search the clip is lost
    plain = Tracker(backend, max_gap=5)
    plain._second = None
    with pytest.raises(ItemError, match="no face"):
        for frame in frames:
            plain.step(frame)


def test_a_face_that_leaves_is_not_followed(backend: DlibBackend, portrait: np.ndarray, box: np.ndarray) -> None:
    """The background of the portrait takes its place, and points are never placed on it."""
    side = int(box[2] - box[0])
    empty = portrait.copy()
    empty[: int(box[3]) + side // 4] = cv2.resize(portrait[-side // 2 :], (240, int(box[3]) + side // 4))
    tracker = Tracker(backend, max_gap=30)
    for frame in [portrait] * 6 + [empty] * 9:
        tracker.step(frame)
    assert max(tracker.tracks[0].points) <= 9 and len(tracker.tracks) == 1  # landmarks follow to the next detection
    with pytest.raises(ItemError, match="no face"):
        tracked(backend, [portrait] * 6 + [empty] * 12)


def test_the_second_search_runs_only_where_a_face_is_missed(
    backend: DlibBackend, portrait: np.ndarray, box: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def search(self: DlibBackend, frame: np.ndarray, *, near: np.ndarray | None = None) -> np.ndarray:
        asked.append(near is None)
        return np.zeros((0, 4), np.float32)

    monkeypatch.setattr(DlibBackend, "search", search)
    tracked(backend, [portrait] * 12)
    assert not asked
    gone = portrait.copy()  # without a scene cut
    x0, y0, x1, y1 = box.astype(int)
    gone[y0 - 20 : y1 + 10, x0 - 10 : x1 + 10] = int(portrait[y0:y1, x0:x1].mean())
    tracker = Tracker(backend, max_gap=100)
    for frame in [portrait] * 5 + [gone] * 21:
        tracker.step(frame)
    assert not tracker.cuts and asked == [False] * 9  # six times at once, then every fifth frame
    asked.clear()
    with pytest.raises(ItemError, match="no face"):
        tracked(backend, [gone] * 12, max_gap=10)
    assert asked == [True] * 3  # of 11 frames


# --- real clips ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(shared: Path) -> DlibBackend:
    """YuNet with the boxes that the back end derives from it where the user has its file."""
    with_network = DlibBackend()
    file = str(shared / "data/nets/yunet_n_dynamic.onnx")
    with_network._yunet = cv2.FaceDetectorYN.create(file, "", (160, 160), 0.7)
    return with_network


def seen(points: dict[int, np.ndarray], boxes: list[np.ndarray]) -> int:
    """Number of frames in which a face agrees with one of the boxes."""
    return sum(any(overlap(box_around(p), box) > 0.4 for box in boxes[t]) for t, p in points.items())


@pytest.mark.real
@pytest.mark.parametrize("name", ["grid_brbk7n.mpg", "voxceleb2_00098.mp4"])
def test_turned_and_cut_real_faces_are_followed(
    name: str, clips_dir: Path, judge: DlibBackend, backend: DlibBackend
) -> None:
    """YuNet is the judge: 97 % of its frames have the face; where HOG sees it, the points are as before."""
    frames = list(islice(iter_frames(clips_dir / name), 28))
    face = box_around(backend.landmarks(frames[0], backend.detect(frames[0])[0]))
    side = float(face[2] - face[0])
    amounts = np.clip([min(t - 4, 25 - t) / 6 for t in range(28)], 0, 1)
    middle = float(face[0] + face[2]) / 2
    matrices = {
        "sheared": [[[1, 0, 0], [0.5 * a, 1, -0.5 * a * middle]] for a in amounts],
        "cut": [[[1, 0, -(face[0] + 0.25 * side) * a], [0, 1, 0]] for a in amounts],
    }
    for kind, steps in matrices.items():
        shown = [
            cv2.warpAffine(f, np.array(m, np.float64), f.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
            for f, m in zip(frames, steps, strict=True)
        ]
        tracker, plain = Tracker(backend, max_gap=99), Tracker(backend, max_gap=99)
        plain._second = None
        for frame in shown:
            gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            tracker.step(gray)
            plain.step(gray)
        boxes = [judge.detect(frame) for frame in shown]
        points = max((track.points for track in tracker.tracks), key=len)
        assert seen(points, boxes) >= 0.97 * sum(len(b) > 0 for b in boxes), kind
        before = plain.tracks[0].points
        for t in range(next((t for t in range(28) if t not in before), 28)):
            assert np.array_equal(points[t], before[t]), (kind, t)


@pytest.mark.real
@pytest.mark.slow
def test_every_real_clip_has_the_faces_that_yunet_sees(
    clips_dir: Path, judge: DlibBackend, backend: DlibBackend
) -> None:
    """97 % of YuNet's frames in every clip, none in which it sees nothing, and nothing is needed but HOG."""
    for path in sorted(clips_dir.iterdir()):
        tracker = Tracker(backend, max_gap=10**6)
        boxes = []
        for frame in islice(iter_frames(path), 50):
            tracker.step(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
            boxes.append(judge.detect(frame))
        points = max((track.points for track in tracker.tracks), key=len, default={})
        assert seen(points, boxes) >= 0.97 * sum(len(b) > 0 for b in boxes), path.name
        assert all(len(boxes[t]) for track in tracker.tracks for t in track.points), path.name
        assert not sum(track.second_frames for track in tracker.tracks), path.name
