"""Beats and the beat align score against librosa, Bailando and AI Choreographer's formula."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, facts, make, relative

from dawn_bench.metrics.beats import alignment, beat_frames, motion_beats, onset_envelope, onset_frames

PATHS = golden_cases("metrics", "bas.json")
CASES = [(path, name) for path in PATHS for name in facts(path)["wav_recipe"]]


def ids(case):
    return f"{case[0].parent}:{case[1]}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_sound_beats_as_librosa(case):
    path, name = case
    stored = arrays(path)
    envelope = onset_envelope(make(path.parent, facts(path)["wav_recipe"][name]))
    assert relative(envelope, stored[f"{name}_onset_env25"]) < 1e-5
    for found in (envelope, stored[f"{name}_onset_env25"]):
        assert np.array_equal(beat_frames(found), stored[f"{name}_beats25"])
        assert np.array_equal(onset_frames(found), stored[f"{name}_onsets25"])


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_motion_beats_and_both_directions(case):
    path, name = case
    stored, fact = arrays(path), facts(path)[name]
    motion = motion_beats(stored[f"{name}_kp"])
    assert np.array_equal(motion, stored[f"{name}_motion_beats"])
    assert len(motion) == fact["n_motion_beats"]
    kinds = {kind: expected for kind, expected in fact.items() if isinstance(expected, dict)}
    assert kinds
    for kind, expected in kinds.items():
        sound = stored[f"{name}_audio_{kind}"]
        assert len(sound) == expected["n"]
        assert alignment(sound, motion) == pytest.approx(expected["bailando"], abs=1e-12)
        assert alignment(motion, sound) == pytest.approx(expected["aichoreo_formula"], abs=1e-12)
