"""Precision, recall, density and coverage of generated features among true ones. Higher is better.

Sources: Kynkäänniemi et al. 2019 (precision, recall: k = 3, a sample at exactly a ball's radius is inside); Naeem et
al. 2020 (density, coverage: k = 5, it is outside). Precision and density ask whether what was generated could be true,
recall and coverage whether everything true was generated. They take one frame a second, the middle one: successive
frames are near copies, whose balls are so small that nothing lies in them. A clip shorter than half a second has none.

On Inception's features the names are plain; on those of EfficientNet-Lite0, which need no download, `(Lite0)` stands
behind them. The interval is the jackknife over clips, in at most 20 groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.metrics.fid import Pair
from dawn_bench.metrics.functional.frechet import interval
from dawn_bench.metrics.functional.prdc import Manifolds, manifolds
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Score

#: Groups of clips that the jackknife leaves out one after the other.
GROUPS = 20


class ManifoldMetric(Metric):
    """Common part: the share over the chosen frames of all clips."""

    higher_is_better = True
    optional = True
    unpaired = True
    interval = "one share over the frames of all clips together; 95 % jackknife interval over groups of clips"
    minimum, minimum_of = 100, "frames"
    array: ClassVar[str]
    #: Which share.
    share: ClassVar[str]

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The features of one frame a second; raises `ItemError("not_finite")` where they contain NaN."""
        pair = Pair(*(np.asarray(side[self.array])[FPS // 2 :: FPS].copy() for side in (generated, true)))
        if not all(np.isfinite(rows).all() for rows in pair):
            raise ItemError("not_finite", f"{self.array} features are not finite numbers")
        return pair

    def fold(self, records: Mapping[str, Pair]) -> Score:
        """The share over all clips together, None for k frames or fewer on a side."""
        pairs = list(records.values())
        n = sum(len(pair.generated) for pair in pairs)
        value = self._share(pairs)
        if value is None:
            return Score(None, None, None, len(pairs), n, note=f"a side has {self._k()} frames or fewer")
        groups = np.array_split(np.arange(len(pairs)), min(len(pairs), GROUPS))
        rest = [self._share([pair for k, pair in enumerate(pairs) if k not in set(group.tolist())]) for group in groups]
        left = np.array([value if v is None else v for v in rest])
        influence = (len(left) - 1) / len(left) * (left.mean() - left)
        low, high = interval(value, influence, floor=0.0)
        if high is not None and self.share != "density":
            high = min(high, 1.0)
        return Score(value, low, high, len(pairs), n, self.imprecise(n))

    def _k(self) -> int:
        return 3 if self.share in ("precision", "recall") else 5

    def _share(self, pairs: Sequence[Pair]) -> float | None:
        if not pairs:
            return None
        ours, true = (np.concatenate([np.asarray(rows) for rows in side]) for side in zip(*pairs, strict=True))
        k = self._k()
        if min(len(ours), len(true)) <= k:
            return None
        shares: Manifolds = manifolds(ours, true, k=k, inside="<=" if k == 3 else "<")
        return float(getattr(shares, self.share))


@METRICS.register("precision")
class Precision(ManifoldMetric):
    """On Inception's features."""

    name, title, order, share = "precision", "Precision", 180, "precision"
    description = (
        "Share of the generated frames that lie among true ones, by one frame a second in Inception's "
        "features. It says nothing about motion."
    )
    needs, array = ("inception",), "inception"


@METRICS.register("recall")
class Recall(ManifoldMetric):
    """On Inception's features."""

    name, title, order, share = "recall", "Recall", 181, "recall"
    description = (
        "Share of the true frames that lie among generated ones, by one frame a second in Inception's "
        "features. It says nothing about motion."
    )
    needs, array = ("inception",), "inception"


@METRICS.register("density")
class Density(ManifoldMetric):
    """On Inception's features."""

    name, title, order, share = "density", "Density", 182, "density"
    description = (
        "How many true frames' neighbourhoods a generated frame lies in, 1 for equal distributions, by one frame a "
        "second in Inception's features. It says nothing about motion."
    )
    needs, array = ("inception",), "inception"


@METRICS.register("coverage")
class Coverage(ManifoldMetric):
    """On Inception's features."""

    name, title, order, share = "coverage", "Coverage", 183, "coverage"
    description = (
        "Share of the true frames' neighbourhoods with a generated frame in them, by one frame a second in Inception's "
        "features. It says nothing about motion."
    )
    needs, array = ("inception",), "inception"


@METRICS.register("precision-lite0")
class PrecisionLite0(Precision):
    """On EfficientNet-Lite0's features."""

    name, title, order = "precision-lite0", "Precision (Lite0)", 184
    description = Precision.description.replace("Inception's", "EfficientNet-Lite0's")
    needs, array = ("lite0",), "lite0"


@METRICS.register("recall-lite0")
class RecallLite0(Recall):
    """On EfficientNet-Lite0's features."""

    name, title, order = "recall-lite0", "Recall (Lite0)", 185
    description = Recall.description.replace("Inception's", "EfficientNet-Lite0's")
    needs, array = ("lite0",), "lite0"


@METRICS.register("density-lite0")
class DensityLite0(Density):
    """On EfficientNet-Lite0's features."""

    name, title, order = "density-lite0", "Density (Lite0)", 186
    description = Density.description.replace("Inception's", "EfficientNet-Lite0's")
    needs, array = ("lite0",), "lite0"


@METRICS.register("coverage-lite0")
class CoverageLite0(Coverage):
    """On EfficientNet-Lite0's features."""

    name, title, order = "coverage-lite0", "Coverage (Lite0)", 187
    description = Coverage.description.replace("Inception's", "EfficientNet-Lite0's")
    needs, array = ("lite0",), "lite0"
