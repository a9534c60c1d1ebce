"""Portraits that lie on their side or stand on their head, without a tag that says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from media.face import ANY_QUALITY, AnyFace
from skimage.data import astronaut, coffee

from dawn_bench.errors import ItemError
from dawn_bench.models.dit_head.files import read_face
from dawn_bench.models.inputs import read_portrait
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.turned import turns_to_upright
from dawn_bench.pipelines.media.video import iter_frames, write_video
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings

FACE = astronaut()[:300, 80:380]


def saved(path: Path, picture: np.ndarray) -> Path:
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_portrait_gives_the_face_of_the_upright_one(turns: int, tmp_path: Path) -> None:
    backend = pick_backend("dlib")
    upright, _ = read_portrait(saved(tmp_path / "upright.png", FACE), size=64, backend=backend)
    path = saved(tmp_path / "turned.png", np.rot90(FACE, turns))
    portrait, has_face = read_portrait(path, size=64, backend=backend)
    assert has_face and portrait.turned == -90 * turns % 360
    assert np.array_equal(portrait.frame, upright.frame) and np.array_equal(portrait.pose, upright.pose)
    notes: list[str] = []
    frames, points = read_face(path, size=64, backend=backend, max_frames=1, notes=notes)
    assert len(notes) == (turns > 0) and all("turned by" in note and "turned.png" in note for note in notes)
    assert np.array_equal(frames[0], upright.frame)
    assert points[0, 8, 1] > points[0, 27, 1]  # the chin is below the nose


def test_an_uncropped_portrait_is_turned_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "turned.png", np.rot90(FACE, 2))
    portrait, _ = read_portrait(path, size=300, backend=pick_backend("dlib"), crop="paper")
    assert np.array_equal(portrait.frame, FACE)


def test_a_picture_without_a_face_stays_as_it_is() -> None:
    assert turns_to_upright(coffee()) == 0
    assert turns_to_upright(np.full((40, 30, 3), 90, np.uint8)) == 0


@pytest.mark.real
def test_real_faces_are_turned_from_every_side(clips_dir: Path) -> None:
    """Also one seen from aside, a small one, and one that fills the picture."""
    for name in ("liveportrait_s18.mp4", "voxceleb2_620900105.mp4", "grid_id2_swwp2s.mpg", "dpe_s.mp4"):
        picture = next(iter_frames(clips_dir / name))
        assert [turns_to_upright(np.rot90(picture, turns)) for turns in range(4)] == [0, 3, 2, 1], name


class EveryWay:
    """Detects a face in any orientation, as networks do; its points are those of the middle of the picture."""

    name = "every-way"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        height, width = frame.shape[:2]
        return np.array([[0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]], np.float32)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return AnyFace().landmarks(frame, box)


@pytest.mark.parametrize(
    ("turns", "words"), [(1, "turned by 270 degrees"), (2, "upside down"), (3, "turned by 90 degrees"), (0, "")]
)
def test_a_turned_video_is_left_out_with_every_back_end(turns: int, words: str, tmp_path: Path) -> None:
    small = cv2.resize(FACE, (256, 256), interpolation=cv2.INTER_AREA)
    write_video(tmp_path / "v.mp4", np.repeat(np.rot90(small, turns)[None], 12, axis=0).copy())
    settings = PrepareSettings(size=32, extract=(), require_audio=False, **ANY_QUALITY)
    source = Source("v", "s", "test", tmp_path / "v.mp4")
    if not words:
        assert process_clip(source, settings, EveryWay(), MemorySink())["n_frames"] == 12
        return
    with pytest.raises(ItemError, match=f"^turned: .*the face is {words}"):
        process_clip(source, settings, EveryWay(), MemorySink())
