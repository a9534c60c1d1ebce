"""The lag between mouth and sound on real clips: it moves with the sound where it is measured, and else abstains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawn_bench.baselines.formats import read_output
from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.metrics.av import AvCorr, AvLag, AvMatch
from dawn_bench.metrics.features.envelope import Envelope
from dawn_bench.metrics.features.landmarks import Landmarks

#: Short clips, of several sources: landmarks of a long one take seconds.
PATTERNS = ("grid_*.mpg", "1001_*.flv", "voxceleb2_00473.mp4")
SHIFTS = (-6, -3, 3, 6)


@pytest.fixture(scope="module")
def real(clips_dir: Path) -> list[tuple[str, dict[str, np.ndarray], np.ndarray]]:
    """Names of real clips, their landmarks and their sound."""
    seen = []
    for path in sorted(path for pattern in PATTERNS for path in clips_dir.glob(pattern)):
        clip = read_output(path, Clip(path.stem, "", "", 0, {}))
        seen.append((path.stem, Landmarks().run(clip, {}), np.asarray(clip["audio"])))
    if not seen:
        pytest.skip("the real clips next to the checkout are absent")
    return seen


def match_of(
    landmarks: dict[str, np.ndarray], sound: np.ndarray, *, metric: type[AvLag] | type[AvCorr] = AvLag
) -> AvMatch:
    envelope = Envelope().run(Clip("a", "", "", 0, {"audio": sound}), {})
    return metric().measure(landmarks | envelope, {})


def shifted(sound: np.ndarray, frames: int) -> np.ndarray:
    """The sound `frames` frames later, silent where there is none."""
    moved, count = np.zeros_like(sound), frames * SAMPLES_PER_FRAME
    if count > 0:
        moved[count:] = sound[:-count]
    else:
        moved[:count] = sound[-count:]
    return moved


def test_sound_shifted_by_k_frames_moves_the_lag_by_k_where_there_is_one(real) -> None:
    measured, still_measured, abstained = 0, 0, 0
    for name, landmarks, sound in real:
        lag = match_of(landmarks, sound)
        if not lag.weight:
            abstained += 1
            continue
        measured += 1
        for frames in SHIFTS:
            moved = match_of(landmarks, shifted(sound, frames))
            if moved.weight:  # the end that it loses may have been what stood out
                still_measured += 1
                assert moved.total == pytest.approx(lag.total - frames, abs=0.25), (name, frames)
    assert measured >= 3 and abstained >= 3
    assert still_measured >= 0.5 * len(SHIFTS) * measured


def test_the_own_sound_correlates_more_than_that_of_other_clips(real) -> None:
    own, other = [], []
    for k, (_, landmarks, sound) in enumerate(real):
        own.append(match_of(landmarks, sound, metric=AvCorr).total)
        others = (np.resize(s, len(sound)) for j, (*_, s) in enumerate(real) if j != k)
        other.append(np.mean([match_of(landmarks, s, metric=AvCorr).total for s in others]))
    # sentences of one pattern resemble each other
    assert np.mean(own) > 0.3 and np.mean(own) > np.mean(other) + 0.2
