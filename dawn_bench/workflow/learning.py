"""Learning signal of generated clips: lips follow the speech better than with another clip's speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dawn_bench.baselines.formats import read_output
from dawn_bench.baselines.outputs import OK, Output
from dawn_bench.clip import Clip
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.results import LearningSignal
from dawn_bench.text import counted
from dawn_bench.training.mouth import correlation, frame_landmarks, mouth_opening


def lips_follow_sound(
    generated: dict[str, Output], shuffled: dict[str, Output], clips: Sequence[Clip], backend: FaceBackend
) -> LearningSignal:
    """Correlation of generated with true mouth opening, mean over clips; baseline: with another clip's audio."""
    own: list[float] = []
    other: list[float] = []
    for clip in clips:
        if generated[clip.id].status != OK or shuffled[clip.id].status != OK:
            continue
        truth = mouth_opening(clip["landmarks"])
        for outputs, values in ((generated, own), (shuffled, other)):
            path = outputs[clip.id].path
            assert path is not None
            points = frame_landmarks(read_output(path, clip)["frames"], backend, np.asarray(clip["landmarks"]))
            opening = mouth_opening(points)
            values.append(correlation(opening, truth[: len(opening)]))
    name = "generated mouth opening follows the sound (correlation)"
    if not own:
        return LearningSignal(signal=name, value=None, passed=False, note="no clip was generated both ways")
    value, baseline = float(np.mean(own)), float(np.mean(other))
    note = f"{counted(len(own), 'held-out clip')}; baseline: another clip's sound"
    return LearningSignal(signal=name, value=value, baseline=baseline, passed=value > baseline, note=note)
