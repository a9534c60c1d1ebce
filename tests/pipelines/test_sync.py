"""Sound and picture in step in the prepared cache itself: flashes and beeps at the start, in the middle, at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from media.clapper import even_stamps, flash_instants, write_clapper
from media.cuts import EDITS, edited
from media.face import ANY_QUALITY, AnyFace
from media.marks import number_of, onsets_of_light, onsets_of_sound
from media.time import RATES

from dawn_bench.cache import Cache
from dawn_bench.pipelines.faces.base import FACE_BACKENDS
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

#: Seconds: half a frame, and half a sample at 16 kHz of rounding.
HALF_FRAME = 0.02 + 1e-4


@pytest.fixture(autouse=True)
def any_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """The back end `any-face`, registered for one test."""
    assert "dlib" in FACE_BACKENDS  # the built-in ones are registered first
    monkeypatch.setitem(FACE_BACKENDS._items, "any-face", AnyFace)


def cache_of(folder: Path, **settings: int) -> Cache:
    chosen = PrepareSettings(size=32, crop="paper", face="any-face", extract=(), **ANY_QUALITY, **settings)
    prepare(folder / "clips", folder / "cache", chosen)
    return Cache(folder / "cache")


def test_flashes_and_beeps_of_a_minute(tmp_path: Path) -> None:
    near = (0.4, 30.2, 60.5)
    (tmp_path / "clips").mkdir()
    expected = {}
    for name in ("23.976", "29.97"):
        stamps = even_stamps(RATES[name], 61)
        write_clapper(
            tmp_path / "clips" / f"r{name.replace('.', '_')}.mp4", stamps, near, rate=RATES[name], sound_rate=16_000
        )
        expected[f"r{name.replace('.', '_')}"] = flash_instants(stamps, near)
    clips = {clip.id: clip for clip in cache_of(tmp_path).clips()}
    assert clips.keys() == expected.keys()
    for name, instants in expected.items():
        flashes = onsets_of_light(clips[name]["frames"].mean(axis=(1, 2, 3)))
        beeps = onsets_of_sound(clips[name]["audio"])
        assert len(flashes) == len(beeps) == 3
        for flash, beep, instant in zip(flashes, beeps, instants, strict=True):
            assert abs(flash - beep) <= HALF_FRAME, (name, flash, beep)
            assert abs(beep - float(instant)) < 0.002, (name, beep)


def test_an_edit_list_ends_in_the_cache_as_a_player_shows_it(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("both-ends", "several"):
        edited(EDITS[name])(tmp_path / "clips" / f"{name}.mp4")
    for clip in cache_of(tmp_path).clips():
        shown = [number_of(frame) for frame in clip["frames"]]
        assert shown == [number for first, end in EDITS[clip.id] for number in range(first, end)]
        assert len(clip["audio"]) == 640 * len(shown)
