"""Faces that are covered, turned, cut or small are flagged in the index, and quarantined past the thresholds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pipelines.extractors.pose import rotation_matrix
from dawn_bench.pipelines.faces.base import FaceBackend, box_around, pick_backend
from dawn_bench.pipelines.faces.quality import check_face, face_facts, flags, mouth_visible, upright_face
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded

SIDE = 192
COLUMNS = {"mouth_covered", "yaw", "face_height", "face_in_frame", "sharpness"}


@pytest.fixture(scope="module")
def backend() -> FaceBackend:
    return pick_backend("dlib")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    root = write_embedded(tmp_path_factory.mktemp("talk"), speakers=2, clips=2, seconds=2.0, size=SIDE, seed=3)
    return read_frames(sorted(root.rglob("*.mp4"))[0])[:26]


@pytest.fixture(scope="module")
def points(talk: np.ndarray, backend: FaceBackend) -> np.ndarray:
    return backend.landmarks(talk[0], box_around(backend.landmarks(talk[0], backend.detect(talk[0])[0])))


def facts(frames: np.ndarray, folder: Path, backend: FaceBackend, **settings: object) -> dict[str, object]:
    write_video(folder / "c.mp4", np.ascontiguousarray(frames), lossless=True)
    kinds = PrepareSettings.model_validate({"size": 64, "extract": (), "require_audio": False, **settings})
    return process_clip(Source("c", "s", "t", folder / "c.mp4"), kinds, backend, MemorySink())


def covered(frames: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The frames with an ellipse over the mouth."""
    middle, width = points[48:60].mean(axis=0), float(np.ptp(points[48:60, 0]))
    frames = frames.copy()
    for frame in frames:
        axes = round(0.7 * width), round(0.5 * width)
        cv2.ellipse(frame, (round(middle[0]), round(middle[1])), axes, 0, 0, 360, colour, -1)
    return frames


def test_a_good_face_has_no_flag(talk: np.ndarray, points: np.ndarray, backend: FaceBackend, tmp_path: Path) -> None:
    meta = facts(talk, tmp_path, backend)
    assert meta.keys() > COLUMNS and meta["face_flags"] == ""
    assert meta["mouth_covered"] == 0 and meta["face_in_frame"] == pytest.approx(1)
    assert abs(meta["face_height"] - np.ptp(points[:, 1])) < 0.1 * np.ptp(points[:, 1])  # type: ignore[operator]


def test_a_covered_mouth(talk: np.ndarray, points: np.ndarray, backend: FaceBackend, tmp_path: Path) -> None:
    frames = covered(talk, points, (200, 170, 150))
    with pytest.raises(ItemError, match="covered in 100% of the looks \\(max_mouth_covered\\)") as caught:
        facts(frames, tmp_path, backend)
    assert caught.value.reason == "mouth_covered"
    meta = facts(frames, tmp_path, backend, max_mouth_covered=1)
    assert meta["mouth_covered"] == 1 and meta["face_flags"] == "mouth covered"
    half = np.concatenate([talk[:12], frames[12:]])  # looks at frames 0, 12 and 24
    meta = facts(half, tmp_path, backend)
    assert meta["mouth_covered"] == pytest.approx(2 / 3) and meta["face_flags"] == "mouth covered"


