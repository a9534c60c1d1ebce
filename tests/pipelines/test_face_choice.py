"""Which of several faces is meant: in prepared clips, portraits and driving videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.errors import InputError, ItemError
from dawn_bench.job import read_job
from dawn_bench.models.inputs import portrait_notes, read_drive, read_portrait
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import FaceBackend, pick_backend
from dawn_bench.pipelines.faces.choice import Face, checked_choice, choose
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.preparation.plan import CachePlan, check_same
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.workflow.generate import Generation
from dawn_bench.workflow.jobs import Preparation

SIDE = 160


@pytest.fixture(scope="module")
def backend() -> FaceBackend:
    return pick_backend("dlib")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large still face on the left, and a smaller one that speaks on the right; 20 frames."""
    folder = tmp_path_factory.mktemp("two")
    root = write_embedded(folder, speakers=2, clips=2, seconds=2.0, size=SIDE, seed=3)
    talking = read_frames(next(root.rglob("*.mp4")))[10:30]
    left = np.repeat(talking[:1], len(talking), axis=0)[:, :, ::-1]
    right = np.full_like(talking, 90)
    right[:, 6:154, 6:154] = np.stack([cv2.resize(f, (148, 148), interpolation=cv2.INTER_AREA) for f in talking])
    path = folder / "two.mp4"
    write_video(path, np.concatenate([left, right], axis=2), lossless=True)
    return path


def prepared(path: Path, backend: FaceBackend, **settings: object) -> dict[str, object]:
    kinds = PrepareSettings.model_validate({"size": 64, "extract": (), "require_audio": False, **settings})
    return process_clip(Source("c", "s", "test", path), kinds, backend, MemorySink())


@pytest.mark.parametrize(
    ("choice", "side"),
    [
        (None, "right"),
        ("speaking", "right"),
        ("largest", "left"),
        ("left", "left"),
        ("right", "right"),
        ("1", "left"),
        ("2", "right"),
    ],
)
def test_a_clip_is_cropped_to_the_face_that_is_chosen(two: Path, backend: FaceBackend, choice: str, side: str) -> None:
    facts = prepared(two, backend, **({} if choice is None else {"face": choice}))
    middle = facts["crop_x"] + facts["crop_width"] / 2  # type: ignore[operator]
    assert ("left" if middle < SIDE else "right") == side
    assert facts["person"] == (choice or "speaking") and facts["tracks"] == 2


def test_a_face_that_is_not_there_quarantines_the_clip(two: Path, backend: FaceBackend) -> None:
    with pytest.raises(ItemError, match="face 3 was chosen, but 2 faces can be seen") as caught:
        prepared(two, backend, person="3")
    assert caught.value.reason == "no_face"


def face(x: float, *, size: float = 50, frames: int = 100, speaking: int = 0) -> Face:
    return Face(np.array([x, 0, x + size, size]), frames, speaking)


@pytest.mark.parametrize(
    ("faces", "choice", "expected"),
    [
        ([face(0), face(90, speaking=60)], "speaking", 1),
        ([face(0), face(90, speaking=60, frames=80)], "speaking", 0),  # who is there longer
        ([face(0), face(90, size=60, speaking=5)], "speaking", 1),  # a tie within a tenth
        ([face(0), face(90, size=60)], "largest", 1),
        ([face(90), face(0), face(-300, frames=3)], "left", 1),  # a false detection is nobody
        ([face(90), face(0), face(-300, frames=40)], "left", 2),
        ([face(90), face(0), face(400, frames=3)], "right", 0),
        ([face(90), face(0), face(40)], "2", 2),
    ],
)
def test_choice(faces: list[Face], choice: str, expected: int) -> None:
    assert choose(faces, choice) == expected


def test_face_names_a_back_end_or_a_face() -> None:
    def settings(*overrides: str, **flags: str) -> tuple[str, str]:
        job, _ = read_job(Preparation, {"root": "/", **flags}, overrides=overrides)
        return job.settings.face, job.settings.person

    assert settings() == ("auto", "speaking")
    assert settings(face="dlib") == ("dlib", "speaking")
    assert settings(face="left") == settings("face=left") == ("auto", "left")
    assert settings("person=2", face="dlib") == ("dlib", "2") and settings("face=2") == ("auto", "2")
    generation, _ = read_job(Generation, {"audio": "a", "out": "o", "checkpoint": "c", "face": "right"})
    assert generation.face == "auto" and generation.model_options == {"person": "right"}
    for flags, message in (
        ({"face": "left", "person": "right"}, "--face left and --person right choose different faces"),
        ({"face": "0"}, "there is no face 0"),
        ({"person": "top"}, "there is no choice of face 'top'.*Known: speaking, largest, left, right, or a number"),
    ):
        with pytest.raises(InputError, match=message):
            settings(**flags)


def test_a_cache_planned_before_the_choice_is_the_default(tmp_path: Path) -> None:
    settings = PrepareSettings()
    earlier = {k: v for k, v in settings.model_dump(mode="json").items() if k not in ("person", "max_yaw")}
    plan = CachePlan("/", earlier, {}, (), {})
    check_same(plan, root=Path("/"), settings=settings, facts={}, cache=tmp_path)
    with pytest.raises(InputError, match="person 'speaking' \\(now 'left'\\)"):
        check_same(plan, root=Path("/"), settings=PrepareSettings(person="left"), facts={}, cache=tmp_path)


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a face on the left, and the same at two thirds of the size and brighter on the right."""
    head = np.ascontiguousarray(astronaut()[:260, 90:350])
    small = cv2.resize(head, (173, 173), interpolation=cv2.INTER_AREA)
    picture = np.full((260, 520, 3), 90, np.uint8)
    picture[:, :260] = head // 2
    picture[40:213, 300:473] = small
    path = tmp_path_factory.mktemp("couple") / "couple.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


def test_a_portrait_of_several_faces(couple: Path, backend: FaceBackend) -> None:
    def light(person: str | None) -> float:
        return float(read_portrait(couple, size=64, backend=backend, person=person)[0].frame[16:48, 16:48].mean())

    dark, bright = light("left"), light("right")
    assert bright > 1.5 * dark
    assert light(None) == light("largest") == pytest.approx(dark, abs=3) and light("1") == dark and light("2") == bright
    portrait, _ = read_portrait(couple, size=64, backend=backend)
    assert (
        portrait.faces == 2
        and "shows 2 faces; the largest is used" in portrait_notes(couple, portrait, chosen=False)[0]
    )
    assert not portrait_notes(couple, portrait, chosen=True)
    with pytest.raises(InputError, match=r"face 3 was chosen, but 2 faces can be seen.*--face"):
        light("3")
    with pytest.raises(InputError, match="does not show which of them speaks"):
        light("speaking")


def test_a_driving_video_of_several_faces(two: Path, backend: FaceBackend) -> None:
    poses = {
        person: read_drive(two, size=64, backend=backend, n_frames=20, person=person)[0]
        for person in (None, "left", "right")
    }
    moved = {person: float(np.ptp(pose[:, 0])) for person, pose in poses.items()}  # yaw, degrees
    assert moved["left"] < 0.5 < moved["right"] and moved[None] == pytest.approx(moved["right"], rel=0.3)


@pytest.mark.parametrize("choice", ["²", "+-3", "١", "1.5", "0x1", "first"])
def test_what_is_no_number_is_no_choice(choice: str) -> None:
    with pytest.raises(InputError, match="there is no choice of face"):
        checked_choice(choice)
