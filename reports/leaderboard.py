"""From rows to leaderboards: who is compared with whom, and who is best.

A table holds one class of methods on one split of one dataset. Within a column only scores of the same fingerprint are
compared, and never one that was made with stand-in weights. Sanity rows (ground truth, still picture, ...) and
published rows stand beside the ranking, unranked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dawn_bench.reports.cards import Aim, order, text_of
from dawn_bench.results import ScoreRow

Group = Literal["ranked", "sanity", "published"]

GROUND_TRUTH = "ground-truth"
#: Classes whose rows only show a metric's floor and ceiling.
REFERENCE_CLASSES = ("sanity", "reference")
SEEDED = "seeded"


@dataclass(frozen=True)
class Column:
    """One metric under one protocol. `protocol` is in the label only where a table has the metric under several."""

    metric: str
    protocol: str
    label: str
    unit: str
    aim: Aim
    decimals: int


@dataclass(frozen=True)
class Cell:
    """One value of a table. `rank` counts from 1 and is None where the value is not ranked."""

    value: float | None
    low: float | None = None
    high: float | None = None
    row: ScoreRow | None = None
    rank: int | None = None
    other_settings: bool = False

    @property
    def seeded(self) -> bool:
        """Made with stand-in weights: comparable with nothing outside this run."""
        return self.row is not None and self.row.weights_state == SEEDED


@dataclass(frozen=True)
class LeaderboardRow:
    """One method of a table; `cells` run along the table's columns, None where the method has no such score."""

    method: str
    group: Group
    cells: tuple[Cell | None, ...]

    @property
    def n_clips(self) -> int | None:
        """The largest number of clips behind any of the scores."""
        return max((c.row.n_clips for c in self.cells if c and c.row), default=None)

    @property
    def coverage(self) -> float:
        """The smallest share of the clips that the method solved, 0–1."""
        return min((c.row.coverage for c in self.cells if c and c.row), default=1.0)

    @property
    def cost(self) -> dict[str, float]:
        """What making the outputs took (see `ScoreRow.cost`), empty where it is not known."""
        return next((c.row.cost for c in self.cells if c and c.row and c.row.cost), {})