@pytest.mark.parametrize("colour", [(0, 0, 0), (60, 60, 60), (128, 128, 128), (200, 160, 140), (240, 240, 240)])
@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_a_mouth_is_seen_at_any_size(talk: np.ndarray, points: np.ndarray, colour, scale: float) -> None:  # type: ignore[no-untyped-def]
    for frames, visible in ((talk[:1], True), (covered(talk[:1], points, colour), False)):
        picture = cv2.resize(frames[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for turn in (0, 15):
            around = cv2.getRotationMatrix2D((SIDE * scale / 2, SIDE * scale / 2), turn, 1)
            there = points * scale @ around[:, :2].T + around[:, 2]
            turned = cv2.warpAffine(picture, around, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            assert mouth_visible(upright_face(turned, there)) == visible


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (lambda f: f[:, ::-1, ::-1], "turned", "upside down"),
        (lambda f: f[:, ::-1], "turned", "upside down"),
        (lambda f: np.rot90(f, -1, (1, 2)), "turned", "turned by 90 degrees clockwise"),
        (lambda f: np.full_like(f, 90), "no_face", "no face"),
    ],
)  # fmt: skip
def test_turned_faces(talk: np.ndarray, backend: FaceBackend, tmp_path: Path, change, reason, detail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ItemError, match=detail) as caught:
        facts(change(talk), tmp_path, backend)
    assert caught.value.reason == reason


def test_a_cut_face(talk: np.ndarray, points: np.ndarray, backend: FaceBackend, tmp_path: Path) -> None:
    cut = talk[:, : int(points[8, 1] - 0.06 * SIDE) // 2 * 2]
    meta = facts(cut, tmp_path, backend)
    assert 0.7 < meta["face_in_frame"] < 0.95 and "cut face" in meta["face_flags"]  # type: ignore[operator]
    with pytest.raises(ItemError, match="of the face is in the picture \\(min_face_in_frame\\)") as caught:
        facts(cut, tmp_path, backend, min_face_in_frame=0.95)
    assert caught.value.reason == "cut_face"


def head_points(yaw: float, *, size: float = 100, x: float = 200) -> np.ndarray:
    """Points (3,68,2) of the generic head, `size` px wide, turned to a side."""
    turned = (HEAD @ rotation_matrix(np.array([[yaw, 0, 0]]))[0].T)[:, :2] * size / np.ptp(HEAD[:, 0])
    return np.tile(turned * (1, -1) + (x, 200), (3, 1, 1))


@pytest.mark.parametrize(
    ("points", "looks", "name", "value", "flag", "reason"),
    [
        (head_points(-70), (True, 0.1), "yaw", 70, "profile", "profile"),
        (head_points(0, size=15), (True, 0.1), "face_height", 15, "tiny face", "tiny_face"),
        (head_points(0, x=0), (True, 0.1), "face_in_frame", 0.5, "cut face", "cut_face"),
        (head_points(0), (False, 0.1), "mouth_covered", 1, "mouth covered", "mouth_covered"),
        (head_points(0), (True, 0.001), "sharpness", 0.001, "blurred", "blurred"),
    ],
)
def test_every_threshold(
    points: np.ndarray, looks: tuple[bool, float], name: str, value: float, flag: str, reason: str
) -> None:
    measured = face_facts([looks] * 3, points, width=400, height=400)
    assert measured[name] == pytest.approx(value, rel=0.1) and flags(measured) == flag
    with pytest.raises(ItemError) as caught:
        check_face(measured, PrepareSettings(min_sharpness=0.01))
    assert caught.value.reason == reason
    good = face_facts([(True, 0.1)] * 3, head_points(5), width=400, height=400)
    assert flags(good) == ""
    check_face(good, PrepareSettings())


@pytest.mark.parametrize("x", np.linspace(100, 300, 12))
def test_a_face_wholly_in_the_picture_is_so_to_the_last_digit(x: float) -> None:
    points = head_points(5, x=x).astype(np.float32)
    measured = face_facts([(True, 0.1)], points, width=400, height=400)
    assert measured["face_in_frame"] == 1
    check_face(measured, PrepareSettings(min_face_in_frame=1))


def test_the_index_names_what_is_left_out(talk: np.ndarray, points: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name, frames in (("good", talk), ("covered", covered(talk, points, (200, 170, 150)))):
        write_video(tmp_path / "videos" / f"{name}.mp4", frames, lossless=True)
    settings = PrepareSettings(size=32, extract=(), require_audio=False, face="dlib")
    report = prepare(tmp_path / "videos", tmp_path / "cache", settings)
    cache = Cache(tmp_path / "cache")
    assert report.quarantined == {"mouth_covered": 1} and cache.ids() == ["good"]
    assert set(cache.index.columns) > COLUMNS | {"face_flags", "person"} and cache["good"].meta["face_flags"] == ""
    assert cache.quarantined()[0][0] == "covered" and "max_mouth_covered" in cache.quarantined()[0][2]
