"""Scores printed in DAWN's paper, stored in published.json; shown for reference and never ranked.

They come from other weights, data and code than any run of this suite. Table 6 is a user study: people's scores, which
no metric computes. It is a table of its own in a report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dawn_bench.errors import InputError, nearest
from dawn_bench.metrics.protocols.base import PIECE_LENGTHS
from dawn_bench.reports.leaderboard import Cell, Column, LeaderboardRow, Table

FILE = Path(__file__).with_name("published.json")


def published_tables(numbers: Sequence[int]) -> list[Table]:
    """The paper's tables with these numbers, one per dataset and length of pieces; methods name their table where there
    are several.

    Raises `InputError` for an unknown number. Table 2 is not available: the source of the data lacks it.
    """
    data = json.loads(FILE.read_text(encoding="utf-8"))
    known = [table["number"] for table in data["tables"]]
    if unknown := set(numbers) - set(known):
        raise InputError(
            f"there are no published rows of table {min(unknown)}.", hint=nearest(min(unknown), map(str, known))
        )
    tables = []
    for table in data["tables"]:
        if table["number"] not in numbers:
            continue
        labels, study = table.get("labels", table["columns"]), table.get("study", "")
        suffix = f" (table {table['number']})" if len(numbers) > 1 and not study else ""
        columns = tuple(
            Column(metric, "published", label, "", "higher" if study else "none", 2)
            for metric, label in zip(table["columns"], labels, strict=True)
        )
        for dataset, lines in table["datasets"].items():
            by_length: dict[int | None, list[LeaderboardRow]] = {}
            for method, values in lines.items():
                row = LeaderboardRow(f"{method}{suffix}", "published", tuple(_cell(v) for v in values))
                by_length.setdefault(_piece_length(method, dataset), []).append(row)
            printed = [
                Table(dataset, "test", "portrait", columns, tuple(rows), piece_length=length)
                for length, rows in by_length.items()
            ]
            if study:
                heading = f"Table {table['number']} of DAWN's paper: {table['title'].lower()}"
                notes = (f"{study} Published in {table['source']}; nothing of it is computed here.",)
                printed = [replace(part, heading=heading, notes=notes) for part in printed]
            tables += printed
    return tables


def standalone(tables: Sequence[Table]) -> list[Table]:
    """Those of the published tables that stand alone in a report: no metric measures their columns."""
    return [table for table in tables if table.heading]


def _piece_length(label: str, dataset: str) -> int | None:
    """The length of a published row's pieces: `DAWN, 400 frames` states it, others have the dataset's."""
    stated = re.search(r", (\d+) frames$", label)
    return int(stated[1]) if stated else PIECE_LENGTHS.get(dataset)


def _cell(value: float | None) -> Cell | None:
    return None if value is None else Cell(value)