@dataclass(frozen=True)
class Table:
    """A leaderboard: lines in the order ranked, sanity, published."""

    dataset: str
    split: str
    method_class: str
    columns: tuple[Column, ...]
    lines: tuple[LeaderboardRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def costed(self) -> bool:
        """Whether the cost of any method is known."""
        return any(line.cost for line in self.lines)

    @property
    def seeded(self) -> bool:
        """Whether any value was made with stand-in weights."""
        return any(c is not None and c.seeded for line in self.lines for c in line.cells)


def leaderboards(rows: Sequence[ScoreRow]) -> list[Table]:
    """One table per dataset, split and class of methods, sorted by these; sanity rows stand in each."""
    tables = []
    for dataset, split in sorted({(r.dataset, r.split) for r in rows}):
        here = [r for r in rows if (r.dataset, r.split) == (dataset, split)]
        # A contestant stays one where all its scores are stand-ins, whatever whoever scored it said of ranking.
        free = (r for r in here if r.method_class not in REFERENCE_CLASSES)
        contest = {r.method for r in free if r.rankable or r.weights_state == SEEDED}
        classes = sorted({r.method_class for r in here if r.method in contest}) or ["reference"]
        for method_class in classes:
            entered = [r for r in here if r.method in contest and r.method_class == method_class]
            sanity = [r for r in here if r.method not in contest]
            tables.append(_table(dataset, split, method_class, entered, sanity))
    return tables


def _table(dataset: str, split: str, method_class: str, entered: list[ScoreRow], sanity: list[ScoreRow]) -> Table:
    asked = {(r.metric, r.protocol) for r in entered or sanity}
    metrics = Counter(metric for metric, _ in asked)
    columns: list[Column] = []
    by_column: list[dict[str, Cell]] = []
    for metric, protocol in sorted(asked, key=lambda mp: (order(mp[0]), mp[1])):
        rows = [r for r in (*entered, *sanity) if (r.metric, r.protocol) == (metric, protocol)]
        column = _column(rows, several=metrics[metric] > 1)
        columns.append(column)
        by_column.append(_ranked(column, rows))

    def line(method: str, group: Group) -> LeaderboardRow:
        return LeaderboardRow(method, group, tuple(cells.get(method) for cells in by_column))

    ranked = [line(m, "ranked") for m in sorted({r.method for r in entered})]
    ranked.sort(key=lambda li: (mean_rank(li), li.method))
    beside = [line(m, "sanity") for m in dict.fromkeys(r.method for r in sanity)]
    beside = [li for li in beside if any(li.cells)]
    notes = []
    if len({li.coverage for li in ranked}) > 1:
        notes.append("The methods solved different shares of the clips: look at the coverage before comparing.")
    if any(c is not None and c.other_settings for li in ranked for c in li.cells):
        notes.append(
            "Values marked “other settings” have another fingerprint than the rest of their column and are not ranked."
        )
    return Table(dataset, split, method_class, tuple(columns), (*ranked, *beside), notes=tuple(notes))


def _column(rows: Sequence[ScoreRow], *, several: bool) -> Column:
    first, text = rows[0], text_of(rows[0].metric)
    stated: Aim = "none" if first.higher_is_better is None else "higher" if first.higher_is_better else "lower"
    label = f"{text.label} ({first.protocol})" if several else text.label
    values = [r.value for r in rows]
    return Column(first.metric, first.protocol, label, first.unit, text.aim or stated, decimals_for(values))


def _ranked(column: Column, rows: Sequence[ScoreRow]) -> dict[str, Cell]:
    """The cells of one column by method, with ranks among the scores that may be compared."""
    able = [r for r in rows if r.rankable and r.method_class not in REFERENCE_CLASSES]
    able = [r for r in able if r.weights_state != SEEDED and r.value is not None and math.isfinite(r.value)]
    prints = Counter(r.fingerprint for r in able)
    common = max(prints, key=lambda p: (prints[p], max(r.created for r in able if r.fingerprint == p))) if able else ""
    truth = next((r.value for r in rows if r.method == GROUND_TRUTH and r.weights_state != SEEDED), None)
    merits = {r.method: merit(r.value, column.aim, truth) for r in able if r.fingerprint == common}
    held = {m: v for m, v in merits.items() if v is not None}
    ranks = {m: 1 + sum(other > v for other in held.values()) for m, v in held.items()} if len(held) > 1 else {}
    odd = {r.method for r in able if r.fingerprint != common}
    return {
        r.method: Cell(r.value, r.low, r.high, r, rank=ranks.get(r.method), other_settings=r.method in odd)
        for r in rows
    }


def merit(value: float | None, aim: Aim, truth: float | None) -> float | None:
    """A number that is higher the better `value` is; None where better has no meaning."""
    if value is None or aim == "none" or (aim == "truth" and truth is None):
        return None
    if aim == "truth" and truth is not None:
        return -abs(value - truth)
    return {"higher": value, "lower": -value}.get(aim, -abs(value))


def mean_rank(line: LeaderboardRow) -> float:
    """The mean of a line's ranks, infinite when it has none: the order of a table."""
    ranks = [c.rank for c in line.cells if c and c.rank]
    return sum(ranks) / len(ranks) if ranks else math.inf


def decimals_for(values: Sequence[float | None]) -> int:
    """Decimals that give a column three or four telling digits."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    if 0 < largest < 0.01:  # squared distances between vertices
        return 3 - math.floor(math.log10(largest))
    return 1 if largest >= 1000 else 2 if largest >= 2 else 3


def number(value: float | None, decimals: int) -> str:
    """A value as text; an en dash where it is undefined."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{decimals}f}"


def with_published(tables: Sequence[Table], published: Sequence[Table]) -> list[Table]:
    """`tables` with published lines put below, matched column by column by the metric's label.

    Only tables of the same dataset and class take them.
    """
    done = []
    for table in tables:
        extra = []
        same = (
            t for t in published if table.dataset.lower().startswith(t.dataset) and table.method_class == t.method_class
        )
        for other in same:
            at = {c.label: i for i, c in enumerate(other.columns)}
            for line in other.lines:
                cells = tuple(line.cells[at[c.label]] if c.label in at else None for c in table.columns)
                if any(cells):
                    extra.append(replace(line, cells=cells))
        done.append(replace(table, lines=(*table.lines, *extra)))
    return done
