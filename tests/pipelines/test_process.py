"""One clip from file to arrays: known truth of the embedded dataset, crops, quarantine, real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media.asymmetric import CORNER, set_in_scene

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import FaceBackend, pick_backend
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.process import face_window, outside_share, process_clip, split_at_cuts, to_window
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded


@pytest.fixture(scope="module")
def backend() -> FaceBackend:
    return pick_backend("dlib")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two talking heads, off the middle of wide pictures in BT.709 that begin after their stereo sound."""
    root = write_embedded(tmp_path_factory.mktemp("embedded"), speakers=2, clips=2, seconds=4, size=256)
    for video in (root / "VideoFlash").glob("*.mp4"):
        set_in_scene(video)
    return root


def run(video: Path, backend: FaceBackend, **settings: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    sink = MemorySink()
    source = Source(id=video.stem, speaker="s", split="train", video=video)
    meta = process_clip(source, PrepareSettings(**settings), backend, sink)
    return sink.arrays, meta


def closings(ear: np.ndarray) -> np.ndarray:
    """Frames at which an eye shuts: a drop of more than 0.072 a frame, the first of four frames."""
    falls = np.flatnonzero(-np.diff(ear) > 0.072)
    return falls[np.diff(falls, prepend=-9) >= 4] if len(falls) else falls


def test_known_truth(embedded: Path, backend: FaceBackend) -> None:
    for video in sorted((embedded / "VideoFlash").glob("*.mp4")):
        truth = np.load(embedded / "truth" / f"{video.stem}.npz")
        arrays, meta = run(video, backend, size=128)
        frames, pose = arrays["frames"], arrays["pose"]
        assert frames.shape == (100, 128, 128, 3) and frames.dtype == np.uint8
        assert arrays["audio"].shape == (64_000,) and arrays["audio"].dtype == np.int16
        assert arrays["landmarks"].shape == (100, 68, 2) and arrays["landmarks"].dtype == np.float32
        assert arrays["bbox"].shape == (100, 4) and arrays["bbox"].dtype == np.float32
        assert arrays["valid"].dtype == bool and arrays["valid"].all()
        assert pose.shape == (100, 7) and arrays["blink"].shape == (100, 2)
        assert arrays["logmel"].shape == (100, 80) and arrays["logmel"].dtype == np.float16
        assert (meta["n_frames"], meta["face_backend"], meta["cuts"], meta["silent"]) == (100, "dlib", 0, False)

        error = (pose[:, :3] - truth["pose"]).std(axis=0)
        assert error[0] < 1.5 and error[1] < 2.5 and error[2] < 1.5
        for axis in range(3):
            assert np.corrcoef(pose[:, axis], truth["pose"][:, axis])[0, 1] > 0.5
        window = meta["crop_x"], meta["crop_y"], meta["crop_width"], meta["crop_height"]
        expected = to_window(truth["landmarks"] + CORNER, window, 128)
        off = np.linalg.norm(arrays["landmarks"] - expected, axis=2).mean()
        assert off * meta["crop_width"] / 128 < 0.025 * float(truth["face_width"])
        opening = np.linalg.norm(arrays["landmarks"][:, 62] - arrays["landmarks"][:, 66], axis=1)
        assert np.corrcoef(opening, truth["opening"])[0, 1] > 0.95
        closings_at = closings(arrays["blink"].mean(axis=1))
        assert len(closings_at) == len(truth["blink_frames"])
        assert all(np.abs(truth["blink_frames"] - k).min() <= 4 for k in closings_at)
        assert (arrays["bbox"][:, :2] >= 0).all() and (arrays["bbox"][:, 2:] <= 127).all()
        share = (arrays["bbox"][:, 2:] - arrays["bbox"][:, :2]).max(axis=1) / 128
        assert 0.45 < np.median(share) < 0.7


def test_sound_and_picture_keep_step(embedded: Path, backend: FaceBackend) -> None:
    video = next((embedded / "VideoFlash").glob("*.mp4"))
    truth = np.load(embedded / "truth" / f"{video.stem}.npz")
    sound = run(video, backend, extract=())[0]["audio"].astype(float).reshape(100, 640)
    level = np.sqrt((sound**2).mean(axis=1))
    lags = [np.corrcoef(level[5:-5], truth["opening"][5 + lag : 95 + lag])[0, 1] for lag in range(-4, 5)]
    assert np.argmax(lags) == 4


def test_equal_runs_give_equal_bytes(embedded: Path, backend: FaceBackend) -> None:
    video = next((embedded / "VideoFlash").glob("*.mp4"))
    first, _ = run(video, backend, max_frames=30)
    run(sorted((embedded / "VideoFlash").glob("*.mp4"))[-1], backend, max_frames=12)
    second, _ = run(video, backend, max_frames=30)
    assert len(first["frames"]) == 30 and len(first["audio"]) == 30 * 640
    assert all(np.array_equal(first[field], second[field]) for field in first)


@pytest.mark.parametrize("crop", ["paper", "none"])
def test_plain_crops(embedded: Path, backend: FaceBackend, tmp_path: Path, crop: str) -> None:
    video = next((embedded / "VideoFlash").glob("*.mp4"))
    frames = read_frames(video)[:12, CORNER[1] : CORNER[1] + 256, CORNER[0] : CORNER[0] + 256]
    wide = np.concatenate([np.zeros_like(frames[:, :, :64]), frames, np.zeros_like(frames[:, :, :64])], axis=2)
    write_video(tmp_path / "wide.mp4", wide, lossless=True)
    settings = {"crop": crop, "size": 128, "require_audio": False, "extract": ()}
    arrays, meta = run(tmp_path / "wide.mp4", backend, **settings)
    part = wide if crop == "paper" else frames
    assert (meta["crop_width"], meta["crop_height"]) == (part.shape[2], 256)
    assert np.abs(arrays["frames"][3].mean() - part[3].mean()) < 1
    assert (arrays["frames"][3][:, :14] == 0).all() == (crop == "paper")
    assert not meta["has_audio"] and meta["silent"] and not arrays["audio"].any()


def test_frames_stay_within_their_allowance(
    embedded: Path, backend: FaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = next((embedded / "VideoFlash").glob("*.mp4"))
    monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 20 * 256 * 256 * 3)
    sink = MemorySink()
    process_clip(Source("c", "s", "train", video), PrepareSettings(max_frames=90, extract=()), backend, sink)
    pieces = [len(rows) for rows in sink.parts["frames"]]
    assert sum(pieces) == 90 and max(pieces) <= 64
    assert sink.arrays["landmarks"].shape == (90, 68, 2)


def test_a_stretch_and_a_crop_of_a_file(embedded: Path, backend: FaceBackend) -> None:
    video = next((embedded / "VideoFlash").glob("*.mp4"))
    whole = read_frames(video)
    settings = PrepareSettings(crop="paper", size=200, extract=())
    sink = MemorySink()
    source = Source("c", "s", "train", video, start=1.0, stop=2.0, crop=(20, 30, 200, 200))
    meta = process_clip(source, settings, backend, sink)
    assert meta["n_frames"] == 25
    assert np.array_equal(sink.arrays["frames"], whole[25:50, 30:230, 20:220])
    with pytest.raises(ItemError, match="bad_crop"):
        process_clip(Source("c", "s", "train", video, crop=(100, 100, 200, 200)), settings, backend, MemorySink())


def test_quarantine(embedded: Path, backend: FaceBackend, tmp_path: Path) -> None:
    face = read_frames(next((embedded / "VideoFlash").glob("*.mp4")))[:20]
    blank = np.full_like(face, 90)
    sound = np.zeros(20 * 640, np.int16)

    def reason(frames: np.ndarray, audio: np.ndarray | None = sound, **settings: Any) -> str:
        write_video(tmp_path / "clip.mp4", frames, audio=audio)
        with pytest.raises(ItemError) as caught:
            run(tmp_path / "clip.mp4", backend, **settings)
        assert caught.value.detail
        return caught.value.reason

    assert reason(blank) == "no_face"
    assert reason(np.concatenate([face[:10], blank[:10]])) == "no_face"
    assert reason(face, audio=None) == "no_audio"
    assert reason(face[:6]) == "too_short"
    cut = np.concatenate([face[:10], 255 - face[:10, ::-1], face[10:]])
    assert reason(cut, on_cut="quarantine") == "cut"
    assert reason(cut, on_cut="split") == "cut"
    scenes = split_at_cuts(Source("c", "s", "train", tmp_path / "clip.mp4", start=0.08))
    assert [(scene.id, round(scene.start * 25)) for scene in scenes] == [
        ("c@000", 2),
        ("c@001", 10),
        ("c@002", 20),
    ]
    sink = MemorySink()
    assert process_clip(scenes[2], PrepareSettings(on_cut="split", extract=()), backend, sink)["n_frames"] == 10
    assert split_at_cuts(scenes[0]) == scenes[:1]
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ItemError, match="unreadable"):
        run(tmp_path / "clip.mp4", backend)
    known = Source("c", "s", "train", tmp_path / "clip.mp4", problem=("no_duration", "the published file is broken"))
    with pytest.raises(ItemError, match="no_duration"):
        process_clip(known, PrepareSettings(), backend, MemorySink())
    write_video(tmp_path / "silent.mp4", face, audio=sound)
    assert run(tmp_path / "silent.mp4", backend, extract=())[1]["silent"]


