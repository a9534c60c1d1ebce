"""A table in sentences: what was compared on what, who wins by how much beyond chance, and what each method does.

"Not told apart" means that the 95 % interval of the paired difference over clips contains zero. Where a metric has one
number over all clips, or where clips are too few, a verdict rests on the values alone and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dawn_bench.reports.bounds import Bound, bounds, own_floor, share
from dawn_bench.reports.leaderboard import GROUND_TRUTH, Cell, Column, LeaderboardRow, Table, mean_rank, place, signed
from dawn_bench.reports.phrases import HEADLINES, group_of, group_place, in_words, predicate, protocol_words
from dawn_bench.reports.significance import MIN_CLIPS, Comparison, alike, intervals
from dawn_bench.text import counted, few, listed

#: Clauses of a method's sentence.
CLAUSES = 4
#: Columns whose lead is stated with its size.
STATED = 3
#: Methods that are listed by name.
LISTED = 6
#: Names of caches that say nothing of the data.
PLAIN = ("cache",)


def compared(table: Table) -> str:
    """`Compared: 2 portrait methods (dawn, sadtalker) over 24 clips, 1,800 frames.` The title names the data."""
    ranked = [line.method for line in table.lines if line.group == "ranked"]
    rows = [c.row for line in table.lines for c in line.cells if c and c.row]
    what = counted(len(ranked), f"{table.method_class} method")
    names = f" ({few(ranked, most=LISTED)})" if ranked else ""
    if not ranked:
        what = "sanity rows alone"
    over = ""
    if rows:
        noun = "piece" if table.piece_length else "clip"
        frames = max(row.n_frames for row in rows)
        over = f" over {counted(max(row.n_clips for row in rows), noun)}, {frames:,} frames"
    named = {row.data_name for row in rows} - {"", *PLAIN, table.dataset}
    cache = f", of the cache {next(iter(named))}" if len(named) == 1 and not table.cache else ""
    return f"Compared: {what}{names}{over}{cache}."


def protocols(table: Table) -> tuple[str, ...]:
    """The protocols of a table's scores, in words."""
    rows = [c.row for line in table.lines for c in line.cells if c is not None and c.row is not None]
    return tuple(protocol_words(name) for name in dict.fromkeys(row.protocol for row in rows))


def order(table: Table) -> str:
    """Who is first and how the order comes about; empty where nothing is ranked."""
    ranked = [li for li in table.lines if li.group == "ranked" and math.isfinite(mean_rank(li))]
    if len(ranked) < 2:
        return ""
    columns = [k for k in range(len(table.columns)) if any((c := li.cells[k]) and c.rank for li in ranked)]
    first = mean_rank(ranked[0])
    winners = [li.method for li in ranked if mean_rank(li) == first]
    lead = f"{listed(winners)} {'share' if len(winners) > 1 else 'has'} the best mean rank, {first:.3g}"
    after = ranked[len(winners) :]
    then = f", before {after[0].method} with {mean_rank(after[0]):.3g}" if after else ""
    return (
        f"Order: {lead}{then}, over {counted(len(columns), 'ranked column')}. "
        "In each column the best value has rank 1; lines are in the order of their mean rank."
    )


def places(table: Table) -> list[str]:
    """`1 dawn (mean rank 1.2)`: the place of each ranked method; equal mean ranks share one."""
    ranked = [li for li in table.lines if li.group == "ranked" and math.isfinite(mean_rank(li))]
    return [f"{place(table, line)} {line.method} (mean rank {mean_rank(line):.3g})" for line in ranked]


def limit_lines(table: Table) -> list[tuple[str, str, str, list[str]]]:
    """`("PSNR", "a still portrait 21.50", "the true clips 100.00", ["35 %"])` for each column that has a bound.

    The last are the places of the ranked methods between the two, in the order of the lines.
    """
    ranked = [line for line in table.lines if line.group == "ranked"]
    lines = []
    for k in in_groups(table):
        limit, column = bounds(table, k), table.columns[k]
        low, high = (
            f"{in_words(b.method)} {_number(column, b.value)}" if b else "" for b in (limit.floor, limit.ceiling)
        )
        if low or high:
            lines.append((column.label, low, high, [share_words(share(table, k, line)) for line in ranked]))
    return lines


def in_groups(table: Table) -> list[int]:
    """The places of the columns in the order of the page: by group, then as they stand."""
    return sorted(range(len(table.columns)), key=lambda k: group_place(group_of(table.columns[k])))


def wins(table: Table, pairs: Sequence[Comparison]) -> list[str]:
    """Which leads go beyond chance, and which do not: of the best method of each column over all others."""
    by_column: dict[Column, list[Comparison]] = {}
    for pair in pairs:
        by_column.setdefault(pair.column, []).append(pair)
    ranked = {c: sum(bool((x := li.cells[k]) and x.rank) for li in table.lines) for k, c in enumerate(table.columns)}
    # a lead over every other method is one that was tested against each of them
    by_column = {column: own for column, own in by_column.items() if len(own) == ranked[column] - 1}
    clear: dict[str, list[str]] = {}
    open_: list[str] = []
    for own in by_column.values():
        column, best = own[0].column, own[0].best
        near = [pair.other for pair in own if not pair.significant]
        if near:
            open_.append(f"{column.label} ({few([best, *near], most=3)})")
        else:
            clear.setdefault(best, []).append(_lead(column, own[0]))
    lines = [
        f"Beyond chance, {best} is better than every other ranked method in {few(leads, most=STATED)}."
        for best, leads in clear.items()
    ]
    if open_:
        lines.append(f"The best are not told apart in {few(open_, most=STATED)}.")
    if untested := [column.label for column, count in ranked.items() if count > 1 and column not in by_column]:
        lines.append(
            f"Ranked without a test, as one number over all clips, a target or fewer than {MIN_CLIPS} common clips: "
            f"{few(untested, most=8)}."
        )
    return lines


