"""A user's files as a generator gets them, by content: which pixels, which box, which samples, which frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from spies import Spies

from dawn_bench.errors import InputError
from dawn_bench.models import inputs
from dawn_bench.models.dit_head import files as dit_head_files
from dawn_bench.models.inputs import (
    Portrait,
    clip_arrays,
    own_video,
    portrait_notes,
    read_drive,
    read_portrait,
    read_sound,
    read_speech,
    read_tracks,
)
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import resize

#: 120 wide and 200 high; red grows to the right, green downwards, blue is the same everywhere.
PICTURE = np.stack(
    [*np.meshgrid(np.arange(120) * 2, np.arange(200), indexing="xy"), np.full((200, 120), 33)], axis=-1
).astype(np.uint8)
#: A face to the right of the middle and above it: x from 70 to 100, y from 40 to 80.
POINTS = np.stack([70 + 30 * np.linspace(0, 1, 68), 40 + 40 * np.linspace(0, 1, 68) ** 2], axis=-1)


class OffCentre:
    """Sees the face above, or one that is chosen; keeps which box it was asked for the points of."""

    def __init__(self, *, faces: int = 1, blind: bool = False) -> None:
        boxes = [[70.0, 40, 100, 80], [5.0, 110, 25, 130]]
        self.boxes = np.array(boxes[:faces], np.float32).reshape(-1, 4)
        self.blind, self.asked = blind, list[Any]()

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        return self.boxes

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        self.asked.append(box.tolist())
        assert frame.shape == PICTURE.shape
        return np.full((68, 2), np.nan) if self.blind else POINTS


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(inputs, "turns_to_upright", lambda picture: 0)
    cv2.imwrite(str(tmp_path / "me.png"), PICTURE[..., ::-1])
    return tmp_path / "me.png"


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch) -> Spies:
    return Spies(monkeypatch)


def test_a_whole_picture_has_its_box_and_size_in_its_own_pixels(picture: Path, spies: Spies) -> None:
    for name in ("pose", "blink"):
        spies.watch(EXTRACTORS[name], "run", label=name)
    portrait, face = read_portrait(picture, size=50, backend=OffCentre(), crop="paper")
    np.testing.assert_array_equal(portrait.frame, resize(PICTURE, 50, 50))
    np.testing.assert_allclose(portrait.bbox, [70, 40, 100, 80])
    assert face and portrait.hw == (200, 120) and (portrait.turned, portrait.faces) == (0, 1)
    for name in ("pose", "blink"):  # points in pixels of the frame, and the frame itself
        call = spies.one(name)
        given = next(value for value in call.values() if isinstance(value, dict))
        np.testing.assert_allclose(given["landmarks"][0], (POINTS + 0.5) * [50 / 120, 50 / 200] - 0.5, atol=1e-4)
        np.testing.assert_array_equal(given["frames"][0], portrait.frame)
        assert call["size"] == 50 and call["n_frames"] == 1
        np.testing.assert_allclose(getattr(portrait, name), EXTRACTORS[name]().run(given, size=50, n_frames=1)[name][0])


def test_a_cropped_picture_is_that_window_and_its_box_is_in_it(picture: Path, spies: Spies) -> None:
    spies.watch(inputs, "face_window", returns=(60, 30, 52, 60))
    portrait, _ = read_portrait(picture, size=40, backend=OffCentre())
    call = spies.one("face_window")
    np.testing.assert_array_equal(call["points"], POINTS[None])
    assert (call["width"], call["height"]) == (120, 200)
    np.testing.assert_array_equal(portrait.frame, resize(PICTURE[30:90, 60:112], 40, 40))
    np.testing.assert_allclose(portrait.bbox, [10, 10, 40, 50])
    assert portrait.hw == (60, 52)  # height, width


def test_a_chosen_face_is_the_one_that_is_measured(picture: Path) -> None:
    for choice, box in (("left", [5, 110, 25, 130]), ("2", [70, 40, 100, 80]), (None, [70, 40, 100, 80])):
        backend = OffCentre(faces=2)
        portrait, _ = read_portrait(picture, size=40, backend=backend, person=choice)
        assert backend.asked == [box] and portrait.faces == 2
    with pytest.raises(InputError, match=r"me\.png.*Choose one: --face"):
        read_portrait(picture, size=40, backend=OffCentre(faces=2), person="3")


def test_without_a_face_a_frontal_one_with_open_eyes_is_in_the_middle(picture: Path) -> None:
    """The numbers of the released code."""
    portrait, face = read_portrait(picture, size=200, backend=OffCentre(faces=0), crop="paper")
    np.testing.assert_allclose(portrait.bbox, [50, 50, 150, 160])
    np.testing.assert_allclose(portrait.pose, [0, 0, 0, 4.79e-4, 56.5, 64.9, -66.67], rtol=1e-5)
    np.testing.assert_allclose(portrait.blink, [0.3, 0.3])
    assert not face and portrait.hw is None
    np.testing.assert_array_equal(portrait.frame, resize(PICTURE, 200, 200))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_picture_is_turned_counter_clockwise(
    turns: int, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(picture), np.rot90(PICTURE, -turns)[..., ::-1])
    monkeypatch.setattr(inputs, "turns_to_upright", lambda picture: turns)
    portrait, _ = read_portrait(picture, size=50, backend=OffCentre(), crop="paper")
    np.testing.assert_array_equal(portrait.frame, resize(PICTURE, 50, 50))
    assert portrait.turned == 90 * turns
    (note,) = portrait_notes(picture, Portrait(**(vars(portrait) | {"flags": ""})), chosen=False)
    assert f"turned by {90 * turns} degrees counter-clockwise" in note


def test_notes_are_on_what_was_not_chosen_and_what_is_doubtful() -> None:
    portrait = Portrait(PICTURE, *(np.zeros(2),) * 3, faces=3, flags="the mouth is covered")  # type: ignore[arg-type]
    both = portrait_notes("a.png", portrait, chosen=False)
    assert ["3 faces" in note for note in both] == [True, False] and "the mouth is covered" in both[1]
    assert portrait_notes("a.png", portrait, chosen=True) == both[1:]
    assert portrait_notes("a.png", Portrait(PICTURE, *(np.zeros(2),) * 3), chosen=False) == []  # type: ignore[arg-type]


def _ramp(path: Path, samples: int) -> np.ndarray:
    sound = (np.arange(samples) % 30_000).astype(np.int16)
    write_wav(path, sound)
    return sound


@pytest.mark.parametrize(
    ("samples", "frames"), [(5 * 640 - 1, None), (5 * 640, 5), (6 * 640 - 1, 5), (6 * 640, 6), (4 * 640, None)]
)
def test_sound_is_of_whole_frames_and_of_five_at_least(samples: int, frames: int | None, tmp_path: Path) -> None:
    sound = _ramp(tmp_path / "a.wav", samples)
    if frames is None:
        with pytest.raises(InputError, match=r"At least 0\.2 s are needed"):
            read_sound(tmp_path / "a.wav", max_seconds=None)
        return
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav", max_seconds=None), sound[: frames * 640])


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.2, 5), (0.4, 10), (0.43, 10), (0.44, 11), (0.56, 14), (1.16, 29), (9, 40)]
)
def test_the_first_seconds_are_so_many_whole_frames(seconds: float, frames: int, tmp_path: Path) -> None:
    """1.16 s are 29 frames, although 1.16 · 25 is a little less in floating point."""
    sound = _ramp(tmp_path / "a.wav", 40 * 640)
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav", max_seconds=seconds), sound[: frames * 640])


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_seconds_are_refused(seconds: float, tmp_path: Path) -> None:
    _ramp(tmp_path / "a.wav", 6400)
    with pytest.raises(InputError, match="must be above 0"):
        read_sound(tmp_path / "a.wav", max_seconds=seconds)


def test_features_are_of_the_sound_that_is_kept(tmp_path: Path, spies: Spies) -> None:
    spies.watch(EXTRACTORS["logmel"], "run")
    spies.watch(inputs, "decode_sound")
    notes: list[str] = []
    _ramp(tmp_path / "a.wav", 40 * 640)
    sound, features = read_speech(tmp_path / "a.wav", encoder="logmel", max_seconds=0.5, track=1, notes=notes)
    call = spies.one("run")
    given = next(value for value in call.values() if isinstance(value, dict))
    assert given["audio"] is sound and call["n_frames"] == len(features) == 12
    decoded = spies.one("decode_sound")
    assert (decoded["track"], decoded["stop"], decoded["used"]) == (1, 1.5, 0.5)


def test_a_driving_video_is_read_as_in_preparation_and_played_back_and_forth(spies: Spies) -> None:
    tracks = {"pose": np.arange(28.0).reshape(4, 7), "blink": 100 + np.arange(8.0).reshape(4, 2)}
    spies.watch(inputs, "clip_arrays", returns=lambda *_, **__: tracks)
    backend, notes = OffCentre(), list[str]()
    order = [0, 1, 2, 3, 2, 1, 0, 1]
    for person, expected in ((None, "speaking"), ("left", "left")):
        spies.calls.clear()
        pose, blink = read_drive(
            Path("d.mp4"),
            size=48,
            backend=backend,
            n_frames=8,
            person=person,
            notes=notes,
            pose="pose",
            blink="blink-one-pair",  # type: ignore[arg-type]
        )
        np.testing.assert_array_equal(pose, tracks["pose"][order])
        np.testing.assert_array_equal(blink, tracks["blink"][order])
        call = spies.one("clip_arrays")
        settings = call["settings"]
        assert (call["path"], call["backend"] is backend, call["notes"] is notes) == (Path("d.mp4"), True, True)
        assert (settings.size, settings.max_frames, settings.person, settings.min_frames) == (48, 8, expected, 1)
        assert settings.extract == ("pose", "blink-one-pair")
        assert (settings.pose, settings.blink) == ("landmarks", "one-pair")
        assert (settings.require_audio, settings.max_yaw, settings.max_mouth_covered) == (False, 180, 1)
        assert (settings.min_face_height, settings.min_face_in_frame) == (0, 0)


@pytest.mark.parametrize("name", ["d.mp4", "d.MOV"])
def test_a_video_to_dub_is_read_for_as_many_frames_as_there_is_speech(name: str, spies: Spies) -> None:
    arrays = {"frames": np.zeros((4, 8, 8, 3), np.uint8), "landmarks": np.ones((4, 68, 2))}
    spies.watch(dit_head_files, "clip_arrays", returns=lambda *_, **__: arrays)
    given: dict[str, Any] = {"size": 48, "backend": OffCentre(), "max_frames": 9, "person": "right"}
    frames, points = dit_head_files.read_face(Path(name), **given)
    settings = spies.one("clip_arrays")["settings"]
    assert (settings.size, settings.max_frames, settings.person) == (48, 9, "right")
    assert frames is arrays["frames"] and points is arrays["landmarks"]


def test_a_portrait_to_dub_is_one_frame_with_its_points(picture: Path, spies: Spies) -> None:
    spies.watch(dit_head_files, "face_window", returns=(60, 30, 52, 60))
    notes: list[str] = []
    frames, points = dit_head_files.read_face(
        picture,
        size=40,
        backend=OffCentre(faces=2),
        max_frames=9,
        notes=notes,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(frames, resize(PICTURE[30:90, 60:112], 40, 40)[None])
    np.testing.assert_allclose(points[0], (POINTS - [60, 30] + 0.5) * [40 / 52, 40 / 60] - 0.5, atol=1e-4)
    assert any("shows 2 faces" in note for note in notes)
    call = spies.one("face_window")
    assert (call["width"], call["height"]) == (120, 200)


def test_a_users_video_is_processed_as_a_clip_and_what_it_lacks_is_extracted_from_its_frames(spies: Spies) -> None:
    stored = {"frames": np.full((4, 32, 32, 3), 5, np.uint8), "landmarks": np.ones((4, 68, 2)), "pose": np.ones((4, 7))}

    def process(source: Any, settings: Any, backend: Any, sink: Any) -> dict[str, Any]:
        for field, rows in stored.items():
            sink.append(field, rows)
        return {"face_flags": "the mouth is covered"}

    spies.watch(inputs, "process_clip", returns=process)
    for name in ("pose", "blink"):
        spies.watch(EXTRACTORS[name], "run", returns={name: f"{name} of its frames"}, label=name)
    settings, backend, notes = (
        own_video(size=32, n_frames=4, person=None, extract=("pose", "blink")),
        OffCentre(),
        ["n"],
    )
    arrays = clip_arrays(Path("d/x.mp4"), settings, backend=backend, notes=notes)  # type: ignore[arg-type]
    assert not spies.of("pose") and arrays.pop("blink") == "blink of its frames"
    assert arrays.keys() == stored.keys() and all(np.array_equal(arrays[field], rows) for field, rows in stored.items())
    call = spies.one("blink")
    given = next(value for value in call.values() if isinstance(value, dict))
    assert np.array_equal(given["frames"], stored["frames"]) and (call["size"], call["n_frames"]) == (32, 4)
    call = spies.one("process_clip")
    source = call["source"]
    assert (source.id, source.video, call["settings"], call["backend"]) == ("x", Path("d/x.mp4"), settings, backend)
    assert notes == ["n", "d/x.mp4: the mouth is covered; the result may be poor"]


@pytest.mark.parametrize(("columns", "length", "fits"), [(7, 10, True), (6, 10, True), (5, 10, False), (7, 9, False)])
def test_tracks_have_six_columns_and_as_many_frames_as_the_speech(
    columns: int, length: int, fits: bool, tmp_path: Path
) -> None:
    """Poses of six columns are those of models without the last one."""
    pose, blink = np.arange(length * columns * 1.0).reshape(length, columns), np.arange(24.0).reshape(12, 2)
    for name, given in (("a", (pose, blink)), ("b", (np.ones((12, columns)), blink[:length]))):
        np.savez(tmp_path / f"{name}.npz", pose=given[0], blink=given[1])
        if fits:
            read = read_tracks(tmp_path / f"{name}.npz", n_frames=10)
            assert all(np.array_equal(ours, theirs[:10]) for ours, theirs in zip(read, given, strict=True))
        else:
            with pytest.raises(InputError, match=r"Needed: \(10, 6 or 7\) and \(10, 2\)"):
                read_tracks(tmp_path / f"{name}.npz", n_frames=10)
