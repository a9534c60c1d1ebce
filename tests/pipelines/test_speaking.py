"""Of two faces the one that speaks longest is kept, whenever it starts to speak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.faces.speaking import speaking_frames
from dawn_bench.pipelines.faces.tracking import Track, Tracker
from dawn_bench.pipelines.media.video import read_frames, resize, write_video
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded


def face(gaps: np.ndarray, *, tremble: float = 0.2, size: float = 100.0) -> np.ndarray:
    """Landmarks (T,68,2) of a face `size` px high with lip gaps `gaps` (T,), relative to that height."""
    points = np.random.default_rng(0).normal(0, tremble, (len(gaps), 68, 2))
    points[:, 8, 1] += size
    points[:, [67, 66, 65], 1] += size * gaps[:, None]
    return points


SPEECH = 0.05 + 0.05 * np.sin(np.arange(100) * 0.9)


def test_speech_is_sustained_lip_motion() -> None:
    assert speaking_frames(face(SPEECH)) == 90
    assert speaking_frames(face(SPEECH, size=30)) == 90
    assert speaking_frames(face(np.full(100, 0.1))) == 0  # open, but still
    assert speaking_frames(face(np.linspace(0, 0.1, 100))) == 0  # a slow smile
    assert speaking_frames(face(SPEECH[:8])) == 0
    half = np.where(np.arange(100) < 50, SPEECH, 0.03)
    assert 40 <= speaking_frames(face(half)) <= 52


def chosen(*faces: np.ndarray, starts: tuple[int, ...] = (0, 0, 0)) -> int:
    tracker = Tracker(pick_backend("dlib"), max_gap=5)
    for number, points in enumerate(faces):
        track = Track(number=number, points={starts[number] + t: p for t, p in enumerate(points)})
        tracker.tracks.append(track)
    return tracker.choose().number


def test_the_speaker_is_chosen_among_continuously_visible_faces() -> None:
    silent, speaker = face(np.full(100, 0.02)), face(SPEECH)
    assert chosen(silent, speaker) == 1 and chosen(speaker, silent) == 0
    assert chosen(silent, speaker[:95]) == 1  # a few frames missed
    assert chosen(silent, speaker[:60]) == 0  # away for too long to be of use
    assert chosen(silent, 2 * silent) == 1  # no one speaks: the larger
    assert chosen(silent, 2 * silent[:96]) == 0  # no one speaks: the longer track
    with pytest.raises(ItemError, match="no_face"):
        chosen()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side for 3 s: the left one speaks for 0.8 s and freezes, then the right one speaks."""
    folder = tmp_path_factory.mktemp("pair")
    write_embedded(folder / "e", speakers=2, clips=2, seconds=3, size=160)
    left, right = (read_frames(path, size=160)[:72] for path in sorted((folder / "e" / "VideoFlash").iterdir()))
    left[20:], right[:20] = left[20], right[20]
    write_video(folder / "pair.mp4", np.concatenate([left, right], axis=2), lossless=True)
    return folder / "pair.mp4"


@pytest.mark.parametrize("frames_ahead", [20, 1000])
def test_the_face_that_speaks_later_but_longer_is_kept(
    pair: Path, frames_ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOOKAHEAD_BYTES", frames_ahead * 160 * 320 * 3)
    sink = MemorySink()
    settings = PrepareSettings(size=64, extract=(), require_audio=False)
    meta = process_clip(Source("c", "s", "train", pair), settings, pick_backend("dlib"), sink)
    assert meta["looks"] == (2 if frames_ahead == 20 else 1)
    assert meta["crop_x"] + meta["crop_width"] / 2 > 160 and meta["faces_max"] == 2
    speaking = [int(count) for count in meta["track_speaking"].split()]
    assert meta["track_frames"] == "72 72" and speaking[meta["track"]] > 2 * speaking[1 - meta["track"]]
    frames = np.concatenate(sink.parts["frames"])
    x, y, side = meta["crop_x"], meta["crop_y"], meta["crop_width"]
    expected = np.stack([resize(f[y : y + side, x : x + side], 64, 64) for f in read_frames(pair)])
    assert frames.shape == (72, 64, 64, 3) and np.abs(frames.astype(int) - expected).mean() < 2
    (landmarks,) = sink.parts["landmarks"]
    assert landmarks.min() > 0 and landmarks.max() < 64
