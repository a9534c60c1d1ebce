"""Sound: 16 kHz mono, in step with the first picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.audio import fit_length, read_audio, write_wav
from dawn_bench.pipelines.media.video import write_video


def click_at(seconds: float, *, length: float = 2.0, rate: int = 16_000) -> np.ndarray:
    """Silence with a 20 ms burst."""
    sound = np.zeros(round(length * rate), np.int16)
    at = round(seconds * rate)
    sound[at : at + rate // 50] = (20_000 * np.sin(np.arange(rate // 50) * 1000 * 2 * np.pi / rate)).astype(np.int16)
    return sound


def onset(sound: np.ndarray) -> float:
    """Seconds at which the burst begins."""
    return float(np.argmax(np.abs(sound.astype(int)) > 5000)) / 16_000


def write_shifted(path: Path, *, picture: float, sound: float) -> None:
    """A file whose picture starts at `picture`, and at `sound` its 48 kHz stereo sound: a click on the left after 1 s,
    one on the right after 1.6 s."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k + round(picture * 25), Fraction(1, 25)
            container.mux(video.encode(frame))
        samples = np.stack([click_at(1.0, rate=48_000), click_at(1.6, rate=48_000)], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, round(sound * 48_000), Fraction(1, 48_000)
        container.mux(audio.encode(frame))
        container.mux([*video.encode(None), *audio.encode(None)])


@pytest.mark.parametrize(("picture", "sound"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (1.2, 0.8)])
def test_sound_keeps_step_with_the_first_picture(tmp_path: Path, picture: float, sound: float) -> None:
    write_shifted(tmp_path / "clip.mkv", picture=picture, sound=sound)
    heard = read_audio(tmp_path / "clip.mkv")
    assert heard.dtype == np.int16
    assert onset(heard) == pytest.approx(1.0 + sound - picture, abs=0.001)
    between = round(16_000 * (1.3 + sound - picture))
    assert onset(heard[between:]) == pytest.approx(0.3, abs=0.001)  # the other channel
    assert len(heard) / 16_000 == pytest.approx(2.0 + sound - picture, abs=0.002)


def test_a_stretch_is_cut_exactly(tmp_path: Path) -> None:
    write_shifted(tmp_path / "clip.mkv", picture=0.4, sound=0.0)
    heard = read_audio(tmp_path / "clip.mkv", start=0.5, stop=1.0)
    assert len(heard) == 8000
    assert onset(heard) == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0.0, None, [(0.1, 0), (0.2, 900), (0.3, 0), (0.2, 1500)]),
        (0.4, None, [(0.2, 0), (0.2, 1500)]),  # begins within the gap
        (0.0, 0.45, [(0.1, 0), (0.2, 900), (0.15, 0)]),  # ends within it
        (0.35, 0.5, [(0.15, 0)]),
        (0.0, 0.05, [(0.05, 0)]),  # ends before the first sound
        (0.25, 0.7, [(0.05, 900), (0.3, 0), (0.1, 1500)]),
    ],
)
@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_a_stretch_has_no_more_silence_than_lies_in_it(
    tmp_path: Path, rate: int, start: float, stop: float | None, expected: list[tuple[float, int]]
) -> None:
    """Pictures from 0 s on; sound from 0.1 to 0.3 s and from 0.6 to 0.8 s."""
    with av.open(str(tmp_path / "s.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for begin, level in ((0.1, 900), (0.6, 1500)):
            block = av.AudioFrame.from_ndarray(np.full((1, rate // 5), level, np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate, round(begin * rate), Fraction(1, rate)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    heard = read_audio(tmp_path / "s.mkv", start=start, stop=stop, origin=0.0)
    levels = np.concatenate([np.full(round(seconds * 16_000), level) for seconds, level in expected])
    assert len(heard) == len(levels)
    assert np.median(np.abs(heard - levels)) == 0 and (np.abs(heard - levels) > 30).mean() < 0.02  # but for ringing


def test_aac_in_mp4_comes_back_in_step(tmp_path: Path) -> None:
    sound = click_at(0.5)
    write_video(tmp_path / "clip.mp4", np.zeros((50, 32, 32, 3), np.uint8), audio=sound)
    heard = fit_length(read_audio(tmp_path / "clip.mp4"), 50)
    lags = [np.dot(np.roll(heard, lag).astype(float), sound) for lag in range(-40, 41)]
    assert np.argmax(lags) == 40  # no lag, to the sample


def test_wav_files_come_back_bit_exactly(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).integers(-32768, 32768, 12_345).astype(np.int16)
    write_wav(tmp_path / "sound.wav", sound)
    assert np.array_equal(read_audio(tmp_path / "sound.wav"), sound)
    assert np.array_equal(read_audio(tmp_path / "sound.wav", start=0.25, stop=0.5), sound[4000:8000])


def test_other_rates_and_formats_are_resampled(tmp_path: Path) -> None:
    t = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * t)
    other = 0.3 * np.sin(2 * np.pi * 700 * t)
    at = 2 * np.pi * np.arange(16_000) / 16_000
    expected = (0.5 * np.sin(440 * at) + 0.3 * np.sin(700 * at)) / 2
    for subtype in ("PCM_U8", "PCM_24", "FLOAT"):
        soundfile.write(tmp_path / "tone.wav", np.stack([tone, other], axis=1), 44_100, subtype=subtype)
        heard = read_audio(tmp_path / "tone.wav") / 32768
        assert len(heard) == 16_000
        assert np.abs(heard - expected)[100:-100].max() < 0.01


def test_missing_sound_is_reported(tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", np.zeros((5, 32, 32, 3), np.uint8))
    with pytest.raises(ItemError, match="no_audio"):
        read_audio(tmp_path / "mute.mp4")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ItemError, match="unreadable"):
        read_audio(tmp_path / "text.wav")


def test_fit_length() -> None:
    sound = np.arange(1, 1001, dtype=np.int16)
    assert np.array_equal(fit_length(sound, 1), sound[:640])
    padded = fit_length(sound, 3)
    assert len(padded) == 1920 and padded.dtype == np.int16
    assert np.array_equal(padded[:1000], sound) and not padded[1000:].any()


@pytest.mark.real
def test_a_late_sound_stream_is_preceded_by_silence(clips_dir: Path) -> None:
    heard = read_audio(clips_dir / "pyfeat_face_noface.mov")  # its sound begins 2.43 s after its picture
    assert not heard[: int(2.4 * 16_000)].any() and heard[int(2.5 * 16_000) :].any()
