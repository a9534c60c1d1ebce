"""Mono from stereo, 5.1 and 7.1: levels, verdicts and the channel used alone, of every reference case."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from goldens import golden_cases
from media.sound_writers import wav

from dawn_bench.pipelines.media.audio import decode_sound
from dawn_bench.pipelines.media.downmix import Levels, gains, judge, mixed

PATHS = golden_cases("metrics2", "downmix.json")
CASES = [(path, name) for path in PATHS for name in json.loads(path.read_text())["cases"]]


def ids(case: tuple[Path, str]) -> str:
    return f"{case[0].parent}:{case[1]}"


def level(samples: np.ndarray) -> float | None:
    """dBFS; None for silence."""
    power = float(np.square(samples, dtype=np.float64).mean())
    return 10 * math.log10(power) if power else None


def close(value: float | None, expected: float | str | None) -> None:
    if expected is None or value is None:
        assert value is expected
    elif isinstance(expected, str):
        assert value == float(expected)
    else:
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_gains(path: Path) -> None:
    facts = json.loads(path.read_text())
    for layout, names in facts["channel_order"].items():
        expected = np.array([facts["coefficients"][layout][name] for name in names])
        np.testing.assert_allclose(gains(names), expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_mix_and_the_verdict(case: tuple[Path, str]) -> None:
    path, name = case
    facts, arrays = json.loads(path.read_text())["cases"][name], np.load(path.with_suffix(".npz"))
    planes, channels = arrays[f"{name}_in"] / 32768, facts["channels"]
    np.testing.assert_allclose(mixed(planes, channels), arrays[f"{name}_mono_normalised"], atol=1e-6)
    levels = Levels(tuple(channels))
    levels.add(planes, mixed(planes, channels), rate=planes.shape[1])
    result = levels.result()
    mono = mixed(planes, channels, alone=result.alone)
    assert result.verdict == facts["verdict"]
    alone = None if result.alone is None else channels[result.alone]
    assert alone == facts["channel_to_use_alone"]
    close(level(mono), facts["product_mono_rms_dbfs"])
    close(level(mixed(planes, channels)), facts["normalised_rms_dbfs"])
    close(result.cancellation_db, facts["cancellation_db"])
    power = np.square(planes).mean(axis=1)
    sum_power = float(np.square(gains(channels) @ planes).mean())
    assert judge(power, sum_power, channels).verdict == facts["verdict"]


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_same_from_a_file(case: tuple[Path, str], tmp_path: Path) -> None:
    """Through a wav file at 16 kHz, int16: levels to the rounding of int16."""
    path, name = case
    facts, arrays = json.loads(path.read_text())["cases"][name], np.load(path.with_suffix(".npz"))
    wav(tmp_path / "s.wav", arrays[f"{name}_in"] / 32767, rate=16_000)
    sound = decode_sound(tmp_path / "s.wav")
    assert sound.mix == facts["verdict"]
    expected = facts["product_mono_rms_dbfs"]
    assert len(sound.samples) == arrays[f"{name}_in"].shape[1]
    if expected is None:
        assert not sound.samples.any()
    else:
        assert level(sound.samples / 32768) == pytest.approx(expected, abs=0.01)
    if facts["channel_to_use_alone"] is not None:
        alone = arrays[f"{name}_in"][facts["channels"].index(facts["channel_to_use_alone"])]
        assert np.array_equal(sound.samples, alone)
        assert any(f"({facts['channel_to_use_alone']})" in note for note in sound.notes)
