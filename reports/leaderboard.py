"""From score rows to leaderboards: which scores are compared, and how methods rank.

A table has one class of methods on one split of one dataset, that is of one cache, in pieces of one length or as whole
clips. Within a column only scores with the same fingerprint over the same frames are compared (`ScoreRow.scope`), and
never scores computed with stand-in weights.
A score that is not compared says why (`dawn_bench.reports.reasons`). Sanity rows (ground truth, still image, ...) and
published rows are shown unranked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dawn_bench.cache import OWN_VIDEOS
from dawn_bench.metrics.protocols.base import EMBEDDED, PIECE_LENGTHS, piece_words
from dawn_bench.metrics.scoring.appearance import appearance_warnings
from dawn_bench.metrics.scoring.frames import missing_words
from dawn_bench.reports.cards import MetricText, texts
from dawn_bench.reports.reasons import clips_of, coverage_gaps, difference
from dawn_bench.results import NEEDS_WEIGHTS, Aim, ScoreRow
from dawn_bench.text import few

Group = Literal["ranked", "sanity", "published"]

GROUND_TRUTH = "ground-truth"
#: Classes whose rows only show the floor and ceiling of a metric.
REFERENCE_CLASSES = ("sanity", "reference")
SEEDED = "seeded"


@dataclass(frozen=True)
class Column:
    """One metric under one protocol; the label names the protocol where a table has the metric under several."""

    metric: str
    protocol: str
    label: str
    unit: str
    aim: Aim
    decimals: int


@dataclass(frozen=True)
class Cell:
    """One value of a table. `rank` counts from 1 and is None where the value is not ranked.

    `reason` says why a method's score is not ranked; `other_settings` where it is for a difference to the column.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    row: ScoreRow | None = None
    rank: int | None = None
    other_settings: bool = False
    reason: str = ""

    @property
    def seeded(self) -> bool:
        """Whether it was computed with stand-in weights and is not comparable outside this run."""
        return self.row is not None and self.row.weights_state == SEEDED

    @property
    def needs_weights(self) -> bool:
        """Whether it was not computed because the files of its network are absent."""
        return self.row is not None and self.row.needs_weights


@dataclass(frozen=True)
class LeaderboardRow:
    """One method of a table; `cells` follow the table's columns, None where the method has no such score."""

    method: str
    group: Group
    cells: tuple[Cell | None, ...]

    @property
    def n_clips(self) -> int | None:
        """The largest number of clips behind any of the scores."""
        return max((c.row.n_clips for c in self.cells if c and c.row), default=None)

    @property
    def coverage(self) -> float:
        """The smallest coverage of any of the scores, 0–1."""
        return min((c.row.coverage for c in self.cells if c and c.row), default=1.0)

    @property
    def gaps(self) -> list[str]:
        """What its outputs lack, and each coverage below 1 with its metrics and reasons: `DR50 0 % (too_short)`."""
        gaps = coverage_gaps([c.row for c in self.cells if c and c.row])
        return [self.frames_missing, *gaps] if self.frames_missing else gaps

    @property
    def frames_missing(self) -> str:
        """The clips whose outputs end too early, in words; empty without any."""
        missing = {clip: end for c in self.cells if c and c.row for clip, end in c.row.frames_missing.items()}
        return missing_words(missing)

    @property
    def cost(self) -> dict[str, float]:
        """Cost of generation (see `ScoreRow.cost`), empty where unknown."""
        return next((c.row.cost for c in self.cells if c and c.row and c.row.cost), {})


