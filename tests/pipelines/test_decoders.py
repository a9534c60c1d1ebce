"""Other decoders than PyAV: their pictures are PyAV's to the bit, or the file is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from media.face import ANY_QUALITY, AnyFace
from skimage.data import astronaut

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.media.decoders.base import DECODERS, DIFFERS
from dawn_bench.pipelines.media.video import iter_frames, probe, read_frames, write_video
from dawn_bench.pipelines.preparation import process
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings

FRAMES = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)


class Pretended:
    """PyAV's own pictures, behind the interface of another decoder."""

    first = 0.0

    @staticmethod
    def missing() -> str | None:
        return None

    @staticmethod
    def version() -> str:
        return "1.2"

    def __init__(self, path: Path, *, stream: int) -> None:
        assert stream == 0
        self.rows, self.fps = list(iter_frames(path, fps=probe(path).fps)), probe(path).fps

    def count(self) -> int:
        return len(self.rows)

    def picture(self, number: int) -> tuple[float, np.ndarray]:
        return self.first + number / self.fps, self.rows[number]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Registers a class as the decoder `other` for one test."""

    def put(kind: type) -> None:
        DECODERS.names()
        monkeypatch.setitem(DECODERS._items, "other", kind)

    return put


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    write_video(path, FRAMES, lossless=True)
    return path


@pytest.fixture
def face_video(tmp_path: Path) -> Path:
    """A folder with one video of a face that trembles, with sound."""
    head = np.ascontiguousarray(astronaut()[:260, 90:350])
    frames = np.stack([np.roll(head, k % 3, axis=1) for k in range(16)])
    (tmp_path / "videos").mkdir()
    tone = (np.sin(np.arange(16 * 640) / 8) * 8000).astype(np.int16)
    write_video(tmp_path / "videos/talk.mp4", frames, audio=tone)
    return tmp_path / "videos"


def refusal(path: Path, decoder: str = "other") -> str:
    with pytest.raises(ItemError) as caught:
        read_frames(path, decoder=decoder)
    assert caught.value.reason == DIFFERS and "\n" not in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize("fps", [25, 30, 10])
def test_another_decoder_gives_the_same_frames(fps: float, tmp_path: Path, install: Callable[[type], None]) -> None:
    install(Pretended)
    path = tmp_path / "talk.mp4"
    write_video(path, FRAMES, fps=fps)
    assert np.array_equal(read_frames(path, decoder="other"), read_frames(path))
    later = [list(iter_frames(path, start=0.4, stop=0.8, decoder=name)) for name in ("other", "pyav")]
    assert len(later[0]) == 10 and np.array_equal(*later)


def test_a_decoder_that_differs_refuses_the_file(video: Path, install: Callable[[type], None]) -> None:
    class Short(Pretended):
        def count(self) -> int:
            return 29

    class Late(Pretended):
        first = 0.08

    class Pale(Pretended):
        def picture(self, number: int) -> tuple[float, np.ndarray]:
            seconds, rgb = super().picture(number)
            return seconds, np.maximum(rgb, 1)

    class Slow(Pretended):
        def picture(self, number: int) -> tuple[float, np.ndarray]:
            seconds, rgb = super().picture(number)
            return seconds + 0.04 * (number == 20), rgb

    class Shrinking(Pretended):
        def picture(self, number: int) -> tuple[float, np.ndarray]:
            seconds, rgb = super().picture(number)
            return seconds, rgb[: 48 if number < 9 else 40]

    class Failing(Pretended):
        def picture(self, number: int) -> tuple[float, np.ndarray]:
            if number == 5:
                raise RuntimeError("/src/decoder.cpp:12, no more frames.\ntrace")
            return super().picture(number)

    says = {
        Short: "other reads 29 pictures, PyAV 30",
        Late: "other shows picture 0 at 0.080 s, PyAV at 0.000 s",
        Pale: "other gives the first picture other pixels than PyAV",
        Slow: "other shows picture 20 at 0.840 s, PyAV at 0.800 s",
        Shrinking: "other gives picture 9 another size than the first",
        Failing: "other cannot read picture 5 (no more frames)",
    }
    for kind, text in says.items():
        install(kind)
        assert refusal(video) == f"talk.mp4: {text}: prepare it with --decoder pyav"


def test_what_other_decoders_ignore_is_refused(tmp_path: Path, video: Path, install: Callable[[type], None]) -> None:
    install(Pretended)
    wide = tmp_path / "wide.mp4"
    with av.open(str(wide), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = 2
        for row in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(row)))
        container.mux(stream.encode(None))
    assert "does not show pixels that are not square" in refusal(wide)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:-4000])
    with pytest.raises(ItemError) as caught:
        read_frames(cut, decoder="other")
    assert caught.value.reason == "unreadable"


def test_the_decoder_is_part_of_what_a_cache_is(
    face_video: Path, tmp_path: Path, install: Callable[[type], None]
) -> None:
    install(Pretended)
    settings = PrepareSettings(size=64, face="dlib", max_frames=12)
    for name in ("pyav", "other"):
        report = prepare(face_video, tmp_path / name, settings.model_copy(update={"decoder": name}), jobs=1)
        assert report.ok == 1
    with pytest.raises(InputError, match=r"was prepared with decoder 'other' \(now 'pyav'\)"):
        prepare(face_video, tmp_path / "other", settings, jobs=1)
    facts = json.loads((tmp_path / "other/cache.json").read_text())
    assert facts["settings"]["decoder"] == "other" and facts["fingerprints"]["decoder fingerprint"] == "other-1-1.2"
    assert "decoder fingerprint" not in json.loads((tmp_path / "pyav/cache.json").read_text())["fingerprints"]
    (ours,), (theirs,) = Cache(tmp_path / "pyav"), Cache(tmp_path / "other")
    assert np.abs(ours["landmarks"] - theirs["landmarks"]).max() < 2
    assert np.abs(ours["frames"].astype(int) - theirs["frames"]).mean() < 2


@pytest.mark.parametrize("name", ["decord", "torchcodec"])
def test_a_missing_package_is_one_line(
    name: str, face_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"dawn_bench.pipelines.media.decoders.{name}.find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"decoder '{name}' cannot run: .*dawn-bench\[{name}\].*--decoder pyav"):
        prepare(face_video, tmp_path / "cache", PrepareSettings(decoder=name), jobs=1)
    with pytest.raises(ValueError, match=r"no decoder called .decrod.\. Did you mean decord"):
        PrepareSettings(decoder="decrod")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (RuntimeError("Could not load libtorchcodec. Likely causes: 1. FFmpeg is not installed"), True),
        (OSError("libavutil.so.59: cannot open shared object file"), True),
        (RuntimeError("Could not open input: Invalid data found"), False),
        (ValueError("the source is empty"), False),
    ],
)
def test_torchcodec_without_ffmpeg_is_missing_though_it_can_be_imported(
    error: Exception, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From version 0.17 on; every clip was left out one by one."""

    def decoder(source: object) -> None:
        raise error

    monkeypatch.setattr("dawn_bench.pipelines.media.decoders.torchcodec.find_spec", lambda _: True)
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(VideoDecoder=decoder))
    said = DECODERS["torchcodec"].missing()
    assert (said is not None) == missing and (not said or "FFmpeg's shared libraries" in said)


