"""What an evaluation says at its end: the table of its scores, what a reader must know of them, what comes next."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dawn_bench import weights
from dawn_bench.baselines.base import SANITY
from dawn_bench.metrics.protocols.base import EMBEDDED, ScoringProtocol
from dawn_bench.metrics.scoring.appearance import appearance_warnings
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.frames import missing_words
from dawn_bench.metrics.scoring.needs import evaluation_changes
from dawn_bench.reports.cards import ARROWS
from dawn_bench.reports.leaderboard import Cell, Column, Table, leaderboards, number
from dawn_bench.reports.phrases import group_of, group_place
from dawn_bench.reports.tables import NEEDS, title
from dawn_bench.results import ScoreRow
from dawn_bench.text import listed
from dawn_bench.weights_needs import fetch_command
from dawn_bench.workflow.evaluation import Evaluation

#: Characters in a line of a table.
WIDTH = 80
Failures = Sequence[tuple[str, str, str]]


def table_lines(rows: Sequence[ScoreRow]) -> list[str]:
    """The scores of one evaluation as tables of text; metrics that need weights come last, lines fit `WIDTH`."""
    return [line for table in leaderboards(rows) for line in _text(table)]


def _text(table: Table) -> list[str]:
    columns = [(column, [line.cells[k] for line in table.lines]) for k, column in enumerate(table.columns)]
    columns.sort(key=lambda pair: group_place(group_of(pair[0])))  # as on the page
    columns.sort(key=lambda pair: all(cell is None or cell.needs_weights for cell in pair[1]))
    names = ["", *(line.method for line in table.lines)]
    counts = ["clips", *(str(line.n_clips or "–") for line in table.lines)]
    first = max(map(len, names))
    blocks: list[list[list[str]]] = [[]]
    unshown: list[str] = []
    for column, cells in columns:
        texts = [_head(column), *(_cell(cell, column) for cell in cells)]
        if _width(first, *blocks[-1], texts, counts) > WIDTH and blocks[-1]:
            if all(text in ("", NEEDS) for text in texts[1:]):  # a block of nothing else tells nothing
                unshown.append(column.label)
                continue
            blocks.append([])
        blocks[-1].append(texts)
    blocks[-1].append(counts)
    lines = [title(table)]
    for block in blocks:
        widths = [max(map(len, texts)) for texts in block]
        for k, name in enumerate(names):
            shown = (texts[k].rjust(width) for texts, width in zip(block, widths, strict=True))
            lines.append("  ".join([name.ljust(first), *shown]).rstrip())
        lines.append("")
    return [*lines, *([f"{NEEDS}: {', '.join(unshown)}", ""] if unshown else [])]


def _width(first: int, *columns: Sequence[str]) -> int:
    """Characters of a line with the names, of `first` characters, and these columns."""
    return first + sum(2 + max(map(len, texts)) for texts in columns)


def _head(column: Column) -> str:
    return f"{column.label} {ARROWS[column.aim]}".strip()


def _cell(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return ""
    return NEEDS if cell.needs_weights else number(cell.value, column.decimals) + ("*" if cell.seeded else "")


def method_lines(rows: Sequence[ScoreRow]) -> list[str]:
    """One line per method with every score."""
    methods = dict.fromkeys(r.method for r in rows)
    scores = {method: [f"{r.metric} {_short(r)}" for r in rows if r.method == method] for method in methods}
    return [f"{method}: {', '.join(texts)}" for method, texts in scores.items()]


def _short(row: ScoreRow) -> str:
    if row.needs_weights:
        return NEEDS
    mark = "*" if row.weights_state == "seeded" else ""
    return f"{row.value:.4g}{mark}" if row.value is not None else "–"


def remarks(rows: Sequence[ScoreRow], failed: Failures, protocol: ScoringProtocol) -> list[str]:
    """Which metrics need weights or had stand-ins, licences, warnings, failures, and the reason for each "–"."""
    lines = sanity_lines(rows)
    if stand_ins := dict.fromkeys(r.metric for r in rows if r.weights_state == "seeded"):
        changes = evaluation_changes([METRICS[name] for name in stand_ins if name in METRICS], protocol)
        fetch = fetch_command(job="evaluate", changes=changes)
        lines.append(f"* computed with stand-in networks: not comparable with published numbers; get them: {fetch}")
    lines += other_files_notes(rows)
    lines += licence_notes(rows)
    lines += [f"warning: {text}" for text in appearance_warnings(rows)]
    short: dict[str, dict[str, str]] = {}
    for row in rows:
        short.setdefault(row.method, {}).update(row.frames_missing)
    lines += [f"{missing_words(missing)}: {method}" for method, missing in short.items() if missing]
    lines += [f"failed: {method}, {clip}: {status}" for method, clip, status in failed]
    lines += undefined(rows)
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.not_ranked and not row.needs_weights:
            reasons.setdefault((row.method, row.not_ranked.removeprefix("not ranked: ")), []).append(row.metric)
    lines += [f"not ranked: {method}, {', '.join(names)}: {why}" for (method, why), names in reasons.items()]
    return [*lines, *needs_lines(rows, protocol)]


def sanity_lines(rows: Iterable[ScoreRow]) -> list[str]:
    """What the lines of the table are that no method made; none where there are none."""
    names = [name for name in dict.fromkeys(row.method for row in rows) if name in SANITY]
    what = "not methods; they show what each metric gives at best and at worst"
    return [f"sanity rows ({', '.join(names)}): {what}"] if names else []


def undefined(rows: Iterable[ScoreRow]) -> list[str]:
    """`mine and still have no value (–) of Blink/s: 2 clips failed: no_face (a, b).`: one sentence for each reason."""
    methods = defaultdict[tuple[str, str], list[str]](list)
    for row in rows:
        if row.value is None and not row.needs_weights and row.note:
            name = METRICS[row.metric].title if row.metric in METRICS else row.metric
            methods[name, row.note].append(row.method)
    groups = defaultdict[tuple[str, str], list[str]](list)
    for (metric, note), names in methods.items():
        groups[f"{listed(names)} {'has' if len(names) == 1 else 'have'}", note].append(metric)
    return [f"{who} no value (–) of {listed(metrics)}: {note}." for (who, note), metrics in groups.items()]


def needs_lines(rows: Sequence[ScoreRow], protocol: ScoringProtocol) -> list[str]:
    """`5 of 12 metrics need weights: ...`: how many, and the command that brings them; none where all are there."""
    metrics = {row.metric for row in rows}
    lacking = {row.metric: row.fetch for row in rows if row.needs_weights}
    if not lacking:
        return []
    commands = " && ".join(dict.fromkeys(lacking.values()))
    return [f"{need_weights(len(lacking), len(metrics))}: {commands}{instead_of(protocol)}"]


def need_weights(lacking: int, metrics: int) -> str:
    """`5 of 12 metrics need weights`."""
    return f"{lacking} of {metrics} metrics need{'s' if lacking == 1 else ''} weights"


def instead_of(protocol: ScoringProtocol) -> str:
    """Where the numbers are that need no download; empty under that protocol itself."""
    own = protocol.id.startswith(EMBEDDED.id)
    return "" if own else f"; numbers without them: --protocol {EMBEDDED.id}"


def next_line(job: Evaluation) -> str:
    """The command with which another method joins the table."""
    words = ["dawn-bench", "evaluate", "--cache", str(job.cache), "--out", str(job.out)]
    words += [] if job.protocol == "paper-dawn" else ["--protocol", job.protocol]
    return f"next: another method beside these: {shlex.join(words)} --method NAME"


def other_files_notes(rows: Iterable[ScoreRow]) -> list[str]:
    """A sentence on the scores whose networks are other files than the published ones; none where there are none."""
    names = sorted({row.metric for row in rows if row.weights_state == "user"})
    what = "use networks that are not the published files: not comparable with a paper"
    return [f"Scores of {', '.join(names)} {what}."] if names else []


def licence_notes(rows: Iterable[ScoreRow]) -> list[str]:
    """A sentence for each network behind these scores whose licence is for research only."""
    metrics = defaultdict[str, list[str]](list)
    for row in rows:
        for name in row.research_only:
            if row.metric not in metrics[name]:
                metrics[name].append(row.metric)
    return [
        f"{', '.join(used)}: computed with {name}, whose licence is: {weights.entry(name).licence}."
        for name, used in sorted(metrics.items())
    ]