@dataclass(frozen=True)
class Table:
    """A leaderboard; its lines are in the order ranked, sanity, published."""

    dataset: str
    split: str
    method_class: str
    columns: tuple[Column, ...]
    lines: tuple[LeaderboardRow, ...]
    notes: tuple[str, ...] = ()
    #: The name of the cache's dataset, where the results have several of its kind, or it is a folder of videos.
    cache: str = ""
    #: The title of a table that is not about one split of a dataset.
    heading: str = ""
    #: Frames of the pieces in which the clips were generated and scored; None for whole clips.
    piece_length: int | None = None
    #: Whether the title says so: for pieces, and for whole clips next to pieces of the same dataset.
    names_pieces: bool = False
    #: The protocol whose metrics have a table of their own; empty for those of the papers.
    protocol: str = ""

    @property
    def name(self) -> str:
        """The dataset, with its cache where there are several of its kind; or the heading. Own videos have no kind."""
        if self.heading or not self.cache:
            return self.heading or self.dataset
        return self.cache if self.dataset == OWN_VIDEOS else f"{self.dataset} ({self.cache})"

    @property
    def pieces(self) -> str:
        """What is scored in words, where the title says so."""
        return piece_words(self.piece_length) if self.names_pieces else ""

    @property
    def costed(self) -> bool:
        """Whether the cost of any method is known."""
        return any(line.cost for line in self.lines)

    @property
    def seeded(self) -> bool:
        """Whether any value was computed with stand-in weights."""
        return any(c is not None and c.seeded for line in self.lines for c in line.cells)

    @property
    def fetches(self) -> list[str]:
        """The commands that bring the weights that cells of this table need, each once."""
        rows = [c.row for line in self.lines for c in line.cells if c is not None and c.row is not None]
        return list(dict.fromkeys(row.fetch for row in rows if row.fetch))


def leaderboards(rows: Sequence[ScoreRow]) -> list[Table]:
    """One table per dataset, split, length of pieces and class of methods, sorted by these; each shows the sanity rows.

    Whole clips come last. The metrics of `embedded` have tables of their own.
    """
    tables, text = [], texts(rows)
    caches = _cache_names(rows)
    places = {(r.dataset, caches[r.dataset, r.data], r.split, r.data, _own_table(r), _frames(r)) for r in rows}
    for dataset, cache, split, data, protocol, frames in sorted(places):
        of_data = [r for r in rows if (r.dataset, r.data, r.split) == (dataset, data, split)]
        beside = [r for r in of_data if _own_table(r) == protocol]
        here = [r for r in beside if _frames(r) == frames]
        length = here[0].piece_length
        lengths = dict.fromkeys(r.piece_length for r in sorted(beside, key=_frames))
        # A method remains an entry where all its scores used stand-in weights, even if its rows are not rankable.
        candidates = (r for r in here if r.method_class not in REFERENCE_CLASSES)
        entries = {r.method for r in candidates if r.rankable or r.weights_state in (SEEDED, NEEDS_WEIGHTS)}
        classes = sorted({r.method_class for r in here if r.method in entries}) or ["reference"]
        for method_class in classes:
            entered = [r for r in here if r.method in entries and r.method_class == method_class]
            sanity = [r for r in here if r.method not in entries]
            table = _table(dataset, split, method_class, entered, sanity, text)
            notes = (*_piece_notes(dataset, length, list(lengths)), *table.notes)
            named = length is not None or len(lengths) > 1 or dataset in PIECE_LENGTHS
            where: dict[str, Any] = {
                "cache": cache,
                "piece_length": length,
                "names_pieces": named,
                "protocol": protocol,
            }
            tables.append(replace(table, notes=notes, **where))
    return tables


def _own_table(row: ScoreRow) -> str:
    """The protocol of a row whose metrics have a table of their own: its ranks are never averaged with a paper's."""
    return EMBEDDED.id if row.protocol.startswith(EMBEDDED.id) else ""


def _frames(row: ScoreRow) -> float:
    """The length of a row's pieces, by which tables are sorted; infinity for whole clips."""
    return row.piece_length or math.inf


