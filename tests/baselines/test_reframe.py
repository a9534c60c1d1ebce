"""Outputs framed again: a tighter crop of a real photograph comes back to where the truth has its face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.baselines import reframe
from dawn_bench.baselines.base import Item
from dawn_bench.baselines.reframe import Reframed, face_of_output, place
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import box_around, pick_backend
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.synthetic.portrait import LANDMARKS

LEFT, TOP, SIDE = 112, 12, 224


def portrait() -> np.ndarray:
    return astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def test_placing_moves_one_box_onto_another() -> None:
    frame = np.zeros((1, 100, 100, 3), np.uint8)
    frame[0, 40:60, 20:40] = 255
    placed = place(frame, np.array([20, 40, 40, 60.0]), np.array([10, 10, 50, 50.0]), size=80)
    assert placed.shape == (1, 80, 80, 3)
    ys, xs = np.nonzero(placed[0, ..., 0] > 127)
    assert abs(ys.min() - 10) <= 1 and abs(ys.max() - 49) <= 1 and abs(xs.min() - 10) <= 1 and abs(xs.max() - 49) <= 1


def test_a_tighter_crop_is_framed_as_the_truth(tmp_path: Path) -> None:
    truth = np.repeat(portrait()[None], 5, axis=0)
    marks = np.repeat((LANDMARKS - [LEFT, TOP])[None], 5, axis=0).astype(np.float32)
    clip = Clip("c", "s", "test", 5, {"frames": truth, "landmarks": marks, "audio": np.zeros(5 * 640, np.int16)})
    tight = cv2.resize(portrait()[20:200, 15:195], (256, 256), interpolation=cv2.INTER_CUBIC)
    write_video(tmp_path / "c.mp4", np.repeat(tight[None], 5, axis=0), audio=clip["audio"], lossless=True)
    method = Reframed("echomimic", "portrait", {"c": tmp_path / "c.mp4"}, "1")
    generated = method.generate(Item(clip, [clip], seed=0))
    assert method.name == "echomimic-aligned" and generated.frames.shape == truth.shape
    want = face_of_output(truth, pick_backend())
    assert np.abs(face_of_output(generated.frames, pick_backend()) - want).max() < 4
    squashed = cv2.resize(tight, (SIDE, SIDE))
    inner = np.s_[40:180, 40:180]
    error = [np.abs(f[inner].astype(float) - truth[0][inner]).mean() for f in (generated.frames[0], squashed)]
    assert error[0] < error[1] / 2


def test_frames_whose_landmarks_are_not_known_do_not_move_the_face(tmp_path: Path) -> None:
    truth = np.repeat(portrait()[None], 3, axis=0)
    marks = np.repeat((LANDMARKS - [LEFT, TOP])[None], 3, axis=0).astype(np.float32)
    sound = np.zeros(3 * 640, np.int16)
    write_video(tmp_path / "c.mp4", truth, audio=sound, lossless=True)
    method = Reframed("echomimic", "portrait", {"c": tmp_path / "c.mp4"}, "1")

    def generated(marks: np.ndarray) -> np.ndarray:
        clip = Clip("c", "s", "test", 3, {"frames": truth, "landmarks": marks, "audio": sound})
        return np.asarray(method.generate(Item(clip, [clip], seed=0)).frames)

    whole = generated(marks)
    marks[1, 40] = np.nan
    assert np.array_equal(generated(marks), whole) and whole.any()
    marks[:] = np.nan
    with pytest.raises(ItemError, match="no landmarks of the true clip"):
        generated(marks)


def test_an_output_without_a_face_fails_alone(tmp_path: Path) -> None:
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    write_video(tmp_path / "c.mp4", frames, lossless=True)
    marks = np.repeat((LANDMARKS / 8)[None], 3, axis=0)
    clip = Clip("c", "s", "test", 3, {"frames": frames, "landmarks": marks, "audio": np.zeros(3 * 640, np.int16)})
    with pytest.raises(ItemError, match="no face in 15 frames"):
        Reframed("m", "portrait", {"c": tmp_path / "c.mp4"}, "1").generate(Item(clip, [clip], seed=0))


class TwoFaces:
    """A back end that sees a large face beside the true one, in every frame."""

    def __init__(self, true: np.ndarray) -> None:
        self.faces = {"large": true * 1.5 + (60, 0), "true": true}
        self.boxes = {name: box_around(points) for name, points in self.faces.items()}

    def fingerprint(self) -> str:
        return "1"

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return np.stack(list(self.boxes.values()))

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return next(self.faces[name] for name, own in self.boxes.items() if (own == box).all())


@pytest.mark.parametrize("start", [None, 0, 7])
def test_the_true_face_is_aligned_at_the_place_that_is_read(
    start: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is the truth itself, so that nothing moves: its frames come back, from the piece's first one on."""
    points = ((LANDMARKS - LANDMARKS.min(axis=0)) / 4 + (20, 30)).astype(np.float32)
    monkeypatch.setattr(reframe, "pick_backend", lambda: TwoFaces(points))
    whole = np.random.default_rng(0).integers(0, 255, (12, 96, 96, 3), dtype=np.uint8)
    write_video(tmp_path / "c.mp4", whole, lossless=True)
    arrays = {"frames": whole[:4], "landmarks": np.stack([points] * 4), "audio": np.zeros(4 * 640, np.int16)}
    clip = Clip("c", "s", "test", 4, arrays)
    starts = {} if start is None else {"c": start, "other": 3}
    method = Reframed("mine", "portrait", {"c": tmp_path / "c.mp4"}, "1", starts=starts)
    generated = method.generate(Item(clip, [clip], seed=0))
    first = start or 0
    np.testing.assert_array_equal(generated.frames[:4], whole[first : first + 4])
    assert generated.facts["face_box"] == generated.facts["true_face_box"]
