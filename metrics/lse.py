"""Lip sync: LSE-C and LSE-D (Prajwal et al. 2020, Wav2Lip), and the offset at which picture and sound match best.

Per clip, as in joonson/syncnet_python: the distance between lip and audio embeddings for shifts of -15..15 frames,
averaged over the windows; LSE-D is the minimum of this curve, LSE-C its median minus its minimum. Then the mean over
clips. The audio is padded with zero vectors, which raises the curve of short clips: the note counts those with no more
windows than the largest shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from dawn_bench.metrics.functional.sync import UNUSED, distances, sync
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes
from dawn_bench.metrics.scoring.frames import ranges
from dawn_bench.text import counted


class _Lse(RatioMetric):
    group = "sync"
    needs: ClassVar[tuple[str, ...]] = ("syncnet",)
    compares = False
    shows: ClassVar[tuple[Literal["face", "motion"], ...]] = ("face", "motion")
    #: Field of `dawn_bench.metrics.functional.sync.Sync`.
    value: ClassVar[str]

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's value, with weight 1."""
        table = distances(generated["syncnet.lip"], generated["syncnet.audio"], shift=self.protocol.lse_shift)
        measured = sync(table.mean(axis=0))
        left_out = ""
        if (track := generated.get("syncnet.track")) is not None:
            first, last, count = track
            outside = np.concatenate([np.arange(first), np.arange(last + 1, count)])
            left_out = ranges(outside + self.protocol.skip_first)
        return Part(
            float(getattr(measured, self.value)),
            1,
            n_frames=len(table) + UNUSED,
            n_windows=len(table),
            left_out=left_out,
        )

    def fold(self, records: Mapping[str, Part]) -> Score:
        """The mean over clips, with the number of short clips in the note."""
        score = super().fold(records)
        short = sum(part.n_windows <= self.protocol.lse_shift for part in records.values())
        clips = f"{counted(short, 'clip')} {'has' if short == 1 else 'have'}"
        text = f"{clips} {self.protocol.lse_shift} windows or fewer, where padding has the largest effect"
        return replace(score, note=join_notes(score.note, text if short else ""))


@METRICS.register("lse-c")
class LseC(_Lse):
    """LSE-C, the confidence: median minus minimum of the distance curve."""

    name, title, value, higher_is_better, order = "lse-c", "LSE-C", "confidence", True, 40
    description = (
        "SyncNet confidence: how much smaller the distance between lips and speech is at the best offset than at a "
        "typical one."
    )


@METRICS.register("lse-d")
class LseD(_Lse):
    """LSE-D, the distance at the best shift."""

    name, title, value, higher_is_better, order = "lse-d", "LSE-D", "distance", False, 50
    description = "SyncNet distance between lips and speech at the best offset."


@METRICS.register("lse-offset")
class LseOffset(_Lse):
    """Frames by which the sound is ahead of the picture, at most the largest shift."""

    name, title, value, unit, target, order = "lse-offset", "LSE offset", "offset", "frames", "zero", 60
    description = "Offset at which SyncNet measures the best match of picture and sound; positive: the sound is ahead."