def _piece_notes(dataset: str, length: int | None, lengths: Sequence[int | None]) -> list[str]:
    """Why scores over other pieces of the same clips stand in another table, and what a paper's rows are over."""
    others = [piece_words(other) for other in lengths if other != length]
    notes = []
    if others:
        notes.append(f"Scored over {piece_words(length)}: not comparable with scores over {few(others)}.")
    if length is None and dataset in PIECE_LENGTHS:
        notes.append(
            f"Scored over whole clips, or by an earlier version that did not record pieces. DAWN's paper scores "
            f"{dataset.upper()} over {piece_words(PIECE_LENGTHS[dataset])}, so its rows are not shown here."
        )
    if length is not None:
        notes.append(
            "A piece counts as a clip: its frame 0 is the true one that it was generated from, and intervals are over "
            "pieces, of which several are of one video."
        )
    return notes


def _cache_names(rows: Sequence[ScoreRow]) -> dict[tuple[str, str], str]:
    """What distinguishes each (dataset, data) from others of its kind: the cache's name, with its hash where needed.

    A folder of videos always has its name.
    """
    named = {(r.dataset, r.data): r.data_name or "earlier version" for r in rows}
    kinds = Counter(dataset for dataset, _ in named)
    same = Counter((dataset, name) for (dataset, _), name in named.items())
    return {
        (dataset, data): ""
        if kinds[dataset] == 1 and (dataset != OWN_VIDEOS or not data)
        else name
        if same[dataset, name] == 1
        else f"{name}, {data[:6] or 'unknown'}"
        for (dataset, data), name in named.items()
    }


def _table(
    dataset: str,
    split: str,
    method_class: str,
    entered: list[ScoreRow],
    sanity: list[ScoreRow],
    text: Mapping[str, MetricText],
) -> Table:
    shown = {(r.metric, r.protocol) for r in entered or sanity}
    metrics = Counter(metric for metric, _ in shown)
    columns: list[Column] = []
    by_column: list[dict[str, Cell]] = []
    for metric, protocol in sorted(shown, key=lambda mp: (text[mp[0]].order, *mp)):
        rows = [r for r in (*entered, *sanity) if (r.metric, r.protocol) == (metric, protocol)]
        column = _column(rows, text[metric], several=metrics[metric] > 1)
        columns.append(column)
        by_column.append(_ranked(column, rows))

    def line(method: str, group: Group) -> LeaderboardRow:
        return LeaderboardRow(method, group, tuple(cells.get(method) for cells in by_column))

    ranked = [line(m, "ranked") for m in sorted({r.method for r in entered})]
    ranked.sort(key=lambda li: (mean_rank(li), li.method))
    unranked = [line(m, "sanity") for m in dict.fromkeys(r.method for r in sanity)]
    unranked = [li for li in unranked if any(li.cells)]
    notes = [f"{text}." for text in appearance_warnings(entered)]
    if short := [f"{li.method}: {li.frames_missing}" for li in ranked if li.frames_missing]:
        notes.append(f"Outputs that end too early are scored without those frames. {'; '.join(short)}.")
    if len({li.coverage for li in ranked}) > 1:
        notes.append("The methods cover different numbers of clips: check the coverage before comparing.")
    if any(c is not None and c.other_settings for li in ranked for c in li.cells):
        notes.append(
            "Values marked “other settings” were scored with other settings or over other frames than the rest of "
            "their column and are not ranked."
        )
    return Table(dataset, split, method_class, tuple(columns), (*ranked, *unranked), notes=tuple(notes))


def _column(rows: Sequence[ScoreRow], text: MetricText, *, several: bool) -> Column:
    first = rows[0]
    label = f"{text.label} ({first.protocol})" if several else text.label
    return Column(first.metric, first.protocol, label, first.unit, text.aim, decimals_for([r.value for r in rows]))


