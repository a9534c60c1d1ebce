"""Per metric, the clips and frames over which all methods of an evaluation are compared.

`common_clips` takes out the clips that a method has no output for. A metric may still be undefined for a clip of one
method and for another clip of the next (no face, no beat): each metric is then scored again over the clips on which it
could be measured for all of them. An output may end earlier than its true clip: every method is then scored over the
frames of that clip that all of them have, so that a lost end improves no score. Metrics that compare the end itself
(`Metric.whole`) fail there instead. Features are cached, so only clips that are cut cost another network pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dawn_bench.clip import Clip
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.frames import ALL, length_without
from dawn_bench.reports.leaderboard import GROUND_TRUTH
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.entries import Entry
from dawn_bench.workflow.scoring import Scoring, score_entry

#: Rows of an evaluation by method, then by metric.
Rows = dict[str, dict[str, ScoreRow]]


@dataclass(frozen=True)
class Level:
    """One metric's clips: `shared` by all methods that are compared, and the reason by name for those that are not.

    `lengths` are the frames of the shared clips, by id, of which a compared method lacks the last ones. `differs` is
    whether the methods were scored over other clips or frames so far.
    """

    shared: frozenset[str]
    lengths: Mapping[str, int]
    apart: Mapping[str, str]
    differs: bool


def levelled(
    entries: Mapping[str, Entry],
    rows: Rows,
    clips: Sequence[Clip],
    common: Sequence[Clip],
    scoring: Scoring,
    store: ResultsStore,
    *,
    excluded: Mapping[str, str],
    min_coverage: float,
) -> Rows:
    """The rows after comparing each metric over the clips that all methods have; changed ones are stored too.

    `excluded` are the methods that `common_clips` left out. A method on which a metric could be measured for less than
    `min_coverage` of the clips that any method has is not ranked in this metric, and does not reduce the others' clips.
    """
    again: dict[tuple[frozenset[str], frozenset[tuple[str, int]]], list[str]] = {}
    changed = {name: dict(by_metric) for name, by_metric in rows.items()}
    apart: list[ScoreRow] = []
    computed = (m for by_metric in rows.values() for m, row in by_metric.items() if not row.needs_weights)
    for metric in dict.fromkeys(computed):
        level = level_of(entries, rows, common, metric, excluded=excluded, min_coverage=min_coverage)
        for name, reason in level.apart.items():
            row = rows[name][metric]
            changed[name][metric] = row.model_copy(update={"not_ranked": row.not_ranked or reason})
            apart.append(changed[name][metric])
        if level.differs and level.shared:
            again.setdefault((level.shared, frozenset(level.lengths.items())), []).append(metric)
    if apart:
        store.append(apart)
    for (shared, lengths), metrics in again.items():
        chosen = [c for c in common if c.id in shared]
        for name, entry in entries.items():
            own = [m for m in metrics if m in rows[name] and not changed[name][m].not_ranked]
            if own and name not in excluded:
                part = replace(scoring, metrics=own)
                scored = score_entry(entry, clips, part, store, common=chosen, before=rows[name], lengths=dict(lengths))
                changed[name] |= {row.metric: row for row in scored}
    return changed


def level_of(
    entries: Mapping[str, Entry],
    rows: Rows,
    common: Sequence[Clip],
    metric: str,
    *,
    excluded: Mapping[str, str],
    min_coverage: float,
) -> Level:
    """The clips and frames over which one metric is compared."""
    ids = {c.id for c in common}
    measured = {
        name: frozenset(ids - {c for c, left in rows[name][metric].left_out.items() if left == ALL})
        for name in entries
        if name not in excluded and metric in rows[name]
    }
    possible = len(frozenset[str]().union(*measured.values()))
    apart, compared = {}, {}
    for name, own in measured.items():
        if entries[name].ranked and possible and len(own) < max(min_coverage * possible, 1):
            apart[name] = f"measured on {len(own)} of {possible} clips"
        elif entries[name].ranked and not rows[name][metric].not_ranked:
            compared[name] = own
        elif name == GROUND_TRUTH and rows[name][metric].aim == "truth":
            compared[name] = own  # the others are compared with its value
    if not any(entries[name].ranked for name in compared):
        return Level(frozenset(), {}, apart, differs=False)
    shared = frozenset.intersection(*compared.values())
    if not shared:
        none = f"no clip could be measured for all of {', '.join(compared)}"
        apart |= {name: none for name in compared if entries[name].ranked}
    frames_of = {n: _lengths(r[metric], common) for n, r in rows.items() if metric in r and n not in excluded}
    lengths = {
        c.id: least
        for c in common
        if c.id in shared and (least := min(frames_of[name][c.id] for name in compared)) < c.n_frames
    }
    if METRICS[metric].whole:
        lengths = {}
    longer = any(lengths[clip] < of_method[clip] for of_method in frames_of.values() for clip in lengths)
    return Level(shared, lengths, apart, differs=longer or len(set(compared.values())) > 1)


def _lengths(row: ScoreRow, clips: Sequence[Clip]) -> dict[str, int]:
    """The frames of each clip that a method's output has."""
    return {c.id: length_without(row.frames_missing.get(c.id, ""), c.n_frames) for c in clips}
