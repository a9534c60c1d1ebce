"""Lip sync: LSE-C and LSE-D (Prajwal et al. 2020, Wav2Lip), and the offset at which picture and sound fit best.

Per clip, as in joonson/syncnet_python: the distance between lip and sound embeddings for shifts of -15..15 frames, its
mean over the windows, LSE-D = the minimum, LSE-C = median minus minimum. Then the mean over clips. Beyond the ends of
the sound stand zero vectors, which lifts the curve of short clips: those with no more windows than the largest shift
are counted in the note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from dawn_bench.metrics.functional.sync import UNUSED, distances, sync
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score


class _Lse(RatioMetric):
    needs: ClassVar[tuple[str, ...]] = ("syncnet",)
    compares = False
    #: Field of `dawn_bench.metrics.functional.sync.Sync`.
    value: ClassVar[str]

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        table = distances(generated["syncnet.lip"], generated["syncnet.audio"], shift=self.protocol.lse_shift)
        found = sync(table.mean(axis=0))
        return Part(float(getattr(found, self.value)), 1, n_frames=len(table) + UNUSED, n_windows=len(table))

    def fold(self, records: Mapping[str, Part]) -> Score:
        score = super().fold(records)
        short = sum(part.n_windows <= self.protocol.lse_shift for part in records.values())
        text = f"{short} clips have {self.protocol.lse_shift} windows or fewer, where padding weighs most"
        return replace(score, note="; ".join(filter(None, [score.note, text if short else ""])))


@METRICS.register("lse-c")
class LseC(_Lse):
    """LSE-C, the confidence: median minus minimum of the distance curve."""

    name, title, value, higher_is_better = "lse-c", "LSE-C", "confidence", True


@METRICS.register("lse-d")
class LseD(_Lse):
    """LSE-D, the distance at the best shift."""

    name, title, value, higher_is_better = "lse-d", "LSE-D", "distance", False


@METRICS.register("lse-offset")
class LseOffset(_Lse):
    """Frames by which the sound is ahead of the picture; a clip cannot show more than the largest shift."""

    name, title, value, unit = "lse-offset", "LSE offset", "offset", "frames"