def _ranked(column: Column, rows: Sequence[ScoreRow]) -> dict[str, Cell]:
    """The cells of one column by method, with ranks among comparable scores."""
    entered = [r for r in rows if r.rankable and r.method_class not in REFERENCE_CLASSES]
    able = [r for r in entered if r.weights_state != SEEDED and r.value is not None and math.isfinite(r.value)]
    able = [r for r in able if not r.not_ranked]
    scopes = Counter(r.scope for r in able)
    # ties: the scope of more frames, so that an incomplete method is the one that is marked
    first = max(able, key=lambda r: (scopes[r.scope], r.n_frames, r.created)) if able else None
    equal = [r for r in able if first is not None and r.scope == first.scope]
    reasons = {r.method: difference(r, first) for r in able if first is not None and r.scope != first.scope}
    odd = set(reasons)
    truth = next((r for r in rows if r.method == GROUND_TRUTH and r.weights_state != SEEDED), None)
    target = truth.value if truth is not None and truth.value is not None and math.isfinite(truth.value) else None
    if column.aim == "truth" and truth is not None:
        # the ground truth's value is a target only for scores over the same clips
        elsewhere = {r.method for r in equal if clips_of(r) != clips_of(truth)}
        reasons |= dict.fromkeys(elsewhere, "the ground truth was scored over other clips")
        equal = [r for r in equal if r.method not in elsewhere]
    merits = {r.method: merit(r.value, column.aim, target) for r in equal}
    ranked = {m: v for m, v in merits.items() if v is not None}
    ranks = {m: 1 + sum(other > v for other in ranked.values()) for m, v in ranked.items()} if len(ranked) > 1 else {}
    return {
        r.method: Cell(
            r.value,
            r.low,
            r.high,
            r,
            rank=ranks.get(r.method),
            other_settings=r.method in odd,
            reason=r.not_ranked.removeprefix("not ranked: ") or reasons.get(r.method, ""),
        )
        for r in rows
    }


def merit(value: float | None, aim: Aim, truth: float | None) -> float | None:
    """A number that is higher for better values; None where the column is not ranked."""
    if value is None or aim == "none" or (aim == "truth" and truth is None):
        return None
    if aim == "truth" and truth is not None:
        return -abs(value - truth)
    return {"higher": value, "lower": -value}.get(aim, -abs(value))


def mean_rank(line: LeaderboardRow) -> float:
    """The mean of a line's ranks, infinite without any; a table is sorted by it."""
    ranks = [c.rank for c in line.cells if c and c.rank]
    return sum(ranks) / len(ranks) if ranks else math.inf


def place(table: Table, line: LeaderboardRow) -> int | None:
    """The place of a ranked line by mean rank, from 1; equal mean ranks share one. None for a line without a rank."""
    own = mean_rank(line)
    if line.group != "ranked" or math.isinf(own):
        return None
    return 1 + sum(other.group == "ranked" and mean_rank(other) < own for other in table.lines)


def decimals_for(values: Sequence[float | None]) -> int:
    """Decimals that give a column three or four significant digits."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    if 0 < largest < 0.01:  # squared distances between vertices
        return 3 - math.floor(math.log10(largest))
    return 1 if largest >= 1000 else 2 if largest >= 2 else 3


def number(value: float | None, decimals: int) -> str:
    """A value as text; an en dash where undefined."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """As `number`, with a minus sign in place of the hyphen: for text that is read, not parsed."""
    return number(value, decimals).replace("-", "−")


def with_published(tables: Sequence[Table], published: Sequence[Table]) -> list[Table]:
    """`tables` with published lines appended to tables of the same dataset and class.

    Columns match by metric; a metric under several protocols has no published values, and neither has a table over
    other pieces of the clips than the paper's, or of metrics that are not the papers'.
    """
    extended = []
    for table in tables:
        extra, count = [], Counter(c.metric for c in table.columns)
        same = (
            t
            for t in published
            if not table.protocol
            and table.dataset.lower().startswith(t.dataset)
            and table.method_class == t.method_class
            and table.piece_length == t.piece_length
        )
        for other in same:
            at = {c.metric: i for i, c in enumerate(other.columns) if count[c.metric] == 1}
            for line in other.lines:
                cells = tuple(line.cells[at[c.metric]] if c.metric in at else None for c in table.columns)
                if any(cells):
                    extra.append(replace(line, cells=cells))
        extended.append(replace(table, lines=(*table.lines, *extra)))
    return extended
