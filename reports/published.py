"""Scores printed in DAWN's paper, as data in published.json, shown beside ours but never ranked with them.

They were made with other weights, data cuts and code than any run here; a report only sets them below for orientation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dawn_bench.errors import InputError
from dawn_bench.reports.cards import text_of
from dawn_bench.reports.leaderboard import Cell, Column, LeaderboardRow, Table

FILE = Path(__file__).with_name("published.json")


def published_tables(numbers: Sequence[int]) -> list[Table]:
    """The paper's tables of these numbers, one per dataset; methods carry the table's number where there are several.

    Raises `InputError` for a number of which there is no table (2, whose numbers are not at hand, among them).
    """
    data = json.loads(FILE.read_text(encoding="utf-8"))
    known = [table["number"] for table in data["tables"]]
    if unknown := set(numbers) - set(known):
        raise InputError(
            f"there are no published rows of table {min(unknown)}.", hint=f"Known: {', '.join(map(str, known))}."
        )
    found = []
    for table in data["tables"]:
        if table["number"] not in numbers:
            continue
        suffix = f" (table {table['number']})" if len(numbers) > 1 else ""
        columns = tuple(
            Column(m, "published", text_of(m).label, "", text_of(m).aim or "none", 2) for m in table["columns"]
        )
        for dataset, lines in table["datasets"].items():
            made = tuple(
                LeaderboardRow(f"{method}{suffix}", "published", tuple(_cell(v) for v in values))
                for method, values in lines.items()
            )
            found.append(Table(dataset, "test", "portrait", columns, made))
    return found


def _cell(value: float | None) -> Cell | None:
    return None if value is None else Cell(value)