#: Real clips that a decoder must be able to read, of 40: the others start late, have leading frames that are not shown,
#: are MPEG-1 or FLV, or have pixels that are not square.
READS = {"decord": 26, "torchcodec": 30}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", READS)
def test_the_package_gives_the_pixels_of_real_clips(name: str, clips_dir: Path) -> None:
    if find_spec(name) is None or (DECODERS[name].missing()):
        pytest.skip(f"{name} cannot run: {DECODERS[name].missing()}")
    equal = 0
    for path in sorted(clips_dir.iterdir()):
        try:
            theirs = read_frames(path, max_frames=40, decoder=name)
        except ItemError as error:
            assert error.reason in (DIFFERS, "unreadable")
            continue
        assert np.array_equal(theirs, read_frames(path, max_frames=40)), path.name
        equal += 1
    assert equal >= READS[name]


def package(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a stand-in for a package in place, with its documented interface; returns how its reader is made."""
    made: list[dict[str, Any]] = []

    class Reader:
        def __init__(self, name: str, **options: Any) -> None:
            made.append({"path": name, **options})
            self.rows = list(iter_frames(path, fps=probe(path).fps))

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, number: int) -> Any:
            return SimpleNamespace(asnumpy=lambda: self.rows[number])

        def get_frame_timestamp(self, number: int) -> np.ndarray:
            """Begin and end, seconds."""
            return np.array([number, number + 1]) / 25

        def get_frame_at(self, number: int) -> Any:
            """Pixels (3,H,W) and the second."""
            return SimpleNamespace(data=torch.from_numpy(self.rows[number]).permute(2, 0, 1), pts_seconds=number / 25)

    quiet = SimpleNamespace(set_level=lambda level: None, QUIET=-8)
    modules = {
        "decord": SimpleNamespace(logging=quiet, cpu=lambda number: f"cpu {number}", VideoReader=Reader),
        "torchcodec": SimpleNamespace(),
        "torchcodec.decoders": SimpleNamespace(VideoDecoder=Reader),
    }
    for key in modules if name == "torchcodec" else ("decord",):
        monkeypatch.setitem(sys.modules, key, modules[key])
    return made


@pytest.mark.parametrize("name", ["decord", "torchcodec"])
def test_the_times_and_pixels_of_a_package_are_those_that_it_documents(
    name: str, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a picture that is wider than high, whose colours differ."""
    made = package(name, video, monkeypatch)
    np.testing.assert_array_equal(read_frames(video, decoder=name), FRAMES)
    (options,) = made
    threads = {"decord": "num_threads", "torchcodec": "num_ffmpeg_threads"}[name]
    assert options["path"] == str(video) and options[threads] == 1


def test_a_decoder_is_given_the_number_of_the_stream_in_the_file(
    tmp_path: Path, install: Callable[[type], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound is the first stream, pictures are the second."""
    path = tmp_path / "sound-first.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        stream = container.add_stream("libx264rgb", rate=25)
        stream.height, stream.width = FRAMES.shape[1:3]
        stream.pix_fmt, stream.options = "rgb24", {"crf": "0", "bf": "0"}
        block = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.int16), "s16", "mono")
        block.sample_rate, block.pts, block.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(block))
        for number, row in enumerate(FRAMES[:5]):
            frame = av.VideoFrame.from_ndarray(row, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux([*stream.encode(None), *sound.encode(None)])
    given: list[int] = []

    class Second(Pretended):
        def __init__(self, path: Path, *, stream: int) -> None:
            given.append(stream)
            super().__init__(path, stream=0)

    install(Second)
    np.testing.assert_array_equal(read_frames(path, decoder="other"), FRAMES[:5])
    made = package("torchcodec", path, monkeypatch)
    np.testing.assert_array_equal(read_frames(path, decoder="torchcodec"), FRAMES[:5])
    assert given == [1] and made[0]["stream_index"] == 1


class Negative(Pretended):
    """Other pictures than PyAV's from the second on: every reading with another decoder shows."""

    def picture(self, number: int) -> tuple[float, np.ndarray]:
        seconds, rgb = super().picture(number)
        return seconds, 255 - rgb if number else rgb


def test_a_clip_that_is_seen_twice_is_seen_with_the_same_decoder(
    install: Callable[[type], None], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Negative)
    settings = PrepareSettings(
        decoder="other", size=32, crop="face", extract=(), require_audio=False, min_frames=1, **ANY_QUALITY
    )

    def seen() -> tuple[np.ndarray, int]:
        sink = MemorySink()
        meta = process.process_clip(Source("c", "s", "train", video), settings, AnyFace(), sink)
        return sink.arrays["frames"], meta["looks"]

    once, looks = seen()
    assert looks == 1 and not np.array_equal(once[1], once[0])
    monkeypatch.setattr(process, "LOOKAHEAD_BYTES", 1)
    shares = iter([1.0, 0.0])  # the face leaves the first crop
    monkeypatch.setattr(process, "outside_share", lambda *args: next(shares))
    again, looks = seen()
    assert looks == 2 and np.array_equal(again, once)
