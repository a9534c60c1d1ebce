"""Leaderboards as Markdown, CSV, JSON and LaTeX. The best ranked value is bold, the second underlined."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from dawn_bench.reports import sentences
from dawn_bench.reports.cards import ARROWS, interval_lines
from dawn_bench.reports.leaderboard import Cell, Column, LeaderboardRow, Table, number
from dawn_bench.reports.needs import missing, split
from dawn_bench.reports.significance import comparisons
from dawn_bench.reports.sources import source
from dawn_bench.results import ScoreRow
from dawn_bench.terminal import visible
from dawn_bench.text import FORMULA

STAND_IN = "stand-in weights — not comparable"
#: What stands in the place of a score whose network's files are absent.
NEEDS = "needs weights"
#: What the order of the lines is.
ORDER = "Methods are in the order of their mean rank over the columns in which they are ranked."
#: What floor and ceiling are.
LIMITS = (
    "Floor: what no skill gets, such as a still portrait or another clip's sound. Ceiling: what the true clips get. "
    "A share is the place of a method between the two."
)
#: Mappings, series, and texts that are the same in every row of a metric.
NOT_IN_CSV = (
    *("versions", "per_clip", "over_time", "failures", "left_out", "frames_missing", "outputs", "origins"),
    *("label", "description", "aim", "order", "interval", "not_ranked"),
)
GROUP_TITLES = {
    "ranked": "",
    "sanity": "Sanity rows (not ranked): floor and ceiling",
    "published": "Published in DAWN's paper (not ranked)",
}


def markdown(tables: Sequence[Table]) -> str:
    """GitHub-flavoured Markdown; stand-in values carry `†`, other values that are not ranked `‡` and a reason below."""
    parts = []
    for table in tables:
        order, unshown = _shown(table)
        columns = [table.columns[k] for k in order]
        head = ["method", *(f"{c.label} {ARROWS[c.aim]}".strip() for c in columns)]
        head += [*(["time s/s"] if table.costed else []), "clips"]
        lines = [f"## {md(title(table))}", ""]
        if table.seeded:
            lines += [f"> † {STAND_IN}.", ""]
        lines += ["", f"| {' | '.join(map(md, head))} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
        for line in table.lines:
            values = [_md_cell(line.cells[k], table.columns[k]) for k in order]
            if table.costed:
                values.append(number(line.cost.get("generate_s_per_s"), 2) if line.cost else "")
            name = md(line.method) if line.group == "ranked" else f"_{md(line.method)}_"
            clips = f"{line.n_clips or '–'}"
            if line.gaps:
                clips += f" (covered: {md('; '.join(line.gaps))})"
            lines.append(f"| {name} | {' | '.join(values)} | {clips} |")
        if unshown:
            lines += ["", f"{NEEDS.capitalize()}: {md(', '.join(unshown))}."]
        if reasons := not_ranked(table):
            lines += ["", *(f"- ‡ {md(reason)}" for reason in reasons)]
        if blank := undefined(table):
            lines += ["", *(f"- {md(reason)}" for reason in blank)]
        if short := incomplete(table):
            lines += ["", *(f"- {md(text)}" for text in short)]
        lines += ["", *(f"- {_md_sentence(text, table.fetches)}" for text in in_words(table))]
        lines += _md_limits(table)
        notes = (*sentences.protocols(table), *table.notes, *table_words(table))
        lines += ["", *(f"> {md(note)}\n" for note in notes)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _shown(table: Table) -> tuple[list[int], list[str]]:
    """The places of the columns to print, and the labels of those left out, as no method has their weights.

    A table of such columns alone shows them.
    """
    order = sentences.in_groups(table)
    cells = {k: [cell for line in table.lines if (cell := line.cells[k]) is not None] for k in order}
    lacking = [k for k in order if cells[k] and all(cell.needs_weights for cell in cells[k])]
    if len(lacking) == len(order):
        return order, []
    return [k for k in order if k not in lacking], [table.columns[k].label for k in lacking]


def _md_sentence(text: str, commands: Sequence[str]) -> str:
    """A sentence in Markdown, the commands in it as code, so that they can be copied."""
    text = md(text)
    for command in commands:
        text = text.replace(md(command), f"`{visible(command)}`")
    return text


def in_words(table: Table) -> list[str]:
    """What a table says: what was compared, who leads, each method, what is missing."""
    if table.heading:
        return []
    places = sentences.places(table)
    _, stand_ins = split(table)
    columns = [table.columns[k].label for k in stand_ins]
    lines = [sentences.compared(table), sentences.order(table)]
    lines += [f"Places: {'; '.join(places)}."] if len(places) > 1 else []
    lines += [*sentences.wins(table, comparisons(table)), *sentences.methods(table).values()]
    lines += [f"Plumbing check alone, computed with stand-ins: {', '.join(columns)}."] if columns else []
    for line in table.lines:
        if line.group == "ranked" and (origin := source(line.method)) is not None:
            lines.append(f"{line.method}: {', '.join(filter(None, (origin.paper, origin.code)))}")
    return [line for line in [*lines, missing(table)] if line]


def _md_limits(table: Table) -> list[str]:
    """The floor and the ceiling of each column, and where the ranked methods lie between them."""
    limits = sentences.limit_lines(table)
    if table.heading or not limits:
        return []
    head = ["metric", "floor", "ceiling", *(line.method for line in table.lines if line.group == "ranked")]
    rows = [[label, low, high, *shares] for label, low, high, shares in limits]
    lines = ["", LIMITS, "", f"| {' | '.join(map(md, head))} |", f"| --- | --- | --- |{' ---: |' * (len(head) - 3)}"]
    return [*lines, *(f"| {' | '.join(map(md, row))} |" for row in rows)]


def _md_cell(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return ""
    if cell.needs_weights:
        return NEEDS
    text = number(cell.value, column.decimals)
    text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.rank or 0, text)
    if cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low, column.decimals)}, {number(cell.high, column.decimals)}]"
    return text + ("†" if cell.seeded else "") + ("‡" if cell.reason else "")


def not_ranked(table: Table) -> list[str]:
    """`mine, PSNR: not ranked: other frames: ...`: the scores of methods that are not ranked, and why."""
    groups: dict[tuple[str, str], list[str]] = {}
    for line in table.lines:
        for cell, column in zip(line.cells, table.columns, strict=True):
            if cell is not None and cell.reason and not cell.needs_weights:
                why = f"other settings: {cell.reason}" if cell.other_settings else cell.reason
                groups.setdefault((line.method, why), []).append(column.label)
    return [f"{method}, {', '.join(labels)} not ranked: {why}" for (method, why), labels in groups.items()]


def undefined(table: Table) -> list[str]:
    """`mine, DR25: no value: too short`: the scores without a value, and why."""
    groups: dict[tuple[str, str], list[str]] = {}
    for line in table.lines:
        for cell, column in zip(line.cells, table.columns, strict=True):
            if cell is not None and cell.row and cell.value is None and cell.row.note and not cell.needs_weights:
                groups.setdefault((line.method, cell.row.note), []).append(column.label)
    return [f"{method}, {', '.join(labels)}: no value: {why}" for (method, why), labels in groups.items()]


def incomplete(table: Table) -> list[str]:
    """`mine: frames are missing at the end of 2 clips (...)`: the methods whose outputs end too early."""
    return [f"{line.method}: {line.frames_missing}" for line in table.lines if line.frames_missing]


def table_words(table: Table) -> list[str]:
    """What a reader of a table must know: its order, and how each column combines the clips."""
    rows = [cell.row for line in table.lines for cell in line.cells if cell is not None and cell.row is not None]
    ranked = any(cell is not None and cell.rank for line in table.lines for cell in line.cells)
    ways = [f"{line}." for line in interval_lines([row for row in rows if not row.needs_weights])]
    return [ORDER, *ways] if ranked else ways


def md(text: str) -> str:
    """Text with control characters and the special characters of Markdown and HTML escaped."""
    text = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def title(table: Table) -> str:
    """The title of a table: dataset (and cache where there are several of its kind), split, pieces, protocol, class."""
    if table.heading:
        return table.heading
    what = "sanity rows" if table.method_class == "reference" else f"{table.method_class} methods"
    protocol = f"protocol {table.protocol}" if table.protocol else ""
    return f"{', '.join(filter(None, (table.name, f'{table.split} split', table.pieces, protocol)))}: {what}"


def as_csv(tables: Sequence[Table]) -> str:
    """One line per score: the scalar fields of its row, its group, its rank, and why it is not ranked.

    A text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers.
    """
    fields = [f for f in ScoreRow.model_fields if f not in NOT_IN_CSV]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*fields, "group", "rank", "not_ranked"])
    for line, cell in _unique(tables):
        assert cell.row is not None
        data = cell.row.model_dump(mode="json")
        shown = [_csv_cell(data[f]) for f in fields]
        writer.writerow([*shown, line.group, cell.rank or "", _csv_cell(cell.reason)])
    return buffer.getvalue()


_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    formula = value.startswith(FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{visible(value)}" if formula else visible(value)


def as_json(tables: Sequence[Table]) -> str:
    """The leaderboards with columns, ranks and complete rows, including versions and per-clip values."""
    data: list[dict[str, Any]] = []
    for table in tables:
        columns = [
            {"metric": c.metric, "protocol": c.protocol, "label": c.label, "unit": c.unit, "aim": c.aim}
            for c in table.columns
        ]
        lines = [
            {"method": line.method, "group": line.group, "scores": [_json_cell(cell) for cell in line.cells]}
            for line in table.lines
        ]
        where: dict[str, Any] = {"dataset": table.dataset, "split": table.split, "class": table.method_class}
        where |= {"cache": table.cache, "piece_length": table.piece_length, "protocol": table.protocol}
        data.append({**where, "columns": columns, "lines": lines, "notes": list(table.notes)})
    return json.dumps({"leaderboards": data}, indent=1, ensure_ascii=False) + "\n"


def _json_cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    row = cell.row.model_dump(mode="json") if cell.row else None
    scores = {"value": cell.value, "low": cell.low, "high": cell.high, "rank": cell.rank}
    return scores | {"not_ranked": cell.reason, "row": row}


def _unique(tables: Sequence[Table]) -> list[tuple[LeaderboardRow, Cell]]:
    """Every scored cell once, as sanity rows are in several tables."""
    seen: dict[int, tuple[LeaderboardRow, Cell]] = {}
    for table in tables:
        for line in table.lines:
            for cell in line.cells:
                if cell is not None and cell.row is not None:
                    seen.setdefault(id(cell.row), (line, cell))
    return list(seen.values())


def latex(tables: Sequence[Table]) -> str:
    r"""One `booktabs` table per leaderboard; needs `\usepackage{booktabs}`."""
    return "\n".join(_latex_table(table) for table in tables)


def _latex_table(table: Table) -> str:
    arrows = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "truth": r"$\to$GT", "zero": r"$\to$0", "none": ""}
    head = ["Method", *(f"{tex(c.label)} {arrows[c.aim]}".strip() for c in table.columns)]
    best = [] if table.heading else ["Best in bold, second underlined, among ranked methods."]
    words = " ".join([*best, *table_words(table)])
    out = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{tex(f'{title(table)}. {words}')}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
    ]
    group = None
    for line in table.lines:
        if line.group != group:
            out.append(r"\midrule")
            if line.group != "ranked":
                out.append(rf"\multicolumn{{{len(head)}}}{{l}}{{\emph{{{GROUP_TITLES[line.group]}}}}} \\")
            group = line.group
        cells = (_tex_cell(cell, column) for cell, column in zip(line.cells, table.columns, strict=True))
        out.append(" & ".join([tex(line.method), *cells]) + r" \\")
    out += [r"\bottomrule", r"\end{tabular}"]
    if table.seeded:
        out.append(r"\\ \footnotesize $^\dagger$ stand-in weights: not comparable with any other table.")
    out += [rf"\\ \footnotesize {NEEDS.capitalize()}: \texttt{{{tex(command)}}}" for command in table.fetches]
    out += [rf"\\ \footnotesize $^\ddagger$ {tex(reason)}." for reason in not_ranked(table)]
    out += [rf"\\ \footnotesize {tex(note)}" for note in table.notes]
    out += [rf"\\ \footnotesize {tex(text)}." for text in incomplete(table)]
    return "\n".join([*out, r"\end{table}"]) + "\n"


def _tex_cell(cell: Cell | None, column: Column) -> str:
    if cell is not None and cell.needs_weights:
        return rf"\emph{{{NEEDS}}}"
    if cell is None or cell.value is None:
        return "--"
    text = {"∞": r"$\infty$", "−∞": r"$-\infty$"}.get(n := number(cell.value, column.decimals), n.replace("-", "$-$"))
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank or 0, text)
    return text + (r"$^\dagger$" if cell.seeded else "") + (r"$^\ddagger$" if cell.reason else "")


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
_TEX |= {c: f"\\{c}" for c in "&%$#_{}"}


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_TEX.get(c, c) for c in visible(" ".join(text.split())))
