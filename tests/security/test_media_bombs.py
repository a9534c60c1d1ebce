"""Small media files that ask for endless frames, sound or memory are refused with one line, before they get it."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import av
import numpy as np
import pytest

from dawn_bench.baselines.formats import VideoFormat
from dawn_bench.baselines.mesh_files import read_mesh
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.free_memory import allowed_memory
from dawn_bench.models.inputs import read_picture, read_sound, read_tracks
from dawn_bench.pipelines.media import audio, containers, film, limits
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.video import iter_frames, read_frames, write_video
from dawn_bench.pipelines.meshes.files import read_vertices
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded

FRAMES = np.full((34, 32, 32, 3), 90, np.uint8)
TICKS = 12_800  # a second, in files that PyAV writes


def mp4_with_duration(path: Path, ticks: int) -> Path:
    """34 frames, each of which lasts `ticks`."""
    write_video(path, FRAMES)
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 12
    assert struct.unpack(">II", data[at : at + 8]) == (34, TICKS // 25)
    data[at + 4 : at + 8] = struct.pack(">I", ticks)
    path.write_bytes(data)
    return path


def avi_at(path: Path, *, scale: int, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(FRAMES[k], format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 28
    assert struct.unpack("<II", data[at : at + 8]) == (1, 25)
    data[at : at + 8] = struct.pack("<II", scale, rate)
    path.write_bytes(data)
    return path


def wav(path: Path, samples: int, *, rate: int) -> Path:
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate % 2**32, 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + 2 * samples) + b"WAVEfmt " + form
    with path.open("wb") as file:
        file.write(head + b"data" + struct.pack("<I", 2 * samples))
        file.truncate(44 + 2 * samples)  # sparse: hours of silence take no space
    return path


def png(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b""))
    return path


def npy_head(shape: tuple[int, ...]) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return head.getvalue()


@pytest.mark.parametrize("ticks", [15 * TICKS, 2**31 - 1])
def test_a_time_stamp_that_lies_makes_no_endless_frames(tmp_path: Path, ticks: int) -> None:
    path = mp4_with_duration(tmp_path / "lies.mp4", ticks)
    with pytest.raises(ItemError, match=r"^unreadable: lies\.mp4: one picture stays on screen for \d+ s, more than"):
        next(iter_frames(path))
    with pytest.raises(ItemError, match=r"^bad_output: .*lies\.mp4: one picture"):
        VideoFormat().read(path, Clip("a", "a", "test", 34, {"frames": FRAMES}))


@pytest.mark.parametrize("ticks", [0, 2**32 - 1])
def test_durations_of_nothing_or_less_add_no_frames(tmp_path: Path, ticks: int) -> None:
    path = mp4_with_duration(tmp_path / "odd.mp4", ticks)
    try:
        assert len(read_frames(path)) <= len(FRAMES)
    except ItemError as error:
        assert error.reason == "unreadable"


def test_few_pictures_over_a_long_time_are_no_video(tmp_path: Path) -> None:
    path = tmp_path / "slides.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for k, row in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(row, format="rgb24")
            frame.pts, frame.time_base = 9 * 25 * k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ItemError, match=r"slides\.mkv: has 2 pictures in 18 s, less than one a second"):
        read_frames(path)


@pytest.mark.parametrize(("scale", "rate"), [(2**31 - 1, 13), (1, 10**9), (2**32 - 1, 1), (1, 2**32 - 1), (0, 0)])
def test_an_impossible_rate_ends_in_few_frames_or_one_line(tmp_path: Path, scale: int, rate: int) -> None:
    path = avi_at(tmp_path / "rate.avi", scale=scale, rate=rate)
    try:
        assert len(read_frames(path)) <= 5
    except ItemError as error:
        assert error.reason == "unreadable" and "rate.avi" in error.detail


def test_a_lying_clip_is_one_clip_of_a_run_that_ends(tmp_path: Path) -> None:
    write_embedded(tmp_path / "e", speakers=1, clips=1, seconds=1, size=128)
    (good,) = (tmp_path / "e" / "VideoFlash").glob("*.mp4")
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "good.mp4").write_bytes(good.read_bytes())
    data = bytearray(good.read_bytes())
    at = data.index(b"stts") + 16
    data[at : at + 4] = struct.pack(">I", 2**31 - 1)
    (folder / "lies.mp4").write_bytes(data)
    settings = PrepareSettings(size=32, face="dlib", extract=())
    report = prepare(folder, tmp_path / "c", settings, jobs=1)
    assert (report.ok, dict(report.quarantined)) == (1, {"unreadable": 1})
    assert Cache(tmp_path / "c")["lies"].meta["detail"].startswith("lies.mp4: one picture stays on screen for")


def test_pictures_that_are_too_large_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "large.mp4", FRAMES)
    monkeypatch.setattr(limits, "VIDEO_PIXELS", 32 * 31)
    with pytest.raises(ItemError, match=r"large\.mp4: its pictures are 32x32, more than"):
        read_frames(tmp_path / "large.mp4")


def test_frames_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "long.mp4", FRAMES)
    monkeypatch.setattr(limits, "MEMORY_SHARE", 0)
    with pytest.raises(ItemError, match=r"long\.mp4: its frames need more than"):
        read_frames(tmp_path / "long.mp4")


def test_an_output_is_read_no_further_than_its_true_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "out.mp4", np.repeat(FRAMES, 4, axis=0))
    decoded = []
    real = film.iter_pictures
    monkeypatch.setattr(film, "iter_pictures", lambda *a, **k: (decoded.append(1) or f for f in real(*a, **k)))
    clip = VideoFormat().read(tmp_path / "out.mp4", Clip("a", "a", "test", 10, {"frames": FRAMES[:10]}))
    assert clip.n_frames == 35 == len(decoded)


@pytest.mark.parametrize("rate", [1, 3999, 2**31 - 1])
def test_sound_at_an_impossible_rate_is_refused(tmp_path: Path, rate: int) -> None:
    with pytest.raises(ItemError, match=rf"^unreadable: odd\.wav: its sound is stated at {rate} Hz"):
        read_audio(wav(tmp_path / "odd.wav", 44_000, rate=rate))


def test_of_long_sound_only_what_is_used_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "hours.wav", 10 * 3600 * 16_000, rate=16_000)
    blocks = []
    real = audio.mixed

    def counted(planes: np.ndarray, *args: object, **kwargs: object) -> np.ndarray:
        blocks.append(planes.shape[-1])
        return real(planes, *args, **kwargs)

    monkeypatch.setattr(audio, "mixed", counted)
    assert len(read_sound(path, max_seconds=2)) == 32_000
    assert 32_000 <= sum(blocks) < 4 * 16_000


def test_sound_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_CLIP", 36)
    path = wav(tmp_path / "endless.wav", 72 * 4_000, rate=4_000)
    with pytest.raises(ItemError, match=r"endless\.wav: its sound lasts longer than"):
        read_audio(path)


def test_sound_that_is_missing_for_hours_is_not_filled_with_silence(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for k in range(2):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, k * 16_000 * 10**6, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ItemError, match=r"gap\.mkv: its sound is missing for 1000000 s"):
        read_audio(path)


@pytest.mark.parametrize("side", [12_000, 60_000, 2**31 - 1])
def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    with pytest.raises(InputError, match=r"huge\.png: is (too large )?a picture .*Give a smaller picture") as caught:
        read_picture(png(tmp_path / "huge.png", side, side))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(10**9, 60), (10**9, 20, 3), (2**62, 60), (0, 60), (5, 0, 3), (-1, 60)])
def test_a_mesh_file_whose_header_lies_is_one_clips_failure(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "lies.npy"
    path.write_bytes(npy_head(shape) + bytes(1200))
    truth = Clip("a", "a", "test", 5, {"vertices": np.zeros((5, 20, 3), np.float32), "template": np.zeros((1, 20, 3))})
    with pytest.raises(ItemError, match=r"lies\.npy"):
        read_mesh(path, truth)
    with pytest.raises(ItemError, match=r"lies\.npy"):
        read_vertices(path, vertices=20)


def test_an_archive_named_like_an_array_is_no_mesh(tmp_path: Path) -> None:
    with (tmp_path / "zip.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(ItemError, match=r"zip\.npy"):
        read_vertices(tmp_path / "zip.npy", vertices=20)


def test_tracks_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    shape = (3 * 10**6, 7)  # 84 MB of zeros in 84 KB
    with ZipFile(path, "w", ZIP_DEFLATED) as archive, archive.open("pose.npy", "w") as file:
        file.write(npy_head(shape))
        for _ in range(84):
            file.write(bytes(10**6))
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"bomb\.npz: .*`pose` has more than 64 MB"):
        read_tracks(path, n_frames=5)
    with ZipFile(path, "w") as archive:
        archive.writestr("pose.npy", npy_head((10**9, 7)) + bytes(100))
    with pytest.raises(InputError, match=r"bomb\.npz: .*cut off, or its shape"):
        read_tracks(path, n_frames=5)


def _h264(path: Path, size: int) -> bytes:
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90 + k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_pictures_that_grow_in_the_middle_of_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are shown at the size of the first, as in a player; past the bound the decoder allocates none."""
    path = tmp_path / "grows.h264"
    path.write_bytes(b"".join(_h264(tmp_path / f"{size}.h264", size) for size in (32, 128, 64)))
    frames = read_frames(path)
    assert frames.shape == (15, 32, 32, 3)
    assert all(abs(int(frames[k].mean()) - 90 - k % 5) <= 2 for k in range(15))
    monkeypatch.setitem(containers.DECODER, "max_pixels", str(96 * 96))
    with pytest.raises(ItemError, match=r"^unreadable: grows\.h264: "):
        read_frames(path)
    with pytest.raises(ItemError, match=r"^bad_output: .*grows\.h264: "):
        VideoFormat().read(path, Clip("a", "a", "test", 15, {"frames": FRAMES[:15]}))


@pytest.mark.parametrize(("stated", "counts"), [("1000000", True), ("max", False), ("9223372036854771712", False)])
def test_the_memory_of_a_container_counts(
    stated: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group := tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in {"max": f"{stated}\n", "current": "0\n", "stat": "inactive_file 0\n"}.items():
        (group / f"memory.{name}").write_text(text)
    monkeypatch.setattr(limits, "allowed_memory", lambda: allowed_memory(tmp_path))
    if not counts:
        limits.check_memory(600_000, name="a.mp4")
        return
    with pytest.raises(ItemError, match=r"a\.mp4: its frames need more than 0 GB of memory"):
        limits.check_memory(600_000, name="a.mp4")
