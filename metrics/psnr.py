"""PSNR: peak signal to noise ratio against the true frames, in dB. Higher is better.

The mean over a clip's frames of 10 log10(255² / MSE), MSE over pixels and channels, then the mean over clips.
Identical frames get 100 dB (`psnr_cap`) and are counted in the note. `psnr_mean=pooled` is a different number, that of
torchmetrics' default: the dB of the mean error over all frames of all clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, by_second
from dawn_bench.pixels import psnr


@METRICS.register("psnr")
class Psnr(RatioMetric):
    """Mean over clips of the mean over frames."""

    name, title, unit, higher_is_better, order = "psnr", "PSNR", "dB", True, 120
    description = "Peak signal-to-noise ratio against the true frame, mean over frames."
    needs = ("images",)

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0) -> None:
        super().__init__(protocol, seed=seed)
        if protocol.psnr_mean == "pooled":
            self.interval = "dB of the mean error over the frames of all clips; 95 % bootstrap interval over clips"

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's mean in dB; its summed squared error where errors are pooled."""
        mse = generated["images.mse"]
        same = int((mse == 0).sum())
        if self.protocol.psnr_mean == "pooled":
            return Part(float(mse.sum()), len(mse), len(mse), n_identical=same)
        values = psnr(mse, cap=self.protocol.psnr_cap)
        return Part(float(values.mean()), 1, len(mse), n_identical=same, seconds=by_second(values))

    def fold(self, records: Mapping[str, Part]) -> Score:
        """The mean over clips; the dB of the pooled error under `psnr_mean=pooled`."""
        score = super().fold(records)
        if self.protocol.psnr_mean == "frames":
            return score
        return replace(
            score,
            value=self._db(score.value),
            low=self._db(score.high),  # a larger error is a lower ratio
            high=self._db(score.low),
            per_clip={clip: self._db(error) for clip, error in score.per_clip.items()},
        )

    def _db(self, mse: float | None) -> float | None:
        return None if mse is None else float(psnr(mse, cap=self.protocol.psnr_cap))
