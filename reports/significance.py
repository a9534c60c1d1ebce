"""Significance of differences between methods: a paired bootstrap over clips.

For two methods with per-clip values under one fingerprint, the clips that both have are resampled with replacement and
the mean difference is computed for each resample. A difference is significant when its 95 % interval excludes zero.
Metrics of whole sets (FID, FVD, DR) have no per-clip values and are not compared, nor are metrics with a target (BAS,
blinks), where a difference is neither better nor worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dawn_bench.reports.leaderboard import Cell, Column, Table

RESAMPLES = 2000
#: With fewer common clips an interval is meaningless.
MIN_CLIPS = 5
#: Draws of a block: with the values that they pick they fit into a processor's cache.
BLOCK = 1 << 15


@dataclass(frozen=True)
class Comparison:
    """The best ranked method of a column against another: mean difference (best minus other, in the metric's unit)."""

    column: Column
    best: str
    other: str
    difference: float
    low: float
    high: float
    n_clips: int

    @property
    def significant(self) -> bool:
        """Whether the 95 % interval excludes zero."""
        return self.low > 0 or self.high < 0


def comparisons(table: Table) -> list[Comparison]:
    """The best method of each ranked column against every other ranked one, on their common clips."""
    pairs: list[tuple[Column, str, str]] = []
    by_count: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index, column in enumerate(table.columns):
        if column.aim not in ("higher", "lower"):
            continue
        ranked = [(line.method, c) for line in table.lines if (c := line.cells[index]) is not None and c.rank]
        ranked.sort(key=lambda entry: entry[1].rank or 0)
        for method, cell in ranked[1:]:
            differences = paired(ranked[0][1], cell)
            if len(differences) >= MIN_CLIPS:
                by_count.setdefault(len(differences), []).append((len(pairs), differences))
                pairs.append((column, ranked[0][0], method))
    compared: dict[int, Comparison] = {}
    for n_clips, group in by_count.items():
        intervals = bootstrap(np.stack([differences for _, differences in group]))
        for (k, differences), (low, high) in zip(group, intervals, strict=True):
            compared[k] = Comparison(*pairs[k], float(differences.mean()), float(low), float(high), n_clips)
    return [compared[k] for k in range(len(pairs))]


def intervals(pairs: Sequence[tuple[Cell, Cell]]) -> list[tuple[float, float, float] | None]:
    """Mean difference, low and high of each pair of cells (first minus second) over their common clips.

    None for pairs with other settings or stand-ins, and with fewer than `MIN_CLIPS` common clips.
    """
    by_count: dict[int, list[tuple[int, np.ndarray]]] = {}
    for k, (first, second) in enumerate(pairs):
        differences = paired(first, second) if alike(first, second) else np.empty(0)
        if len(differences) < MIN_CLIPS:
            continue
        by_count.setdefault(len(differences), []).append((k, differences))
    measured: dict[int, tuple[float, float, float]] = {}
    for group in by_count.values():
        bounds = bootstrap(np.stack([differences for _, differences in group]))
        for (k, differences), (low, high) in zip(group, bounds, strict=True):
            measured[k] = float(differences.mean()), float(low), float(high)
    return [measured.get(k) for k in range(len(pairs))]


def alike(first: Cell, second: Cell) -> bool:
    """Whether two scores were computed in the same way, with real networks."""
    if first.row is None or second.row is None or first.seeded or second.seeded:
        return False
    return first.row.fingerprint == second.row.fingerprint


def paired(best: Cell, other: Cell) -> np.ndarray:
    """Per-clip differences float64 (n,) on the clips for which both cells have a value, in the order of the ids."""
    if best.row is None or other.row is None:
        return np.empty(0)
    ours, theirs = best.row.per_clip, other.row.per_clip
    pairs = [(ours[c], theirs[c]) for c in sorted(ours.keys() & theirs.keys())]
    return np.array([a - b for a, b in pairs if a is not None and b is not None], dtype=np.float64)


def bootstrap(differences: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The 95 % percentile intervals float64 (k, 2) of the means of k rows of `differences` (k, n) over resampled clips.

    All rows share the draws, which depend on the number of clips alone: an interval does not depend on the other rows.
    Memory beyond `differences` is 16 KB a row and two blocks of draws.
    """
    rng, clips = np.random.default_rng(seed), differences.shape[1]
    means = np.empty((len(differences), RESAMPLES))
    rows = max(1, BLOCK // clips)
    resampled = np.empty((rows, clips))
    for start in range(0, RESAMPLES, rows):
        picks = rng.integers(clips, size=(min(rows, RESAMPLES - start), clips))
        part = resampled[: len(picks)]
        for values, mean in zip(differences, means, strict=True):
            # `clip` saves the copy that "raise" makes of its output; no pick is out of range
            np.take(values, picks, out=part, mode="clip")
            part.mean(axis=1, out=mean[start : start + len(picks)])
    return np.percentile(means, [2.5, 97.5], axis=1).T
