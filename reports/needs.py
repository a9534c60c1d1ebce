"""What a table lacks: scores for which published networks are absent, and columns of stand-ins alone."""

from __future__ import annotations

from dawn_bench.reports.leaderboard import Cell, Table
from dawn_bench.text import listed

#: The columns of DAWN's paper that need networks.
PAPERS_COLUMNS = ("fid", "fvd16", "fvd32", "lse-c", "lse-d", "csim")


def split(table: Table) -> tuple[list[int], list[int]]:
    """The places of the columns that mean something, and of those whose every value is a stand-in's."""
    stand_ins = []
    for k in range(len(table.columns)):
        scored = [c for li in table.lines if (c := li.cells[k]) is not None and c.row is not None and not needs(c)]
        if scored and all(c.seeded for c in scored):
            stand_ins.append(k)
    return [k for k in range(len(table.columns)) if k not in stand_ins], stand_ins


def needs(cell: Cell | None) -> str:
    """The command that brings the weights for want of which a score was not computed; empty for any other score."""
    return cell.row.fetch if cell is not None and cell.row is not None else ""


def missing(table: Table) -> str:
    """What it would take to get the columns of DAWN's paper, in one sentence; empty where they are there."""
    rows = [c.row for line in table.lines for c in line.cells if c is not None and c.row is not None]
    lacking = dict.fromkeys(
        column.label for k, column in enumerate(table.columns) if any(needs(line.cells[k]) for line in table.lines)
    )
    if lacking:
        columns = f"{listed(list(lacking))} {'needs' if len(lacking) == 1 else 'need'}"
        return f"{columns} published networks that are not here. To get them: {listed(table.fetches)}."
    computed = {row.metric for row in rows if row.value is not None and row.weights_state in ("canonical", "user")}
    if not rows or table.method_class == "mesh" or computed & {*PAPERS_COLUMNS}:
        return ""
    return (
        "The columns of DAWN's paper (FID, FVD, LSE, CSIM) need published networks: evaluate with --protocol "
        "paper-dawn names the command that brings them."
    )
