"""The floor and the ceiling of a column: the worst and the best of its sanity rows.

A number means little without both. Shuffled sound and a still portrait are what a metric gives to no skill at all; the
true clips, and the same re-encoded, are what no method can beat: they are never a floor. Where the best value is the
ground truth's own (BAS, blinks), the ceiling is that value, and the floor is what lies farthest from it. Of outputs
driven by silence the still portrait alone has a value, and nothing rests more: it is the ceiling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.reports.leaderboard import GROUND_TRUTH, Cell, LeaderboardRow, Table, merit

#: Sanity rows that show the true clips.
TRUE = (GROUND_TRUTH, "ground-truth-reencoded")
#: What a method's own outputs with another clip's sound are called, behind its name.
SHUFFLED = "-shuffled"


@dataclass(frozen=True)
class Bound:
    """A sanity row that bounds a column."""

    method: str
    cell: Cell

    @property
    def value(self) -> float:
        """Its value, always finite."""
        assert self.cell.value is not None
        return self.cell.value


@dataclass(frozen=True)
class Bounds:
    """The worst and the best sanity row of a column; None where there is none."""

    floor: Bound | None = None
    ceiling: Bound | None = None


def bounds(table: Table, index: int) -> Bounds:
    """The bounds of column `index` of a table; both None for stand-ins and where no value is best."""
    column = table.columns[index]
    sanity = [b for line in table.lines if line.group == "sanity" and (b := _bound(line, index)) is not None]
    truth = next((b.value for b in sanity if b.method == GROUND_TRUTH), None)
    merits = [(m, b) for b in sanity if (m := merit(b.value, column.aim, truth)) is not None]
    if not merits:
        return Bounds()
    # among equals the ground truth is the ceiling, as a re-encoded truth may equal it
    best, ceiling = max(merits, key=lambda entry: (entry[0], entry[1].method == GROUND_TRUTH))
    worst, floor = min(
        (entry for entry in merits if entry[1].method not in TRUE), key=lambda entry: entry[0], default=(best, ceiling)
    )
    if worst < best:
        return Bounds(floor, ceiling)
    unbeaten = ceiling.method in TRUE or _of_silence(column.metric)
    return Bounds(ceiling=ceiling) if unbeaten else Bounds(floor=ceiling)


def share(table: Table, index: int, line: LeaderboardRow) -> float | None:
    """Where a line lies in column `index`: 0 at the floor, 1 at the ceiling, below 0 for worse than the floor.

    Where the ground truth's own value is best, distances to it count. None without both bounds, for stand-ins, and for
    a score that is not ranked for a reason.
    """
    limits, own, aim = bounds(table, index), _bound(line, index), table.columns[index].aim
    if own is None or own.cell.reason or limits.floor is None or limits.ceiling is None:
        return None
    truth = limits.ceiling.value if aim == "truth" else None
    at, low, high = (merit(b.value, aim, truth) for b in (own, limits.floor, limits.ceiling))
    return None if at is None or low is None or high is None else (at - low) / (high - low)


def own_floor(table: Table, index: int, method: str) -> Bound | None:
    """The floor for one method: its own outputs with shuffled sound where they were scored, else the column's."""
    for line in table.lines:
        if line.method == f"{method}{SHUFFLED}" and (own := _bound(line, index)) is not None:
            return own
    return bounds(table, index).floor


def _of_silence(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].driven_by == "silence"


def _bound(line: LeaderboardRow, index: int) -> Bound | None:
    cell = line.cells[index]
    usable = cell is not None and not cell.seeded and cell.value is not None and math.isfinite(cell.value)
    return Bound(line.method, cell) if usable and cell is not None else None
