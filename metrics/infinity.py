"""FID∞ and FVD16∞: the Fréchet distances of infinitely many clips, by a line over fewer and fewer. Lower is better.

Source: Chong and Forsyth 2020. A Fréchet distance exceeds the true one by about b/n; the distances of 15 numbers of
clips are drawn against 1/n, and the line's value at 0 is the score. Their code shuffles pictures and keeps all true
ones (`functional.infinity.frechet_infinity`, equal to it). Here whole clips are left out, since the frames of one are
one draw, and both sides lose the same ones. The numbers go up to all clips from a fifth of them, or from where there
are 1.2 samples a feature: with fewer the bias is no line. Fewer than 200 clips are refused. A negative value is a
valid result.

The interval is that of the line at 0, the usual one of a regression; it says nothing about drawing other clips. The
note has R², which is low where the distance hardly depends on the number of clips, and where it is noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import t as student

from dawn_bench.metrics.fid import Fid, FrechetMetric, Pair, Running
from dawn_bench.metrics.functional.bootstrap import LEVEL
from dawn_bench.metrics.functional.frechet import frechet_by_clip
from dawn_bench.metrics.functional.infinity import extrapolate
from dawn_bench.metrics.fvd import Fvd16
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Score, join_notes

#: Clips below which there is no score, numbers of clips on the line, and the least of them as a share.
LEAST, POINTS, SHARE = 200, 15, 0.2
#: Samples a feature that the least number of clips has.
A_FEATURE = 1.2


class _Infinity(FrechetMetric):
    """The line through the distances of the first clips of one random order."""

    optional, unpaired = True, False
    minimum, minimum_of = LEAST, "clips"
    interval = "value at 1/n = 0 of a line through the distances of 15 numbers of clips; its 95 % regression interval"

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0) -> None:
        super().__init__(protocol, seed=seed)

    def fold(self, records: Mapping[str, Pair | Running]) -> Score:
        """The extrapolated distance; None below 200 clips, and below 2.4 samples a feature."""
        pairs = [r for r in records.values() if isinstance(r, Pair)]
        n_frames = sum(len(pair.generated) for pair in pairs) * self.frames_each
        if few := self.too_few(len(pairs)):
            return Score(None, None, None, len(pairs), n_frames, note=few)
        order = np.random.default_rng(self.seed).permutation(len(pairs))
        n, width = min(sum(map(len, side)) for side in zip(*pairs, strict=True)), pairs[0].true.shape[1]
        least = max(SHARE, A_FEATURE * width / max(n, 1)) * len(pairs)
        if least > len(pairs) / 2:
            note = f"{n} samples of {width} features are too few for a line"
            return Score(None, None, None, len(pairs), n_frames, note=note)
        sizes = np.linspace(least, len(pairs), POINTS).round().astype(int)
        distances = []
        for size in sizes:
            chosen = [pairs[k] for k in order[:size]]
            sides = [p.generated for p in chosen], [p.true for p in chosen]
            distances.append(frechet_by_clip(*sides, biased=self.biased, influence=False).value)
        line = extrapolate(sizes.tolist(), distances)
        assert line is not None and line.error is not None
        reach = float(student.ppf((1 + LEVEL) / 2, POINTS - 2)) * line.error
        bounds = line.infinity - reach, line.infinity + reach
        return Score(line.infinity, *bounds, len(pairs), n_frames, join_notes(f"R² {line.r2:.2f}"))


@METRICS.register("fid-inf")
class FidInfinity(_Infinity):
    """Over every frame."""

    name, title, order = "fid-inf", "FID∞", 13
    description = "FID without its bias for few frames: extrapolated to infinitely many clips. At least 200 are needed."
    needs, array = Fid.needs, "inception"


@METRICS.register("fvd16-inf")
class Fvd16Infinity(_Infinity):
    """Over windows of 16 frames."""

    name, title, order = "fvd16-inf", "FVD16∞", 22
    description = (
        "FVD16 without its bias for few windows: extrapolated to infinitely many clips. At least 200 are needed."
    )
    needs, array, frames_each = Fvd16.needs, "i3d.16", 16

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0) -> None:
        super().__init__(protocol, seed=seed)
        self.biased = protocol.fvd_covariance == "biased"
