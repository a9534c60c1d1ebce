"""A user's picture, sound, driving video and tracks: what is right is used, what is wrong is one clear line."""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.inputs import read_drive, read_portrait, read_speech, read_tracks
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.media.video import write_video


class OneFace:
    """A back end that sees one face of given points wherever it looks, or none, or a face without points."""

    name = "one-face"

    def __init__(self, *, faces: int = 1, blind: bool = False, share: float = 0.5) -> None:
        self.faces, self.blind, self.share = faces, blind, share
        self.seen: list[tuple[int, ...]] = []

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        self.seen.append(frame.shape)
        return np.tile(np.array([0, 0, frame.shape[1], frame.shape[0]], np.float32), (self.faces, 1))

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        wide, high = self.share / 2, 0.4 * self.share
        grid = np.stack(np.meshgrid(np.linspace(-wide, wide, 17), np.linspace(-high, high, 4)), -1).reshape(68, 2) + 0.5
        return np.where(self.blind, np.nan, grid * frame.shape[1::-1])


def _save(path: Path, picture: np.ndarray) -> Path:
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


def test_the_whole_picture_is_resized_and_its_face_measured(tmp_path: Path) -> None:
    picture = np.zeros((200, 100, 3), np.uint8)
    picture[..., 0] = 250  # red: channels are not swapped
    backend = OneFace()
    source, face = read_portrait(_save(tmp_path / "p.png", picture), size=64, backend=backend, crop="paper")
    assert face and source.frame.shape == (64, 64, 3) and source.frame[5, 5].tolist() == [250, 0, 0]
    np.testing.assert_allclose(source.bbox, [25, 60, 75, 140], atol=1e-4)  # in the picture's own pixels
    assert source.hw == (200, 100) and source.pose.shape == (7,) and source.blink.shape == (2,)
    assert backend.seen == [(200, 100, 3)]  # looked for in the whole picture


def test_the_face_is_cut_out_as_in_preparation(tmp_path: Path) -> None:
    picture = np.zeros((400, 300, 3), np.uint8)
    picture[:, 150:] = 200
    source, _ = read_portrait(_save(tmp_path / "p.png", picture), size=64, backend=OneFace(share=0.2))
    high, wide = source.hw or (0, 0)
    assert high == wide < 300  # a square smaller than the picture
    x0, y0, x1, y1 = source.bbox / wide
    assert 0 < x0 < x1 < 1 and 0 < y0 < y1 < 1
    assert max(x1 - x0, y1 - y0) == pytest.approx(0.6, abs=0.02)
    assert source.frame[:, :24].max() < 60 and source.frame[:, 40:].min() > 150  # the middle stays in the middle


def test_a_real_face_is_detected_even_for_the_smallest_models(tmp_path: Path) -> None:
    """At 64 pixels a side the detector would see nothing."""
    picture = astronaut()[:300, 80:380]
    source, face = read_portrait(_save(tmp_path / "p.png", picture), size=64, backend=pick_backend("dlib"))
    x0, y0, x1, y1 = source.bbox / (source.hw or (1, 1))[0]
    assert face and 0 < x0 < 0.5 < x1 < 1 and 0 < y0 < 0.6 < y1 < 1
    assert np.abs(source.pose[:3]).max() < 40 and (source.blink > 0.1).all()


@pytest.mark.parametrize("backend", [OneFace(faces=0), OneFace(blind=True)], ids=["no face", "no points"])
def test_a_picture_without_a_face_is_refused_or_taken_as_it_is(backend: OneFace, tmp_path: Path) -> None:
    path = _save(tmp_path / "p.png", np.full((32, 48, 3), 9, np.uint8))
    with pytest.raises(InputError, match=r"p\.png: shows no face.*--crop paper"):
        read_portrait(path, size=32, backend=backend)
    source, face = read_portrait(path, size=32, backend=backend, crop="paper")
    assert not face and source.frame.shape == (32, 32, 3)
    assert source.pose[:3].tolist() == [0, 0, 0] and (source.bbox > 0).all() and (source.bbox < 32).all()


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\nbroken", b"hello"])
def test_what_is_no_picture_is_one_line(
    content: bytes | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"p\.png: cannot be read") as caught:
        read_portrait(path, size=32, backend=OneFace())
    assert "\n" not in str(caught.value) and capfd.readouterr().err == ""


