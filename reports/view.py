"""A table as the page shows it: columns under the headings of their groups, what needs weights, what is a stand-in.

A column in which every value was computed with stand-in networks says only that the code runs: it stands in a folded
part of its own. A column that nobody could compute for want of published networks is named in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from dawn_bench.reports.bounds import Bounds, bounds
from dawn_bench.reports.cards import Card
from dawn_bench.reports.drilldown import clip_names, drill_json, names_json, per_clip
from dawn_bench.reports.leaderboard import LeaderboardRow, Table, place, signed
from dawn_bench.reports.needs import missing, needs, split
from dawn_bench.reports.phrases import HEADINGS, group_of, group_place, in_words
from dawn_bench.reports.plots import drift_plots, plotted, score_plots
from dawn_bench.reports.sentences import compared, limit_lines, methods, order, protocols, wins
from dawn_bench.reports.significance import Comparison, comparisons
from dawn_bench.reports.tables import title


@dataclass(frozen=True)
class Head:
    """A heading over columns."""

    group: str
    title: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Columns of a table in the order of the page: places in `Table.columns`, under their headings."""

    heads: tuple[Head, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        """All places."""
        return tuple(k for head in self.heads for k in head.columns)


@dataclass(frozen=True)
class Plot:
    """A plot of one column; `methods` are its lines from top to bottom."""

    label: str
    svg: Markup
    methods: tuple[str, ...]
    lowest_best: bool


@dataclass(frozen=True)
class View:
    """Everything that the page shows of one table."""

    table: Table
    main: Grid
    stand_ins: Grid
    bounds: tuple[Bounds, ...]
    lines: tuple[tuple[str, tuple[LeaderboardRow, ...]], ...]
    protocols: tuple[str, ...]
    compared: str
    order: str
    wins: tuple[str, ...]
    methods: dict[str, str]
    missing: str
    limits: tuple[tuple[str, str, str, list[str]], ...]
    comparisons: tuple[Comparison, ...]
    plots: tuple[Plot, ...]
    drifts: tuple[Markup, ...]
    names: Markup
    drills: tuple[tuple[str, Markup], ...]

    @property
    def seeded(self) -> set[int]:
        """The columns with any value of a stand-in."""
        lines = self.table.lines
        return {k for k in range(len(self.table.columns)) if any((c := li.cells[k]) and c.seeded for li in lines)}

    def lacking(self, k: int) -> bool:
        """Whether nobody has a value in a column because its network is absent."""
        cells = [c for li in self.table.lines if (c := li.cells[k]) is not None]
        return bool(cells) and all(c.value is None for c in cells) and any(needs(c) for c in cells)

    def place(self, line: LeaderboardRow) -> str:
        """The place of a ranked line, equal for equal mean ranks; empty for a line without a rank."""
        return str(place(self.table, line) or "")


def view(table: Table) -> View:
    """The view of a table. It is the slow part of a page: plots, and intervals of differences."""
    real, stand_ins = split(table)
    pairs = tuple(comparisons(table))
    drills = per_clip(table)
    names = clip_names(drills)
    return View(
        table,
        grid(table, real),
        grid(table, stand_ins),
        tuple(bounds(table, k) for k in range(len(table.columns))),
        tuple(
            (group, own)
            for group in ("ranked", "sanity", "published")
            if (own := tuple(li for li in table.lines if li.group == group))
        ),
        protocols(table),
        "" if table.heading else compared(table),
        order(table),
        tuple(wins(table, pairs)),
        methods(table),
        missing(table),
        () if table.heading else tuple(limit_lines(table)),
        pairs,
        _plots(table, real),
        tuple(Markup(svg) for svg in drift_plots(table)),
        Markup(names_json(names)),
        tuple((drill.column.label, Markup(drill_json(drill, names))) for drill in drills),
    )


def grid(table: Table, columns: Sequence[int]) -> Grid:
    """These columns under their headings, each heading once."""
    by_group: dict[str, list[int]] = {}
    for k in columns:
        by_group.setdefault(group_of(table.columns[k]), []).append(k)
    return Grid(tuple(Head(g, HEADINGS[g], tuple(by_group[g])) for g in sorted(by_group, key=group_place)))


def limits(card: Card, views: Sequence[View]) -> list[tuple[str, str, str]]:
    """The floor and the ceiling of a metric in words, for each table; with its title where there are several."""
    stated = []
    for own in views:
        for column, limit in zip(own.table.columns, own.bounds, strict=True):
            if (column.metric, column.protocol) == (card.metric, card.protocol) and (limit.floor or limit.ceiling):
                floor, ceiling = (
                    f"{in_words(b.method)} {signed(b.value, column.decimals)}" if b else ""
                    for b in (limit.floor, limit.ceiling)
                )
                stated.append((title(own.table), floor, ceiling))
    return stated if len(stated) > 1 else [("", floor, ceiling) for _, floor, ceiling in stated]


def _plots(table: Table, columns: Sequence[int]) -> tuple[Plot, ...]:
    drawn = []
    for k, svg in zip(plotted(table), score_plots(table), strict=True):
        lines = [li.method for li in table.lines if (c := li.cells[k]) and c.value is not None and isfinite(c.value)]
        if k in columns:
            column = table.columns[k]
            drawn.append(Plot(column.label, Markup(svg), tuple(lines), column.aim == "lower"))
    return tuple(drawn)