def methods(table: Table) -> dict[str, str]:
    """A sentence on each ranked method, by its name."""
    chosen: list[tuple[LeaderboardRow, int, Bound | None]] = []
    for line in table.lines:
        if line.group == "ranked":
            chosen += [(line, k, own_floor(table, k, line.method)) for k in _described(table, line)]
    pairs = [(cell, floor.cell) for line, k, floor in chosen if floor and (cell := line.cells[k])]
    tested = iter(intervals(pairs))
    clauses: dict[str, list[str]] = {}
    for line, k, floor in chosen:
        difference = next(tested) if floor else None
        clauses.setdefault(line.method, []).append(_clause(table, line, k, floor, difference))
    return {method: f"{method} {'; it '.join(own)}." for method, own in clauses.items()}


def _clause(
    table: Table, line: LeaderboardRow, k: int, floor: Bound | None, difference: tuple[float, float, float] | None
) -> str:
    column, cell = table.columns[k], line.cells[k]
    assert cell is not None and cell.value is not None
    text = predicate(column, cell.value) + _interval(column, cell)
    limits = bounds(table, k)
    if column.aim == "truth":
        truth = next((li.cells[k] for li in table.lines if li.method == GROUND_TRUTH), None)
        if truth is None or truth.value is None or truth.seeded:
            return text
        near = _share(table, line, k)
        return f"{text}, where the true clips have {_number(column, truth.value)}{f' ({near})' if near else ''}"
    if column.aim == "zero":
        return f"{text} (0 is best)"
    if floor is None:
        return text
    name = in_words(floor.method, of=line.method)
    at = _number(column, floor.value)
    if limits.ceiling is not None and limits.ceiling.method != floor.method:
        at += f"; {in_words(limits.ceiling.method)}: {_number(column, limits.ceiling.value)}"
    if (near := _share(table, line, k)) and floor == limits.floor:
        at += f"; {near}"
    mean, low, high = difference or (cell.value - floor.value, math.nan, math.nan)
    if difference is None:
        if not alike(cell, floor.cell) or column.aim not in ("higher", "lower"):
            return f"{text}, beside {name} ({at})"
        at += "; not tested against chance"
    if low <= 0 <= high:
        return f"{text}, not told apart from {name} ({at})"
    if _number(column, cell.value) == _number(column, floor.value):
        return f"{text}, in these digits the same as {name} ({at})"
    higher = column.aim == "higher"
    better = (mean > 0) == higher
    if not better:
        return f"{text}, {'below' if higher else 'worse than'} {name} ({at})"
    # "well" and "far": beyond the middle between floor and ceiling
    span = limits.ceiling.value - floor.value if limits.ceiling is not None else math.inf
    far = abs(cell.value - floor.value) > abs(span) / 2
    words = ("well above" if far else "above") if higher else ("far better than" if far else "better than")
    return f"{text}, {words} {name} ({at})"


def share_words(part: float | None) -> str:
    """`35 %`: a place between floor and ceiling; empty where it is not known."""
    if part is None:
        return ""
    return "below the floor" if part < 0 else "beyond the ceiling" if part > 1 else f"{100 * part:.0f} %"


def _share(table: Table, line: LeaderboardRow, k: int) -> str:
    part = share(table, k, line)
    words = share_words(part)
    return f"{words} of the way from floor to ceiling" if part is not None and 0 <= part <= 1 else words


def _described(table: Table, line: LeaderboardRow) -> list[int]:
    """The columns that a method is described by: the headline of each group, in the order of the groups."""
    by_group: dict[str, list[int]] = {}
    for k, column in enumerate(table.columns):
        cell = line.cells[k]
        if cell is not None and not cell.seeded and cell.value is not None and math.isfinite(cell.value):
            by_group.setdefault(group_of(column), []).append(k)

    def preference(k: int) -> int:
        metric = table.columns[k].metric
        return HEADLINES.index(metric) if metric in HEADLINES else len(HEADLINES) + k

    return [min(by_group[group], key=preference) for group in sorted(by_group, key=group_place)][:CLAUSES]


def _lead(column: Column, pair: Comparison) -> str:
    """`PSNR (by 1.20 [0.80, 1.60] over sadtalker)`."""
    low, high = sorted((abs(pair.low), abs(pair.high)))  # both on one side of zero
    by, least, most = (_number(column, v) for v in (abs(pair.difference), low, high))
    return f"{column.label} (by {by} [{least}, {most}] over {pair.other})"


def _interval(column: Column, cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return ""
    return f" [{_number(column, cell.low)}, {_number(column, cell.high)}]"


def _number(column: Column, value: float) -> str:
    return signed(value, column.decimals)
