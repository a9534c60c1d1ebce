"""Generating with DiT-Head: a picture or a video and speech become a clip; what cannot be used is one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from micro_dit_head import micro_train
from typer.testing import CliRunner

from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.models.dit_head.files import read_face
from dawn_bench.models.loading import load_model
from dawn_bench.pipelines.media.video import read_frames, write_video

SIDE = 128


class Backend:
    """Returns the tiny clip's first face for any frame."""

    name = "known"

    def __init__(self, points: np.ndarray) -> None:
        self.points = points

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        return np.concatenate([self.points.min(0), self.points.max(0)])[None]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return self.points


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dit-head") / "run"
    micro_train(tiny_cache, out)
    return out


@pytest.fixture(scope="module")
def files(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip as a video with sound, four times as large, and its first frame as a picture."""
    clip, folder = Cache(tiny_cache)["c4"], tmp_path_factory.mktemp("files")
    large = np.stack([cv2.resize(f, (SIDE, SIDE)) for f in clip["frames"]])
    write_video(folder / "clip.mp4", large, audio=np.asarray(clip["audio"]))
    cv2.imwrite(str(folder / "face.png"), large[0][..., ::-1])
    return {"video": folder / "clip.mp4", "picture": folder / "face.png"}


@pytest.fixture(scope="module")
def backend(tiny_cache: Path) -> Backend:
    return Backend(np.asarray(Cache(tiny_cache)["c4"]["landmarks"][0]) * (SIDE / 32))


@pytest.mark.parametrize(("kind", "shown"), [("picture", 1), ("video", 20)])
def test_pictures_and_videos_are_cropped_as_in_preparation(
    kind: str, shown: int, files: dict[str, Path], backend: Backend
) -> None:
    frames, points = read_face(files[kind], size=32, backend=backend, max_frames=20)
    assert frames.shape == (shown, 32, 32, 3) and frames.dtype == np.uint8 and points.shape == (shown, 68, 2)
    assert (points >= -1).all() and (points <= 32).all()


@pytest.mark.parametrize("kind", ["picture", "video"])
def test_a_clip_is_as_long_as_its_sound(
    kind: str, files: dict[str, Path], run: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawn_bench.pipelines.faces.base.pick_backend", lambda name: backend)
    clip = load_model(run, device="cpu").generate(files[kind], files["video"], max_seconds=0.8, steps=2)
    assert clip.frames.shape == (20, 32, 32, 3) and len(clip.audio) == 20 * 640


def test_files_without_a_face_and_other_motion_are_refused(files: dict[str, Path], run: Path, tmp_path: Path) -> None:
    class Blind(Backend):
        def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
            return np.zeros((0, 4))

    with pytest.raises(InputError, match="shows no face"):
        read_face(files["picture"], size=32, backend=Blind(np.zeros((68, 2))), max_frames=5)
    with pytest.raises(InputError):
        read_face(files["video"], size=32, backend=Blind(np.zeros((68, 2))), max_frames=5)
    given = ("--image", files["picture"], "--audio", files["video"], "--checkpoint", run, "--out", tmp_path / "x.mp4")
    result = CliRunner().invoke(
        app, ["generate", "--method", "dit-head", "--pose-file", "x.npz", *map(str, given)], standalone_mode=False
    )
    assert isinstance(result.exception, InputError) and "does not change the head pose" in str(result.exception)


def test_the_command_writes_the_clip(
    files: dict[str, Path], run: Path, tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawn_bench.pipelines.faces.base.pick_backend", lambda name: backend)
    out = tmp_path / "new" / "talk.mp4"
    given = {"--image": files["video"], "--audio": files["video"], "--checkpoint": run, "--out": out, "--steps": 2}
    arguments = ["generate", "--method", "dit-head", *(str(x) for pair in given.items() for x in pair)]
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    assert result.exception is None and read_frames(out).shape == (30, 32, 32, 3)
