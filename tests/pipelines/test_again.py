"""A cached frame once more from its source, at another size: the same picture, place and time, or a reason."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.clip import PIECE_OF, PIECE_START, Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import sha256_file
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.source_frame import source_frame
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded

#: x, y, width, height of the cut-out, in pixels of the source.
WINDOW = 40, 60, 320, 320


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 seconds of fine, moving texture, 512x448 px."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (448, 912, 3), dtype=np.uint8), (0, 0), 1.2)
    noise = cv2.normalize(noise, np.empty_like(noise), 0, 255, cv2.NORM_MINMAX)
    path = tmp_path_factory.mktemp("source") / "talk.mp4"
    write_video(path, (noise[:, k : k + 512] for k in range(400)), crf=10)
    return path


def cached(video: Path, *, first: int = 0, frames: int = 3, size: int = 64, **meta: Any) -> Clip:
    """A clip as a cache has it: frames from `first` on, cut by `WINDOW` and reduced."""
    x, y, w, h = WINDOW
    pictures = read_frames(video, start=first / 25, max_frames=frames)[:, y : y + h, x : x + w]
    small = np.stack([cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in pictures])
    facts = {"source_root": str(video.parent), "source": video.name, "source_sha256": sha256_file(video)}
    facts |= dict(zip(("crop_x", "crop_y", "crop_width", "crop_height"), WINDOW, strict=True))
    return Clip("talk", "s", "test", frames, {"frames": small}, meta=facts | meta)


def sharpness(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("first", [0, 30, 300])  # the last is past the point from which a file is sought in
def test_a_piece_has_the_picture_of_its_own_first_frame(video: Path, first: int) -> None:
    clip = cached(video, first=first, **{PIECE_OF: "talk", PIECE_START: first})
    x, y, w, h = WINDOW
    true = read_frames(video, start=first / 25, max_frames=2)[:, y : y + h, x : x + w]
    np.testing.assert_array_equal(source_frame(clip, size=320), true[0])
    np.testing.assert_array_equal(source_frame(clip, 1, size=320), true[1])


def test_a_stretch_of_a_file_and_the_datasets_own_crop_count(video: Path) -> None:
    clip = cached(video, first=35, start=1.0, stop=4.0, **{PIECE_OF: "talk", PIECE_START: 10})
    true = source_frame(clip, size=320)
    inner = {"crop_x": WINDOW[0] - 30, "crop_y": WINDOW[1] - 50, "dataset_crop": "30 50 400 380"}
    again = cached(video, first=35, start=1.0, stop=4.0, **{PIECE_OF: "talk", PIECE_START: 10}, **inner)
    np.testing.assert_array_equal(source_frame(again, size=320), true)


def test_it_is_sharp_and_lies_where_the_cached_frame_does(video: Path) -> None:
    clip = cached(video, size=64)
    small = clip["frames"][0]
    large = source_frame(clip, size=256)
    x, y, w, h = WINDOW
    true = cv2.resize(
        read_frames(video, max_frames=1)[0, y : y + h, x : x + w], (256, 256), interpolation=cv2.INTER_AREA
    )
    blurred = cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert 0.9 < sharpness(large) / sharpness(true) < 1.1 and sharpness(blurred) < 0.2 * sharpness(true)
    reduced = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    (dx, dy), _ = cv2.phaseCorrelate(*(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(float) for p in (small, reduced)))
    assert abs(dx) < 0.05 and abs(dy) < 0.05


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"source": "gone.mp4"}, "is not there"),
        ({"source_root": "/nowhere"}, "is not there"),
        ({"source_root": None}, "does not name"),
        ({"source_sha256": ""}, "does not name"),
        ({"source_sha256": "0" * 64}, "has changed since"),
        ({"crop_x": float("nan")}, "does not state its crop"),
        ({"crop_x": 48}, "another picture"),
        ({"crop_x": 400}, "no picture where"),
        ({"start": 2.0}, "another picture"),
        ({"start": 99.0}, "no picture where"),
        ({"dataset_crop": "100 0 320 320"}, "no picture where"),
    ],
)
def test_what_is_not_the_caches_frame_is_refused_with_the_reason(
    video: Path, change: Mapping[str, Any], why: str
) -> None:
    with pytest.raises(ItemError, match=why) as caught:
        source_frame(cached(video, **change), size=320)
    assert caught.value.reason == "no_source"


def test_a_damaged_source_is_refused(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(video.read_bytes()[:4000])
    clip = cached(video, source_root=str(tmp_path), source_sha256=sha256_file(path))
    with pytest.raises(ItemError, match="cannot be read"):
        source_frame(clip, size=320)


def test_a_prepared_cache_knows_its_sources(tmp_path: Path) -> None:
    """Raw HDTF: a stretch of a longer video, the published crop of it, and the crop to the face in that."""
    write_embedded(tmp_path / "made", speakers=1, clips=1, seconds=2, size=256)
    face = read_frames(next((tmp_path / "made" / "VideoFlash").glob("*.mp4")))
    wide = np.full((75, 320, 400, 3), 90, np.uint8)
    wide[25:, 40:296, 100:356] = face[:50]
    root = tmp_path / "hdtf"
    (root / "raw").mkdir(parents=True)
    write_video(root / "raw" / "WDA_Talk.mp4", wide, audio=np.full(48_000, 900, np.int16), crf=12)
    lists = {
        "video_url": "Talk.mp4 https://www.youtube.com/watch?v=abcdefghijk",
        "annotion_time": "Talk.mp4 00:01-00:03",
        "crop_wh": "Talk_0.mp4 100 256 40 256",
        "resolution": "Talk.mp4 320",
    }
    for name, line in lists.items():
        (root / f"WDA_{name}.txt").write_text(f"{line}\n")
    prepare(root, tmp_path / "cache", PrepareSettings(dataset="hdtf", size=64, crop="face", face="dlib", extract=()))
    (clip,) = Cache(tmp_path / "cache").clips()
    assert (clip.id, clip.meta["dataset_crop"], clip.meta["start"]) == ("WDA_Talk_000", "100 40 256 256", 1.0)
    side = int(clip.meta["crop_width"])
    x, y = 100 + int(clip.meta["crop_x"]), 40 + int(clip.meta["crop_y"])
    assert side < 256
    true = read_frames(root / "raw" / "WDA_Talk.mp4")[25 + 7, y : y + side, x : x + side]
    np.testing.assert_array_equal(source_frame(clip, 7, size=side), true)
    shutil.rmtree(root / "raw")
    with pytest.raises(ItemError, match="is not there"):
        source_frame(clip, size=side)
