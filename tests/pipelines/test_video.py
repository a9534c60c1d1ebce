"""Frames at exactly 25 fps, files written and read back, faults."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.video import iter_frames, probe, read_frames, write_video


def picture(k: int, *, size: int = 32) -> np.ndarray:
    """A wide picture that tells its number: k in gray on the left, noise of its own on the right."""
    frame = np.full((size, 3 * size // 2, 3), 8 * k % 256, np.uint8)
    frame[:, size // 2 :] = np.random.default_rng(k).integers(0, 256, (size, size, 3), np.uint8)
    return frame


def write_at(path: Path, seconds: list[float], *, start: float = 0.4) -> None:
    """A lossless file whose picture k is shown from `start + seconds[k]` on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=1000)
        stream.width, stream.height = 48, 32
        stream.pix_fmt, stream.options = "rgb24", {"crf": "0", "bf": "0"}
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for k, second in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = round((start + second) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbers(frames: list[np.ndarray]) -> list[int]:
    """Which picture each frame is."""
    return [int(frame[0, 0, 0]) // 8 for frame in frames]


@pytest.mark.parametrize(
    ("rate", "count", "expected"),
    [
        (25, 10, list(range(10))),
        (50, 10, [0, 2, 4, 6, 8]),
        (12.5, 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (30, 12, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]),
        (60, 24, [1, 3, 5, 8, 10, 13, 15, 17, 20, 22]),
    ],
)
def test_each_frame_is_the_one_on_screen(tmp_path: Path, rate: float, count: int, expected: list[int]) -> None:
    write_at(tmp_path / "clip.mkv", [k / rate for k in range(count)])
    assert numbers(list(iter_frames(tmp_path / "clip.mkv"))) == expected


def test_variable_rate_and_a_late_first_frame(tmp_path: Path) -> None:
    stamps = [0.5, 0.54, 0.70, 0.71, 0.90]  # seconds; the clip's clock starts at the first
    write_at(tmp_path / "clip.mkv", stamps)
    frames = numbers(list(iter_frames(tmp_path / "clip.mkv")))
    # frames have their middles at 0.02, 0.06, ... s: picture 2, on screen from 0.20 to 0.21 s, is in none of them
    assert frames[:11] == [0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 4]


def test_start_and_stop_choose_the_same_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", np.stack([picture(k) for k in range(30)]), lossless=True)
    assert numbers(list(iter_frames(tmp_path / "clip.mp4", start=0.4, stop=0.8))) == list(range(10, 20))


def test_seeking_far_into_a_clip_is_exact(tmp_path: Path) -> None:
    write_at(tmp_path / "clip.mkv", [k / 25 for k in range(400)])
    assert numbers(list(iter_frames(tmp_path / "clip.mkv", start=12.0, stop=12.4))) == [k % 32 for k in range(300, 310)]


def test_lossless_files_read_back_bit_exactly(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (12, 34, 46, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", frames, lossless=True)
    assert np.array_equal(read_frames(tmp_path / "clip.mp4"), frames)


def test_written_files_are_reproducible_and_faithful(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    frames = np.stack([np.stack([np.roll(ramp, k)[None].repeat(48, 0)] * 3, axis=-1) for k in range(0, 40, 2)])
    sound = (8000 * np.sin(np.arange(20 * 640) * 0.2)).astype(np.int16)
    write_video(tmp_path / "a.mp4", frames, audio=sound)
    write_video(tmp_path / "b.mp4", iter(frames), audio=sound)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    read = read_frames(tmp_path / "a.mp4")
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 4
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.seconds, info.codec) == (64, 48, 25.0, 0.8, "h264")
    assert info.has_audio and info.start_time == 0


def test_the_quality_asked_for_is_that_of_the_file(tmp_path: Path) -> None:
    frames = np.stack([picture(k) for k in range(4)])
    errors, sizes = [], []
    for crf in (2, 18, 40):
        write_video(tmp_path / f"{crf}.mp4", frames, **({} if crf == 18 else {"crf": crf}))
        errors.append(float(np.abs(read_frames(tmp_path / f"{crf}.mp4").astype(int) - frames).mean()))
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert errors[0] < errors[1] < errors[2] and sizes[0] > 1.3 * sizes[1] > 1.7 * sizes[2]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        write_video(tmp_path / "a.mp4", [])
    with pytest.raises(InputError, match="odd side"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 33, 32, 3), np.uint8))

    def breaks() -> object:
        yield picture(0)
        raise RuntimeError("the maker of frames failed")

    with pytest.raises(RuntimeError):
        write_video(tmp_path / "a.mp4", breaks())
    assert not list(tmp_path.iterdir())


def test_resized_reading(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", np.full((3, 64, 32, 3), 100, np.uint8), lossless=True)
    read = read_frames(tmp_path / "clip.mp4", size=16)
    assert read.shape == (3, 16, 16, 3) and (read == 100).all()


@pytest.mark.parametrize("kind", ["empty", "text", "txt", "truncated", "noise", "directory", "absent"])
def test_what_is_no_video_is_unreadable(tmp_path: Path, kind: str) -> None:
    write_video(tmp_path / "whole.mp4", np.stack([picture(k) for k in range(20)]))
    whole = (tmp_path / "whole.mp4").read_bytes()
    content = {
        "empty": b"",
        "text": b"this is no video\n" * 100,
        "txt": b"this is no video\n" * 100,
        "truncated": whole[: len(whole) * 2 // 3],
        "noise": np.random.default_rng(0).bytes(50_000),
    }
    path = tmp_path / ("clip.txt" if kind == "txt" else "clip.mp4")
    if kind == "directory":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(content[kind])
    with pytest.raises(ItemError) as caught:
        list(iter_frames(path))
    assert caught.value.reason == "unreadable" and path.name in caught.value.detail
    if kind != "truncated":
        with pytest.raises(ItemError, match="unreadable"):
            probe(path)


def test_odd_names_and_wrong_extensions_are_read(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", np.stack([picture(k) for k in range(5)]), lossless=True)
    for name in ("-leading dash.mp4", "späce é 口.mp4", "pipe:0.mp4", "wrong.avi"):
        (tmp_path / name).write_bytes((tmp_path / "whole.mp4").read_bytes())
        assert numbers(list(iter_frames(tmp_path / name))) == [0, 1, 2, 3, 4]


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", np.stack([picture(k) for k in range(12)]), audio=np.zeros(7680, np.int16))
    whole = np.frombuffer((tmp_path / "whole.mp4").read_bytes(), np.uint8)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 8)] ^= rng.integers(1, 256, 8, np.uint8)
        (tmp_path / "damaged.mp4").write_bytes(damaged.tobytes())
        try:
            assert all(frame.dtype == np.uint8 for frame in iter_frames(tmp_path / "damaged.mp4"))
        except ItemError as error:
            assert error.reason == "unreadable"


def on_screen(path: Path, times: np.ndarray) -> list[np.ndarray]:
    """The oracle: decode everything, then look up the picture shown just before the middle of each frame."""
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append((float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")))
            if frames[-1][0] - frames[0][0] > times[-1]:
                break
    stamps = np.array([stamp for stamp, _ in frames]) - frames[0][0]
    return [frames[i][1] for i in np.searchsorted(stamps, times + 0.02 - 1e-6, side="right") - 1]


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "1001_DFA_ANG_XX.flv",  # 29.97 fps, starts at 27 ms
        "pyfeat_single_face.mp4",  # 30 fps
        "pyfeat_no_face.mp4",  # 24 fps, the index lists more frames than are shown
        "pyfeat_face_noface.mov",  # variable rate
        "vretalk_face4_old.mp4",  # 22.2 fps on average, one frame dropped by the edit list
        "latentsync_demo1.mp4",  # vertical HEVC
        "grid_brbk7n.mpg",  # MPEG-1
        "dfrf_french.mp4",  # starts at 80 ms
    ],
)
def test_real_clips_show_the_frame_on_screen(clips_dir: Path, name: str) -> None:
    times = np.arange(25) / 25
    frames = list(iter_frames(clips_dir / name, stop=1.0))
    assert len(frames) == 25
    for frame, expected in zip(frames, on_screen(clips_dir / name, times), strict=True):
        assert np.array_equal(frame, expected)


@pytest.mark.real
def test_real_clips_have_the_length_in_the_table(clips_dir: Path) -> None:
    with (clips_dir.parent / "clips.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["width"]) * int(row["height"]) < 150_000]
    assert rows
    for row in rows:
        count = sum(1 for _ in iter_frames(clips_dir / row["file"]))
        assert abs(count - float(row["seconds"]) * 25) <= 1.5, row["file"]
