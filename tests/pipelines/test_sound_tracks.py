"""Which sound of a clip is used: the default track or the one asked for, what the index says about it, and pipes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.stream import Disposition
from media.face import ANY_QUALITY, AnyFace
from media.sound_writers import TONE_RMS, channels, clip, encode, tone, wav

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.inputs import read_sound
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.media.audio import check_audio, decode_sound, read_audio
from dawn_bench.pipelines.media.downmix import Levels, mixed
from dawn_bench.pipelines.preparation.group import ClipTools
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import ClipSink
from dawn_bench.pipelines.settings import PrepareSettings

LOUD, SOFT = tone(), tone(hertz=880, level=0.03)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt((samples.astype(float) ** 2).mean()))


@pytest.fixture
def two_tracks(tmp_path: Path) -> Path:
    """A clip whose second track is marked as default and is the louder one."""
    clip(tmp_path / "two.mkv", [SOFT, LOUD], dispositions=(Disposition(0), Disposition.default))
    return tmp_path / "two.mkv"


def test_the_track_asked_for_is_read(two_tracks: Path) -> None:
    assert rms(read_audio(two_tracks)) == pytest.approx(TONE_RMS, rel=0.05)
    assert rms(read_audio(two_tracks, track=1)) == pytest.approx(TONE_RMS / 10, rel=0.05)
    assert decode_sound(two_tracks, track=1).track == 1
    assert rms(read_sound(two_tracks, max_seconds=None, track=1)) == pytest.approx(TONE_RMS / 10, rel=0.05)


def test_a_track_that_is_not_there_is_named(two_tracks: Path) -> None:
    for read in (read_audio, check_audio):
        with pytest.raises(
            ItemError, match=r"^no_track: two\.mkv: has no sound track 3; it has 2 sound tracks \(1, 2\)"
        ):
            read(two_tracks, track=3)
    with pytest.raises(InputError, match=r"two\.mkv: has no sound track 3; it has 2 sound tracks"):
        read_sound(two_tracks, max_seconds=None, track=3)


class AnyFaceTools(ClipTools):
    """Takes every picture for a face."""

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        return {"face": settings.face, "face fingerprint": "any-face/1"}

    def process(self, source: Source, settings: PrepareSettings, sink: ClipSink) -> dict[str, Any]:
        return process_clip(source, settings, AnyFace(), sink)


def test_the_index_says_what_was_heard(two_tracks: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    two_tracks.rename(videos / "two.mkv")
    clip(videos / "opposite.mp4", [channels(LOUD, -LOUD)], layouts=("stereo",))
    clip(videos / "effects.mkv", [channels(None, None, None, LOUD, None, None)], layouts=("5.1",), codec="flac")
    settings = PrepareSettings(size=32, crop="paper", extract=(), min_frames=1, **ANY_QUALITY)
    prepare(videos, tmp_path / "default", settings, tools=AnyFaceTools())
    cache = Cache(tmp_path / "default")
    rows = {row["id"]: row for row in cache.index.to_dict("records")}
    assert rms(cache["two"]["audio"]) == pytest.approx(TONE_RMS, rel=0.05)
    assert rms(cache["opposite"]["audio"]) == pytest.approx(TONE_RMS, rel=0.05)
    assert {i: bool(row["silent"]) for i, row in rows.items()} == {"two": False, "opposite": False, "effects": True}
    assert {i: row["audio_mix"] for i, row in rows.items()} == {
        "two": "ok", "opposite": "phase_cancelled", "effects": "silent"
    }  # fmt: skip
    assert [rows["two"][key] for key in ("audio_track", "audio_tracks", "audio_layout")] == [2, 2, "mono"]
    assert rows["effects"]["audio_layout"].startswith("5.1")
    assert "2 sound tracks (1, 2); track 2 is read" in rows["two"]["notes"]
    assert "channels of sound cancel: the loudest" in rows["opposite"]["notes"]

    prepare(videos, tmp_path / "first", settings.model_copy(update={"audio_track": 1}), tools=AnyFaceTools())
    assert rms(Cache(tmp_path / "first")["two"]["audio"]) == pytest.approx(TONE_RMS / 10, rel=0.05)
    # a clip without the track asked for has another sound than the user wants: it is left out, silence allowed or not
    second = settings.model_copy(update={"audio_track": 2, "require_audio": False})
    prepare(videos, tmp_path / "second", second, tools=AnyFaceTools())
    left_out = {i: (reason, detail) for i, reason, detail in Cache(tmp_path / "second").quarantined()}
    assert {i: reason for i, (reason, _) in left_out.items()} == {"opposite": "no_track", "effects": "no_track"}
    assert "has no sound track 2; it has 1 sound track" in left_out["opposite"][1]


def test_of_a_part_only_the_part_used_decides(tmp_path: Path) -> None:
    """One second of equal channels is used; after it they cancel, which concerns nobody."""
    three = np.concatenate([LOUD] * 3)
    wav(tmp_path / "s.wav", channels(three, np.where(np.arange(len(three)) < 48_000, three, -three)))
    assert decode_sound(tmp_path / "s.wav", used=1.0).mix == "ok"
    assert decode_sound(tmp_path / "s.wav").mix == "phase_cancelled"
    assert decode_sound(tmp_path / "s.wav", start=1.5).mix == "phase_cancelled"


@pytest.mark.parametrize("effects", ["LFE", "LFE2", "AMBI1"])
@pytest.mark.parametrize("cancelled", [2, 10])
def test_a_channel_that_does_not_count_is_never_used_alone(effects: str, cancelled: int) -> None:
    """However loud it is, and whether the others cancel in a fifth of the time or in all of it."""
    speech = np.sin(np.arange(10 * 1000) / 9) / 8
    opposite = np.where(np.arange(len(speech)) < cancelled * 1000, -speech, speech)
    layout = ("FL", effects, "FR")
    planes = np.stack([speech, np.sin(np.arange(len(speech)) / 50) / 2, 1.1 * opposite])
    levels = Levels(layout)
    for second in np.split(planes, 10, axis=1):
        levels.add(second, mixed(second, layout), rate=1000)
    result = levels.result()
    assert (result.verdict, result.alone) == ("phase_cancelled", 2)


def test_sound_after_the_last_picture_is_not_used(tmp_path: Path) -> None:
    """A second of pictures, and the sound sets in after 1.2 s: the clip is silent."""
    videos = tmp_path / "videos"
    videos.mkdir()
    clip(videos / "late.mkv", [np.concatenate([np.zeros(57_600), LOUD])])
    prepare(
        videos,
        tmp_path / "c",
        PrepareSettings(size=32, crop="paper", extract=(), min_frames=1, **ANY_QUALITY),
        tools=AnyFaceTools(),
    )
    (row,) = Cache(tmp_path / "c").index.to_dict("records")
    assert row["silent"] and row["has_audio"] and row["audio_mix"] == "silent"
    assert row["audio_seconds"] == pytest.approx(2.2, abs=0.05)


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    encode(tmp_path / "s.m4a", LOUD, "aac")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "s.m4a").read_bytes()))
    writer.start()
    piped = read_sound(tmp_path / "pipe", max_seconds=None)
    writer.join()
    assert np.array_equal(piped, read_sound(tmp_path / "s.m4a", max_seconds=None))


def test_damaged_sound_is_refused_beyond_a_few_packets(tmp_path: Path) -> None:
    import av

    encode(tmp_path / "s.mkv", np.concatenate([LOUD] * 2), "aac")
    with av.open(str(tmp_path / "s.mkv")) as container:
        packets = [bytes(packet) for packet in container.demux() if packet.size]
    data = (tmp_path / "s.mkv").read_bytes()
    for packet in packets[20:40]:
        data = data.replace(packet, b"\xff" * len(packet))
    (tmp_path / "bad.mkv").write_bytes(data)
    with pytest.raises(ItemError, match=r"^unreadable: bad\.mkv: \d+ of \d+ packets of its sound are damaged"):
        read_audio(tmp_path / "bad.mkv")
