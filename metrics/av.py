"""Mouth against sound without a network: correlation and lag of the mouth's opening and the sound's loudness.

Both are of the output alone. Loudness is the root mean square of the sound in each frame, the opening the gap between
the inner lips over the width of the face. `dawn_bench.metrics.functional.av_offset` defines the correlation at each lag
of -15 to 15 frames. AV corr. is the correlation at no lag. AV lag is the lag with the largest correlation, refined by a
parabola; it abstains for a clip without sound, without motion of the mouth, whose largest correlation is below .25 or
below 4.6 over the root of the number of frames (.41 for 5 s), less than .2 above the median of the lags, or lies at
more than 12 frames. A clip's mouth reaches that with another clip's sound in 5 % of the cases, in 2 s as in 10.

Loudness is a weak reference: a mouth opens before its sound, and closed lips hum. Against people's votes on lips the
side that the correlation prefers got .42 of them (.34 to .51), no more than chance. Read it between the true clips'
own value, which is far below 1, and that of shuffled sound; the correlation with the true mouth (`mouth-corr`) is the
measure that agrees with people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_bench.metrics.features.landmarks import model_note, seen_opening
from dawn_bench.metrics.functional.av_offset import (
    CONSTANT,
    MIN_PAIRS,
    av_offset,
    fill_gaps,
    lag_correlations,
)
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes, reasons
from dawn_bench.metrics.scoring.frames import ranges

#: The correlation that the best of 31 lags reaches by chance in 5 % of the cases, times the root of the frames;
#: measured on real clips with the sound of other clips.
CHANCE = 4.6
#: Largest lag that is trusted: what stands out near the end of the range may belong to a peak beyond it.
TRUSTED = 12
#: What a verdict of `av_offset` means for the reader of a note.
_ABSTAINS = {
    "no_sound": "no sound",
    "no_mouth": "no face in most frames",
    "still_mouth": "still mouth",
    "too_short": "too short",
    "steady_sound": "sound of one loudness",
    "unclear": "no lag stands out",
    "inverted": "the mouth closes with the sound",
    "at_range_end": f"best at more than {TRUSTED} frames",
}


@dataclass(frozen=True)
class AvMatch(Part):
    """A clip's value, the verdict on its lag, and the landmark model."""

    verdict: str = ""
    model: str = ""


class _Av(RatioMetric):
    group = "sync"
    optional = True
    needs = ("landmarks", "envelope", "repeated")
    compares = False

    def tracks(self, generated: Arrays) -> tuple[np.ndarray, np.ndarray, str]:
        """The mouth's opening (T,), NaN without a face, the loudness (T,), and the landmark model."""
        model, opening = seen_opening(generated)
        loudness = generated["envelope"][: len(opening)]
        return opening, np.pad(loudness, (0, len(opening) - len(loudness))), model

    def fold(self, records: Mapping[str, AvMatch]) -> Score:  # type: ignore[override]
        """The mean over clips, with the reasons of clips without a value and the landmark model in the note."""
        score = super().fold(records)
        why = reasons(_ABSTAINS.get(r.verdict, r.verdict) for r in records.values() if r.weight == 0)
        return replace(score, note=join_notes(score.note, why, model_note(records.values())))


def _reason(verdict: str, opening: np.ndarray, loudness: np.ndarray) -> str:
    """The verdict, where a still mouth of few frames is too short, and one beside steady sound is not."""
    if verdict not in ("still_mouth", "too_short"):
        return verdict
    if np.isfinite(opening).sum() < MIN_PAIRS:
        return "too_short"
    return "steady_sound" if loudness.std() < CONSTANT else verdict


@METRICS.register("av-corr")
class AvCorr(_Av):
    """Mean over clips of the correlation at no lag, -1..1."""

    name, title, target, order = "av-corr", "AV corr.", "truth", 36
    shows = ("face", "motion")
    description = (
        "Correlation of the mouth's opening with the loudness of the output's own sound, without a network. Lips that "
        "ignore the sound or come late lower it; picture and identity do not move it. Loudness is a weak reference, so "
        "the true clips' value is the goal, not 1, and shuffled sound is the floor. People's votes do not follow it."
    )

    def measure(self, generated: Arrays, true: Arrays) -> AvMatch:
        """The clip's correlation; weight 0 without sound, without a moving mouth, or below 25 frames."""
        opening, loudness, model = self.tracks(generated)
        verdict = _reason(av_offset(opening, loudness, max_lag=0).verdict, opening, loudness)
        r = float(lag_correlations(fill_gaps(opening), loudness, max_lag=0)[0])
        if verdict == "still_mouth":  # which follows no sound
            r = 0.0
        defined = bool(np.isfinite(r)) and verdict in ("still_mouth", "unclear", "ok", "inverted", "at_range_end")
        lost = ranges(np.flatnonzero(np.isnan(opening)) + self.protocol.skip_first)
        count = int(np.isfinite(opening).sum())
        return AvMatch(r if defined else 0.0, int(defined), count, left_out=lost, verdict=verdict, model=model)


@METRICS.register("av-lag")
class AvLag(_Av):
    """Mean over clips of the refined lag, frames at 25 a second."""

    name, title, unit, target, order = "av-lag", "AV lag", "frames", "truth", 38
    shows = ("face", "motion")
    description = (
        "Frames by which the mouth's opening follows the loudness of the output's own sound, without a network; "
        "positive: the mouth is late. A shift of picture against sound moves it one for one; picture quality and the "
        "size of the motion do not. Abstains for clips in which the two have no clear common lag."
    )

    def measure(self, generated: Arrays, true: Arrays) -> AvMatch:
        """The clip's lag; weight 0 where it abstains."""
        opening, loudness, model = self.tracks(generated)
        result = av_offset(opening, loudness)
        lost = ranges(np.flatnonzero(np.isnan(opening)) + self.protocol.skip_first)
        count, verdict = int(np.isfinite(opening).sum()), _reason(result.verdict, opening, loudness)
        if verdict == "ok" and result.r is not None and result.r < CHANCE / np.sqrt(count):
            verdict = "unclear"
        if verdict == "ok" and abs(result.offset or 0) > TRUSTED:
            verdict = "at_range_end"
        if verdict != "ok" or result.refined is None:
            return AvMatch(0.0, 0, count, left_out=lost, verdict=verdict, model=model)
        return AvMatch(result.refined, 1, count, left_out=lost, verdict=verdict, model=model)
