"""Frames of a video file that are decoded when they are read are those that are read at once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_bench.errors import ItemError
from dawn_bench.lazy import row_windows
from dawn_bench.pipelines.media import film
from dawn_bench.pipelines.media.film import FileFrames, read_film, still_at_the_end
from dawn_bench.pipelines.media.video import read_frames, write_video

FRAMES = np.random.default_rng(0).integers(0, 256, (300, 16, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    write_video(path, FRAMES, lossless=True)
    return path


def write(path: Path, kind: str, codec: str, rate: int, **options: str) -> None:
    """A film of 11.6 s with a key frame every 12 pictures and B-frames, each picture unlike its neighbours."""
    import av

    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 24, "yuv420p", 12
        if codec != "libvpx":
            stream.codec_context.max_b_frames = 2
        for k in range(round(11.6 * rate)):
            picture = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 53 * k % 256, np.uint8), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Where each pass over the file began, in seconds; every file counts as long."""
    starts: list[float] = []
    real = film.iter_pictures

    def counted(path: Path, *, start: float = 0.0) -> Any:
        starts.append(start)
        return real(path, start=start)

    monkeypatch.setattr(film, "iter_pictures", counted)
    monkeypatch.setattr(film, "AT_ONCE", FRAMES[:2].nbytes)
    yield starts


def test_few_frames_are_read_at_once_and_many_when_they_are_asked_for(path: Path, opened: list[float]) -> None:
    for count, lazy in ((1, False), (2, False), (3, True)):
        frames: Any = read_film(path, most=count)
        assert isinstance(frames, FileFrames) == lazy and frames.shape == FRAMES[:count].shape
        np.testing.assert_array_equal(np.asarray(frames), FRAMES[:count])


def test_going_forward_decodes_the_file_once(path: Path, opened: list[float]) -> None:
    frames = read_film(path)
    opened.clear()
    np.testing.assert_array_equal(np.stack(list(frames)), FRAMES)
    assert opened == [0.0]
    windows = list(row_windows(frames, 16, step=5))
    assert opened == [0.0, 0.0] and len(windows) == 57
    np.testing.assert_array_equal(np.stack(windows), [FRAMES[s : s + 16] for s in range(0, 285, 5)])


@pytest.mark.parametrize("begin", [0, 7, 260])
def test_any_frame_is_that_of_the_file(path: Path, begin: int, opened: list[float]) -> None:
    frames, true = read_film(path, begin=begin), read_frames(path, start=begin / 25)
    np.testing.assert_array_equal(true, FRAMES[begin:])
    for key in (3, -1, slice(5, 9), slice(None, None, -30), [39, 2, 2, 30], slice(0, 0)):
        np.testing.assert_array_equal(frames[key], true[key])


def test_a_place_far_ahead_is_looked_up(path: Path, opened: list[float]) -> None:
    frames = read_film(path)
    opened.clear()
    np.testing.assert_array_equal(frames[[0, 249, 299]], FRAMES[[0, 249, 299]])
    assert opened == [0.0]
    np.testing.assert_array_equal(frames[[0, 299]], FRAMES[[0, 299]])
    assert opened == [0.0, 0.0, 299 / 25]


@pytest.mark.parametrize("rate", [25, 5])
@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "libx264"), ("matroska", "mpeg2video"), ("webm", "libvpx"), ("avi", "mpeg4"), ("avi", "libx264"),
        ("flv", "libx264"), ("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("mpeg", "mpeg2video"),
    ],
)  # fmt: skip
def test_every_container_gives_far_frames_as_in_the_whole_read(
    kind: str, codec: str, rate: int, opened: list[float], tmp_path: Path
) -> None:
    path = tmp_path / f"film.{kind}"
    write(path, kind, codec, rate, **({"preset": "ultrafast"} if codec == "libx264" else {}))
    whole, frames = read_frames(path), read_film(path)
    assert isinstance(frames, FileFrames) and len(frames) == len(whole) > 270
    for number in (251, 262, *range(len(whole) - 12, len(whole), 1 if rate == 25 else 4), len(whole) - 1):
        frames[0]  # so that the next one is far ahead
        np.testing.assert_array_equal(frames[number], whole[number], err_msg=str(number))
        piece = read_frames(path, start=number / 25, max_frames=1)
        np.testing.assert_array_equal(piece, whole[number : number + 1], err_msg=str(number))
    assert max(opened) > 10


@pytest.mark.parametrize("fault", ["late", "end"])
def test_a_seek_to_another_picture_is_made_good(
    fault: str, path: Path, opened: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, real = read_film(path), film.iter_pictures

    def wrong(path: Path, *, start: float = 0.0) -> Any:
        return real(path, start=start + (0.04 if fault == "late" else 100) * (start > 0))

    monkeypatch.setattr(film, "iter_pictures", wrong)
    for number in (0, 260, 261, 0, 270):
        np.testing.assert_array_equal(frames[number], FRAMES[number])


def test_the_last_picture_stays(path: Path, opened: list[float]) -> None:
    for most in (2, 40):
        longer = still_at_the_end(read_film(path, most=most), 3)
        np.testing.assert_array_equal(np.asarray(longer), FRAMES[[*range(most), *[most - 1] * 3]])
        assert len(longer) == most + 3


def test_a_file_that_became_shorter_fails_its_clip(path: Path, opened: list[float], tmp_path: Path) -> None:
    copy = tmp_path / "b.mp4"
    copy.write_bytes(path.read_bytes())
    frames = read_film(copy)
    write_video(copy, FRAMES[:30], lossless=True)
    with pytest.raises(ItemError, match=r"b\.mp4: has changed"):
        frames[40]
    with pytest.raises(ItemError, match="has no frame from 40 s on"):
        read_film(path, begin=1000)
