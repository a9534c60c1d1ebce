"""FVD16 and FVD32: the Fréchet distance between I3D logits of windows of 16 and of 32 frames. Lower is better, no unit.

Source: Unterthiner et al. 2018; the StyleGAN-V port of TF-Hub's `i3d-kinetics-400`. DAWN's paper gives "window sizes
of 16 and 32 frames": each clip is cut into consecutive windows without overlap, from frame 0, and the windows of all
clips are pooled; a clip shorter than a window is excluded and counted. Covariance by N-1 (`fvd_covariance=biased` is
StyleGAN-V's 1/N, lower by 11 % at 8 windows). Biased upwards for few windows: on the same clips FVD32 has half the
windows of FVD16 and is larger for that reason alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.metrics.fid import FrechetMetric, Pair, Running
from dawn_bench.metrics.functional.frechet import Samples
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Score, join_notes
from dawn_bench.text import counted


class _Fvd(FrechetMetric):
    minimum, minimum_of = 401, "windows"
    interval = "one distance over the windows of all clips together; 95 % jackknife interval over clips"

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0, running: bool = False) -> None:
        super().__init__(protocol, seed=seed, running=running)
        if running and protocol.fvd_windows is not None:
            raise InputError("fvd_windows draws from all windows, running=True keeps none.", hint="Choose one.")
        self.biased = protocol.fvd_covariance == "biased"

    def fold(self, records: Mapping[str, Pair | Running]) -> Score:
        """The distance over all windows, or over a random `fvd_windows` of them."""
        wanted, pairs = self.protocol.fvd_windows, {k: r for k, r in records.items() if isinstance(r, Pair)}
        count = sum(len(pair.generated) for pair in pairs.values())
        if wanted is None:
            return super().fold(records)
        score = super().fold(_drawn(pairs, wanted))
        note = (
            f"{wanted} of {counted(count, 'window')} drawn"
            if count >= wanted
            else f"{counted(count, 'window')}, {wanted} requested"
        )
        return replace(score, note=join_notes(score.note, note))


def _drawn(pairs: Mapping[str, Pair], wanted: int) -> dict[str, Pair]:
    """`wanted` windows of each side, or all where a side has fewer; the same places of both where they are pairs."""
    sides = ([p.generated for p in pairs.values()], [p.true for p in pairs.values()])
    drawn = (Pair(*parts) for parts in zip(*(_chosen(side, wanted) for side in sides), strict=True))
    return {clip: pair for clip, pair in zip(pairs, drawn, strict=True) if len(pair.generated) or len(pair.true)}


def _chosen(parts: Sequence[Samples], wanted: int) -> list[Samples]:
    starts = np.cumsum([0, *map(len, parts)])
    if starts[-1] <= wanted:
        return list(parts)
    chosen = np.sort(np.random.default_rng(0).choice(starts[-1], wanted, replace=False))
    ends = zip(parts, starts, starts[1:], strict=False)
    return [np.asarray(part)[chosen[(chosen >= first) & (chosen < after)] - first] for part, first, after in ends]


_DESCRIPTION = (
    "Fréchet distance between I3D logits of {}-frame windows of generated and true videos: picture quality and motion "
    "together. Biased upwards for few windows, so compare only scores with equal window counts."
)


@METRICS.register("fvd16")
class Fvd16(_Fvd):
    """Over windows of 16 frames."""

    name, title, order = "fvd16", "FVD16", 20
    description = _DESCRIPTION.format(16)
    needs, array, frames_each = ("i3d.16",), "i3d.16", 16


@METRICS.register("fvd32")
class Fvd32(_Fvd):
    """Over windows of 32 frames."""

    name, title, order = "fvd32", "FVD32", 30
    description = _DESCRIPTION.format(32)
    needs, array, frames_each = ("i3d.32",), "i3d.32", 32