def test_the_face_window() -> None:
    face = np.random.default_rng(0).uniform(-30, 30, (68, 2))
    face[:2] = (-30, -30), (30, 30)  # 60 px a side
    still = np.tile(face + np.array([200, 150]), (10, 1, 1))
    x, y, width, height = face_window(still, 640, 360)
    assert width == height == 100
    assert (x, y) == (150, 94)
    assert outside_share(still, (x, y, width, height), 640, 360) == 0
    corner = face_window(still - (180, 130), 640, 360)
    assert corner[:2] == (0, 0)
    swaying = still + np.linspace(-40, 40, 10)[:, None, None] * (1, 0)
    wider = face_window(swaying, 640, 360)
    assert wider[2] > 130 and outside_share(swaying, wider, 640, 360) == 0
    assert outside_share(swaying, (150, 94, 100, 100), 640, 360) > 0.3
    assert face_window(still * 4, 300, 200)[2] == 200


REAL = {
    "1001_DFA_ANG_XX.flv": None,
    "pyfeat_single_face.mp4": None,
    "pyfeat_no_face.mp4": "no_face",
    "pyfeat_noface_face.mov": "no_face",
    "pyfeat_face_noface.mov": "no_face",
    "fer_woman2.mp4": "no_audio",
    "voxceleb2_00473.mp4": None,
    "latentsync_demo1.mp4": None,
}


@pytest.mark.real
@pytest.mark.parametrize(("name", "reason"), REAL.items())
def test_real_clips_end_as_they_should(clips_dir: Path, backend: FaceBackend, name: str, reason: str | None) -> None:
    limit = 100 if reason else 25
    if reason is not None:
        with pytest.raises(ItemError) as caught:
            run(clips_dir / name, backend, max_frames=limit)
        assert caught.value.reason == reason
        return
    arrays, meta = run(clips_dir / name, backend, max_frames=limit)
    assert len(arrays["frames"]) == meta["n_frames"] == 25
    assert meta["face_share"] == 1 and meta["outside_share"] == 0
    assert np.isfinite(arrays["pose"]).all() and np.abs(arrays["pose"][:, :3]).max() < 60
    assert 0.05 < np.median(arrays["blink"]) < 0.6
