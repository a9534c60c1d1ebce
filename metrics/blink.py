"""Blink/s: blinks per second of video.

Counted as in DinoMan/blink-detector (Vougioukas et al. 2020): a blink is a fall of the eye aspect ratio by more than
0.072 in a frame at 25 fps, and two blinks are at least 4 frames apart. `blink_rule=online` is the same authors' online
detector, `blink_rule=threshold` counts runs of frames below 0.2. The score is all blinks over all seconds; the note
gives the mean of the clips' own rates.

The number depends on the landmark model, named in the note: dlib's points jitter on faces smaller than about 60 px.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace

from dawn_bench.clip import FPS
from dawn_bench.metrics.features.landmarks import landmarks_of, model_note
from dawn_bench.metrics.functional.blinks import closing_edges, closures, online, openness
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes


@dataclass(frozen=True)
class Blinks(Part):
    """A clip's blinks and seconds, and the landmark model."""

    model: str = ""


@METRICS.register("blink")
class BlinkRate(RatioMetric):
    """Blinks over seconds, all clips together."""

    group = "motion"
    name, title, unit, target, order = "blink", "Blink/s", "1/s", "truth", 90
    description = "Blinks per second, counted as sharp falls of the eye aspect ratio."
    needs = ("landmarks",)
    compares = False
    interval = "all blinks over all seconds; 95 % bootstrap interval over clips"
    shows = ("face", "motion")

    def measure(self, generated: Arrays, true: Arrays) -> Blinks:
        """The clip's blinks, with its seconds as weight."""
        p = self.protocol
        model, points = landmarks_of(generated)
        ear = openness(points)
        blinks: Sized
        if p.blink_rule == "closing-edge":
            blinks = closing_edges(ear, edge=p.blink_edge)
        elif p.blink_rule == "online":
            blinks = online(ear, threshold=p.blink_threshold, frames=p.blink_frames)
        else:
            blinks = closures(ear, threshold=p.blink_threshold, frames=p.blink_frames)
        return Blinks(len(blinks), len(ear) / FPS, n_frames=len(ear), model=model)

    def fold(self, records: Mapping[str, Blinks]) -> Score:  # type: ignore[override]
        """All blinks over all seconds, with landmark model and mean rate in the note."""
        score = super().fold(records)
        rates = [rate for rate in score.per_clip.values() if rate is not None]
        texts = [score.note, model_note(records.values()), f"mean of the clips' rates {sum(rates) / len(rates):.3f}"]
        return replace(score, note=join_notes(*texts))