def _wav(path: Path, samples: np.ndarray, *, rate: int = 16000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def _tone(seconds: float, rate: int) -> np.ndarray:
    return (9000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def test_speech_of_any_rate_and_channels_is_16_khz_mono_by_frames(tmp_path: Path) -> None:
    mono, features = read_speech(_wav(tmp_path / "a.wav", _tone(1, 16000)), encoder="logmel", max_seconds=None)
    assert mono.shape == (16000,) and features.shape == (25, 80)
    stereo = np.repeat(_tone(1, 44100), 2)
    odd, same = read_speech(
        _wav(tmp_path / "b.wav", stereo, rate=44100, channels=2), encoder="logmel", max_seconds=None
    )
    assert len(odd) == 16000 and same.shape == (25, 80)
    assert np.corrcoef(mono[500:-500], odd[500:-500])[0, 1] > 0.99
    np.testing.assert_allclose(features[3:-3].astype(float), same[3:-3].astype(float), atol=1.0)
    short, few = read_speech(tmp_path / "a.wav", encoder="logmel", max_seconds=0.41)
    assert len(short) == 10 * 640 and len(few) == 10
    np.testing.assert_array_equal(short, mono[:6400])


def test_sound_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s\.wav: holds 0\.10 s of sound\. At least 0\.2 s"):
        read_speech(_wav(tmp_path / "s.wav", _tone(0.1, 16000)), encoder="logmel", max_seconds=None)
    with pytest.raises(InputError, match="must be above 0"):
        read_speech(_wav(tmp_path / "l.wav", _tone(1, 16000)), encoder="logmel", max_seconds=-1)
    empty = _wav(tmp_path / "e.wav", np.zeros(0, np.int16))
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("hello")
    write_video(tmp_path / "silent.mp4", np.zeros((10, 32, 32, 3), np.uint8))
    for path in (empty, tmp_path / "zero.wav", tmp_path / "text.wav", tmp_path / "silent.mp4", tmp_path / "absent.wav"):
        with pytest.raises(InputError, match=path.name) as caught:
            read_speech(path, encoder="logmel", max_seconds=None)
        assert "\n" not in str(caught.value)


def test_the_sound_of_a_video_is_speech_too(tmp_path: Path, tiny_cache: Path) -> None:
    clip = Cache(tiny_cache)["c0"]
    write_video(tmp_path / "v.mp4", np.asarray(clip["frames"]), audio=np.asarray(clip["audio"]))
    audio, _ = read_speech(tmp_path / "v.mp4", encoder="logmel", max_seconds=None)
    assert abs(len(audio) - 30 * 640) <= 640


@pytest.mark.parametrize("wanted", [4, 12, 30])
def test_a_driving_video_gives_tracks_of_the_requested_length(wanted: int, tmp_path: Path) -> None:
    """A longer one is cut, a shorter one is extended by ping-pong: no jump at its ends."""
    write_video(tmp_path / "d.mp4", np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8))
    pose, blink = read_drive(tmp_path / "d.mp4", size=32, backend=OneFace(), n_frames=wanted)
    assert pose.shape == (wanted, 7) and blink.shape == (wanted, 2)


def test_a_driving_video_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d\.mp4: No such file"):
        read_drive(tmp_path / "d.mp4", size=32, backend=OneFace(), n_frames=10)
    write_video(tmp_path / "d.mp4", np.zeros((12, 64, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"d\.mp4: no face in"):
        read_drive(tmp_path / "d.mp4", size=32, backend=OneFace(faces=0), n_frames=10)


def test_tracks_are_read_and_cut(tmp_path: Path) -> None:
    pose, blink = np.arange(84.0).reshape(12, 7), np.ones((13, 2))
    np.savez(tmp_path / "t.npz", pose=pose, blink=blink)
    got = read_tracks(tmp_path / "t.npz", n_frames=10)
    np.testing.assert_array_equal(got[0], pose[:10])
    assert got[1].shape == (10, 2)


GOOD = {"pose": np.zeros((10, 7)), "blink": np.zeros((10, 2))}


@pytest.mark.parametrize(
    "arrays",
    [
        {"pose": GOOD["pose"]},
        GOOD | {"pose": np.zeros((9, 7))},
        GOOD | {"pose": np.zeros((10, 5))},
        GOOD | {"blink": np.zeros(10)},
        GOOD | {"blink": np.array(3.0)},
        GOOD | {"pose": np.full((10, 7), np.nan)},
        GOOD | {"pose": np.full((10, 7), "a")},
        GOOD | {"pose": np.full((10, 7), None)},
    ],
    ids=["absent", "short", "narrow", "flat", "scalar", "NaN", "text", "objects"],
)
def test_tracks_that_do_not_fit_are_one_line(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=r"t\.npz: ") as caught:
        read_tracks(tmp_path / "t.npz", n_frames=10)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_tracks_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "c.npz").write_text("hello")
    for name in ("a.npy", "b.npz", "c.npz", "absent.npz"):
        with pytest.raises(InputError, match=name):
            read_tracks(tmp_path / name, n_frames=1)
