"""One clip in which every mix-up shows, from its file to the arrays of the cache: frame, place, side, channel, time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media.asymmetric import (
    BT601,
    BT709,
    DRAWN,
    HEIGHT,
    PATCHES,
    SEEN,
    STRIP,
    WIDTH,
    AsymmetricClip,
    MarkedFaces,
    angles_at,
    expected_sound,
    heard,
    picture,
    skin_of,
    speaker_at,
    turns_once,
    write_asymmetric,
)
from media.colour import FULL, LIMITED
from media.marks import number_of

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import EXTRACTORS, Extractor
from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.pipelines.media.video import iter_pictures, read_frames
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.preparation.source_frame import source_frame
from dawn_bench.pipelines.settings import PrepareSettings

SIZE = 64
#: A stretch of the clip and an area of its pictures: from frame 1 on, without the edges but with the strip.
STRETCH: dict[str, Any] = {"start": 0.04, "stop": 1.4, "crop": (8, 10, 192, 134)}
#: Bytes of a picture as decoded.
PICTURE_BYTES = WIDTH * HEIGHT * 3 // 2


def run(
    clip: AsymmetricClip, *, gray: bool = True, part: dict[str, Any] | None = None, **settings: Any
) -> tuple[dict[str, np.ndarray], dict[str, Any], MarkedFaces]:
    """The arrays and facts of the clip, or a part of it, and the back end that has seen its pictures."""
    faces = MarkedFaces(takes_gray=gray, origin=(part or {}).get("crop", (0, 0))[:2])
    chosen, sink = PrepareSettings.model_validate({"size": SIZE, **DRAWN, **settings}), MemorySink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "turns_to_upright", turns_once)
        meta = process_clip(Source("talk", "s", "test", clip.path, **(part or {})), chosen, faces, sink)
    return sink.arrays, meta, faces


def check(
    clip: AsymmetricClip, arrays: dict[str, np.ndarray], meta: dict[str, Any], *, first: int = 0, corner: tuple = (0, 0)
) -> None:
    """Every array of the frames from `first` on, against what was drawn and played; `corner`: of the source's crop."""
    count = len(arrays["frames"])
    x, y, width, height = (meta[f"crop_{name}"] for name in ("x", "y", "width", "height"))
    x, y = x + corner[0], y + corner[1]
    scale = SIZE / width, SIZE / height
    seen = first + SEEN  # detection is due in the fifth frame from the first
    numbers = np.arange(first, first + count)
    points = np.stack([speaker_at(number / 25) for number in np.maximum(numbers, seen)])
    points = (points - (x, y) + 0.5) * scale - 0.5
    np.testing.assert_allclose(arrays["landmarks"], points, atol=0.01)
    box = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    np.testing.assert_allclose(arrays["bbox"], box, atol=0.01)
    np.testing.assert_array_equal(arrays["valid"], numbers >= seen)
    for k in range(count):
        drawn = clip.pictures[first + k, y : y + height, x : x + width]
        small = cv2.resize(drawn, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(arrays["frames"][k] - small).mean() < 2.5, k
        if first + k >= seen:
            across, down = (round(float(v)) for v in points[k, 30])
            np.testing.assert_allclose(
                arrays["frames"][k, down - 1 : down + 2, across - 1 : across + 2].mean(axis=(0, 1)),
                skin_of(2 * (first + k)),
                atol=2,
            )
        assert heard(arrays["audio"][640 * k : 640 * (k + 1)]) == pytest.approx(expected_sound(first + k), rel=0.01)
    assert len(arrays["audio"]) == 640 * count == 640 * meta["n_frames"]


# --- colours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [FULL, LIMITED], ids=["full", "limited"])
@pytest.mark.parametrize("matrix", [BT709, BT601], ids=["bt709", "bt601"])
@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_colours_are_those_of_the_stated_matrix_and_range(tmp_path: Path, codec: str, matrix: int, span: int) -> None:
    pictures = [picture(k) for k in range(2)]
    path = write_asymmetric(tmp_path / "c.mkv", pictures, None, matrix=matrix, span=span, codec=codec)
    shown = next(iter_pictures(path))
    views = {
        "whole": (shown.rgb(), 1, 1),
        "cut": (shown.cut((0, 0, WIDTH, HEIGHT), 72), 72 / WIDTH, 72 / HEIGHT),  # in the stored colours
        "odd": (np.pad(shown.cut((1, 1, 143, 143), 143), ((1, 0), (1, 0), (0, 0))), 1, 1),
    }
    for name, (view, across, down) in views.items():
        for (x, y), colour in PATCHES.items():
            if name != "odd" or x < 140:
                where = view[round(y * down), round(x * across)]
                np.testing.assert_allclose(where, colour, atol=3, err_msg=f"{name} at {x}, {y}")


# --- one clip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("crop", ["face", "paper", "none"])
def test_every_array_is_that_of_its_frame(asymmetric: AsymmetricClip, crop: str, gray: bool) -> None:
    arrays, meta, faces = run(asymmetric, crop=crop, gray=gray)
    check(asymmetric, arrays, meta)
    window = [meta[f"crop_{name}"] for name in ("x", "y", "width", "height")]
    assert window == {"face": [86, 22, 98, 98], "paper": [0, 0, WIDTH, HEIGHT], "none": [32, 0, HEIGHT, HEIGHT]}[crop]
    assert meta["crop"] == crop and not any(number % 2 for number in faces.numbers)
    if crop == "paper":
        assert [number_of(frame[-STRIP // 3 :]) for frame in arrays["frames"]] == list(range(0, 80, 2))


def test_the_fields_of_the_face_have_its_sides_and_signs(asymmetric: AsymmetricClip) -> None:
    arrays, _, _ = run(asymmetric)
    angles = np.array([angles_at(k / 25) for k in range(40)])[SEEN:]
    pose, blink = arrays["pose"][SEEN:], arrays["blink"]
    assert (np.diff(pose[:, [0, 2]], axis=0) > 0).all() and pose[-1, 1] - pose[0, 1] > 5
    for axis, near in enumerate((3, 5, 5)):
        np.testing.assert_allclose(pose[:, axis], angles[:, axis], atol=near)
    for side, (corner, up, down, other) in enumerate(
        (((42), (43, 44), (47, 46), (45)), ((36), (37, 38), (41, 40), (39)))
    ):
        points = asymmetric.landmarks
        opened = [np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in zip(up, down, strict=True)]
        expected = sum(opened) / 2 / np.linalg.norm(points[:, corner] - points[:, other], axis=1)
        np.testing.assert_allclose(blink[:, side], expected, rtol=0.01)
    assert blink[-1, 0] < blink[0, 0] and blink[-1, 1] > blink[0, 1]
    mel = arrays["logmel"].astype(float)
    low, high = (int(np.argmax(mel[k])) for k in (39, 0))  # the louder of the two tones
    assert low < high
    inner = mel[1:-1]  # the windows of the first and the last frame reach beyond the sound
    assert (np.diff(inner[:, low]) > 0).all() and (np.diff(inner[:, high]) < 0).all()


def test_masks_cover_the_boxes_of_their_frame(asymmetric: AsymmetricClip) -> None:
    arrays, _, _ = run(asymmetric, crop="paper")
    lips = arrays["landmarks"][:, 48:]
    boxes = {
        "face_mask": arrays["bbox"],
        "lip_mask": np.concatenate([lips.min(axis=1), lips.max(axis=1)], axis=1),
    }
    for name, rows in boxes.items():
        for k, (x0, y0, x1, y1) in enumerate(np.floor(rows + 0.5).astype(int)):
            expected = np.zeros((SIZE, SIZE), bool)
            expected[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
            np.testing.assert_array_equal(arrays[name][k], expected)
        assert expected.sum() and not np.array_equal(expected, expected.T)


def test_the_facts_of_the_clip(asymmetric: AsymmetricClip) -> None:
    meta = run(asymmetric)[1]
    assert {name: meta[name] for name in ("n_frames", "source_fps", "source_width", "source_height", "codec")} == {
        "n_frames": 40, "source_fps": 50, "source_width": WIDTH, "source_height": HEIGHT, "codec": "h264"
    }  # fmt: skip
    assert (meta["faces_max"], meta["tracks"], meta["track"], meta["track_frames"]) == (2, 2, 1, "34 35")
    assert meta["track_speaking"].startswith("0 ") and int(meta["track_speaking"][2:]) > 20
    assert (meta["interpolated"], meta["face_share"], meta["looks"], meta["outside_share"]) == (5, 35 / 40, 1, 0)
    assert (meta["has_audio"], meta["silent"], meta["audio_mix"], meta["audio_tracks"]) == (True, False, "ok", 1)
    assert meta["audio_seconds"] == pytest.approx(1.8, abs=1e-3)  # from the first picture on
    width, height = np.median(np.ptp(asymmetric.landmarks, axis=1), axis=0)
    assert meta["face_px"] == pytest.approx(width, rel=0.01) and meta["face_height"] == pytest.approx(height, rel=0.01)
    assert meta["yaw"] == pytest.approx(np.median([angles_at(k / 25)[0] for k in range(40)]), abs=3)
    assert meta["face_in_frame"] == 1  # at the right of a wide picture


@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("max_frames", [None, 27])
def test_a_part_of_a_file_has_its_own_frames_and_sound(
    asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch, looks: int, max_frames: int | None
) -> None:
    """Seen twice where the crop is chosen after six pictures: the first look is at the bystander or at too little."""
    if looks == 2:
        monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 6 * PICTURE_BYTES)
    arrays, meta, _ = run(asymmetric, part=STRETCH, max_frames=max_frames, crop="face", person="right")
    assert meta["n_frames"] == len(arrays["frames"]) == (max_frames or 34) and meta["looks"] == looks
    check(asymmetric, arrays, meta, first=1, corner=(8, 10))
    assert meta["audio_seconds"] == pytest.approx(1.4 - 0.04, abs=1e-3)  # of the stretch, however much is used


def test_a_clip_that_is_seen_twice_is_that_of_the_second_look(
    asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = run(asymmetric)
    monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 6 * PICTURE_BYTES)
    twice = run(asymmetric)
    assert (once[1]["looks"], twice[1]["looks"]) == (1, 2)
    check(asymmetric, twice[0], twice[1])
    crop = {"looks", "crop_x", "crop_y", "crop_width", "crop_height"}
    assert {k: v for k, v in once[1].items() if k not in crop} == {k: v for k, v in twice[1].items() if k not in crop}
    assert {name: rows.shape for name, rows in once[0].items()} == {name: rows.shape for name, rows in twice[0].items()}
    for name in ("audio", "valid", "logmel"):
        np.testing.assert_array_equal(once[0][name], twice[0][name])


def test_how_many_frames_are_read_and_written_at_once_changes_nothing(
    asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = run(asymmetric, extract=())[0]
    monkeypatch.setattr(process, "_CHUNK", 7)
    monkeypatch.setattr(process, "_BATCH", 3)
    other = run(asymmetric, extract=())[0]
    assert usual.keys() == other.keys() and all(np.array_equal(usual[name], other[name]) for name in usual)


def test_a_clip_of_another_face_than_it_began_with_is_seen_again_whatever_the_crop_holds(
    asymmetric: AsymmetricClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 6 * PICTURE_BYTES)
    monkeypatch.setattr(process, "outside_share", lambda *args: 0.0)
    arrays, meta, _ = run(asymmetric, extract=())
    assert meta["looks"] == 2
    check(asymmetric, arrays, meta)


# --- a cache of several ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cache, dict[str, AsymmetricClip]]:
    """A cache of three such clips of different lengths and colour spaces; its clips are seen twice."""
    from media.asymmetric import asymmetric_clip

    root = tmp_path_factory.mktemp("prepared")
    (root / "videos").mkdir()
    stored = {"a": (40, BT709, FULL), "b": (31, BT601, LIMITED), "c": (23, BT709, LIMITED)}
    clips = {
        name: asymmetric_clip(root / "videos", name=f"{name}.mkv", frames=frames, matrix=matrix, span=span)
        for name, (frames, matrix, span) in stored.items()
    }
    assert "dlib" in FACE_BACKENDS  # the built-in ones are registered first
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FACE_BACKENDS._items, "marked", MarkedFaces)
        patch.setattr(process, "LOOKAHEAD_BYTES", 6 * PICTURE_BYTES)
        settings = PrepareSettings(size=SIZE, face="marked", person="right", frames="lossless", **DRAWN)
        report = prepare(root / "videos", root / "cache", settings)
    assert (report.ok, report.frames, report.quarantined, report.resumed) == (3, 94, {}, 0)
    return root, Cache(root / "cache"), clips


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_record_is_that_of_its_clip(cached: tuple[Path, Cache, dict[str, AsymmetricClip]], name: str) -> None:
    _, cache, clips = cached
    clip = cache[name]
    assert (clip.n_frames, clip.fps, clip.meta["source"]) == (clips[name].n_frames, 25, f"{name}.mkv")
    assert int(clip.meta["looks"]) == 2  # counted once all the same
    arrays = {field: np.asarray(clip[field]) for field in clip.fields}
    check(clips[name], arrays, {**clip.meta, "n_frames": clip.n_frames})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "LOOKAHEAD_BYTES", 6 * PICTURE_BYTES)
        alone = run(clips[name], person="right")[0]
    assert alone.keys() == arrays.keys()
    for field, rows in alone.items():
        np.testing.assert_array_equal(rows, arrays[field], err_msg=field)


def test_a_frame_from_the_source_is_that_frame(cached: tuple[Path, Cache, dict[str, AsymmetricClip]]) -> None:
    _, cache, clips = cached
    clip = cache["b"]
    x, y, side = (int(clip.meta[f"crop_{name}"]) for name in ("x", "y", "width"))
    for k in (0, 4, 22):
        large = source_frame(clip, k, size=side).astype(int)
        assert np.abs(large - clips["b"].pictures[k, y : y + side, x : x + side]).mean() < 2.5
    piece = Clip(
        "b", "s", "t", 5, {"frames": clip["frames"][11:16]}, meta={**clip.meta, "piece_of": "b", "piece_start": 11}
    )
    np.testing.assert_array_equal(source_frame(piece, 3, size=SIZE), source_frame(clip, 14, size=SIZE))


class Told(Extractor):
    """Keeps what it is given in its field: a row a frame."""

    name = "told"
    needs = ("frames", "landmarks", "audio")

    def fingerprint(self) -> str:
        """A constant."""
        return "told-1"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """Colours of the nose, its place, and the loudness of each frame, with `size` and `n_frames`."""
        return {"told": facts_of(arrays, size=size, n_frames=n_frames)}


def facts_of(arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> np.ndarray:
    nose = arrays["landmarks"][:, 30]
    places = nose.round().astype(int)
    colours = np.stack([frame[y, x] for frame, (x, y) in zip(arrays["frames"], places, strict=True)])
    loud = np.abs(arrays["audio"].astype(np.float32)).reshape(n_frames, -1).mean(axis=1)
    return np.column_stack([colours, nose, loud, np.full((n_frames, 2), (size, n_frames))]).astype(np.float32)


def test_an_extractor_added_later_gets_the_arrays_of_each_clip(
    cached: tuple[Path, Cache, dict[str, AsymmetricClip]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache, _ = cached
    assert "pose" in EXTRACTORS
    monkeypatch.setitem(EXTRACTORS._items, "told", Told)
    monkeypatch.setitem(FACE_BACKENDS._items, "marked", MarkedFaces)
    shutil.copytree(root / "cache", tmp_path / "cache")
    settings = PrepareSettings.model_validate({**cache.settings["settings"], "extract": ("told",)})
    assert prepare(root / "videos", tmp_path / "cache", settings).resumed == 3
    for clip in Cache(tmp_path / "cache"):
        arrays = {name: np.asarray(clip[name]) for name in Told.needs}
        np.testing.assert_array_equal(clip["told"], facts_of(arrays, size=SIZE, n_frames=clip.n_frames))


def test_windows_of_the_cache_keep_sound_and_frames_together(
    cached: tuple[Path, Cache, dict[str, AsymmetricClip]],
) -> None:
    _, cache, _ = cached
    fields = ("frames", "audio", "landmarks", "pose", "lip_mask", "logmel")
    windows = cache.windows(frames=4, stride=2, step=3, fields=fields, split=None)
    assert len(windows) == 12 + 9 + 6
    clips = {clip.id: {field: np.asarray(clip[field]) for field in fields} for clip in cache}
    for window in windows:
        clip, start = clips[window["clip"]], window["start"]
        numbers = [start + 2 * k for k in range(4)]
        assert np.array_equal(window["frames"].permute(0, 2, 3, 1), clip["frames"][numbers])
        for field in ("landmarks", "pose", "lip_mask", "logmel"):
            assert np.array_equal(window[field], clip[field][numbers].astype(window[field].numpy().dtype))
        sound = window["audio"].numpy()
        assert len(sound) == 7 * 640
        for k in (0, 6):
            assert heard(sound[640 * k : 640 * (k + 1)]) == pytest.approx(expected_sound(start + k), rel=0.01)


def test_pictures_read_whole_are_the_same(asymmetric: AsymmetricClip) -> None:
    frames = read_frames(asymmetric.path)
    assert frames.shape == asymmetric.pictures.shape
    assert np.abs(frames.astype(int) - asymmetric.pictures).mean() < 1.5
    assert [number_of(frame[-STRIP:]) for frame in frames] == list(range(0, 80, 2))
    half = read_frames(asymmetric.path, fps=12.5, start=0.12, max_frames=9)
    assert [number_of(frame[-STRIP:]) for frame in half] == list(range(7, 43, 4))  # the middles of 80 ms
