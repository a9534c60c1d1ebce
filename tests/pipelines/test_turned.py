"""Portraits that lie on their side or stand on their head, without a tag that says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, coffee

from dawn_bench.models.dit_head.files import read_face
from dawn_bench.models.inputs import read_portrait
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.turned import turns_to_upright
from dawn_bench.pipelines.media.video import iter_frames

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
    frames, points = read_face(path, size=64, backend=backend, max_frames=1)
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
