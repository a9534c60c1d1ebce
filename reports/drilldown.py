"""Scores per clip, as data that the page turns into tables on demand.

A thousand clips of thirty methods under fifteen metrics are 450,000 values: as cells they would be most of the page's
size and of the time to open it. The page holds them as JSON, each value with the decimals that are shown, and builds 50
rows of one metric when a reader opens it. `leaderboard.json` has the exact values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dawn_bench.reports.leaderboard import GROUND_TRUTH, Column, Table, merit, number
from dawn_bench.utf8 import escape_invalid_values


@dataclass(frozen=True)
class Drill:
    """One column by clip: `lines` are (clip, values) with one value for each of `methods`, None where undefined."""

    column: Column
    methods: list[str]
    lines: list[tuple[str, list[float | None]]]


def per_clip(board: Table) -> list[Drill]:
    """For each column of a table the clips' values by method, the leader's worst clips first."""
    drills = []
    for index, column in enumerate(board.columns):
        scored = [
            (line.method, c.row.per_clip)
            for line in board.lines
            if (c := line.cells[index]) and c.row and c.row.per_clip
        ]
        if not scored:
            continue
        leader, truth = scored[0][1], dict(scored).get(GROUND_TRUTH, {})
        merits = {c: merit(leader.get(c), column.aim, truth.get(c)) for _, values in scored for c in values}
        names = sorted(merits, key=lambda c: (-math.inf if merits[c] is None else merits[c], c))
        lines = [(clip, [values.get(clip) for _, values in scored]) for clip in names]
        drills.append(Drill(column, [m for m, _ in scored], lines))
    return drills


def weakest(board: Table, *, order: Sequence[int], available: Collection[str]) -> dict[str, str]:
    """Clips worth a look, with captions: the two weakest of the leading method, then its median one.

    The column is the first of `order` (places in the table's columns) that has values by clip; only clips that are
    `available` count.
    """
    drills = {drill.column: drill for drill in per_clip(board)}
    for k in order:
        drill = drills.get(board.columns[k])
        shown = [(clip, values[0]) for clip, values in drill.lines if clip in available] if drill else []
        known = [(clip, value) for clip, value in shown if value is not None]
        if drill is None or not known:
            continue
        places = drill.column.decimals
        where = f"of {drill.methods[0]} by {drill.column.label}"
        named = [("Weakest clip", known[0]), ("Second weakest clip", known[min(1, len(known) - 1)])]
        named.append(("Median clip", known[len(known) // 2]))
        captions: dict[str, str] = {}
        for what, (clip, value) in named:
            captions.setdefault(clip, f"{what} {where}: {number(value, places).replace('-', '−')}")
        return captions
    return {}


def clip_names(drills: Sequence[Drill]) -> list[str]:
    """The clips of all drill-downs of a table, each once, sorted."""
    return sorted({clip for drill in drills for clip, _ in drill.lines})


def names_json(names: Sequence[str]) -> str:
    """`clip_names` as JSON for a `<script>` element."""
    return _script(names)


def drill_json(drill: Drill, names: Sequence[str]) -> str:
    """One drill-down as JSON for a `<script>` element.

    `clips` are places in `names` in the order of the lines, `methods` the heads of the columns, and `values` one text
    for each method: its values in the order of `clips`, as shown, separated by commas, empty where undefined.
    """
    place = {name: k for k, name in enumerate(names)}
    decimals = drill.column.decimals
    values = [
        ",".join("" if v is None else number(v, decimals) for v in column)
        for column in zip(*(values for _, values in drill.lines), strict=True)
    ]
    return _script({"methods": drill.methods, "clips": [place[clip] for clip, _ in drill.lines], "values": values})


def _script(data: object) -> str:
    """JSON that no text in it can end: names come from files and results folders of anybody."""
    text = json.dumps(escape_invalid_values(data), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
