"""How a report shows a metric: label, description, direction and place, from the rows themselves.

Rows of earlier versions carry only the metric's name and direction. The rest then comes from the registered metric of
this name, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dawn_bench.results import Aim, ScoreRow

ARROWS: dict[Aim, str] = {"higher": "↑", "lower": "↓", "truth": "→ GT", "zero": "→ 0", "none": ""}
AIM_WORDS: dict[Aim, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "truth": "nearer to the ground truth's value is better",
    "zero": "nearer to zero is better",
    "none": "not ranked",
}
#: Place of metrics that state none: behind all others, by name.
LAST = 1000


@dataclass(frozen=True)
class MetricText:
    """What a report says of a metric under any protocol."""

    label: str
    what: str
    aim: Aim
    order: int
    #: How clips are combined, and what the interval is.
    interval: str = ""


@dataclass(frozen=True)
class Card:
    """One metric under one protocol, for a reader."""

    label: str
    what: str
    unit: str
    aim: Aim
    protocol: str
    states: tuple[str, ...]
    fingerprints: tuple[str, ...]
    notes: tuple[str, ...]
    interval: str = ""
    metric: str = ""


def text_of(rows: Sequence[ScoreRow]) -> MetricText:
    """The text of the metric that all these rows are of, from the newest row that has one."""
    from dawn_bench.metrics.scoring.base import METRICS

    name = rows[0].metric
    described = [row for row in rows if row.label]
    if described:
        row = max(described, key=lambda row: row.created)
        interval = row.interval or (METRICS[name].interval if name in METRICS else "")
        order = LAST if row.order is None else row.order
        return MetricText(row.label, row.description, row.aim or _stated(row), order, interval)
    if name not in METRICS:
        return MetricText(name, "", _stated(rows[0]), LAST)
    metric = METRICS[name]
    aim = metric.target or _stated(rows[0])
    return MetricText(metric.title, metric.description, aim, metric.order, metric.interval)


def interval_lines(rows: Iterable[ScoreRow]) -> list[str]:
    """`FID, DR25: one distance over ...`: how each metric combines the clips, metrics with one way in one line."""
    groups: dict[str, list[str]] = {}
    for text in texts(rows).values():
        if text.interval:
            groups.setdefault(text.interval, []).append(text.label)
    return [f"{', '.join(labels)}: {interval}" for interval, labels in groups.items()]


def texts(rows: Iterable[ScoreRow]) -> dict[str, MetricText]:
    """The text of every metric by name, in the order of the columns."""
    by_metric: dict[str, list[ScoreRow]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    unsorted = {name: text_of(own) for name, own in by_metric.items()}
    return dict(sorted(unsorted.items(), key=lambda item: (item[1].order, item[0])))


def cards(rows: Sequence[ScoreRow]) -> list[Card]:
    """One card per metric and protocol, in the order of the columns."""
    shown = []
    for metric, text in texts(rows).items():
        for protocol in sorted({row.protocol for row in rows if row.metric == metric}):
            own = [row for row in rows if (row.metric, row.protocol) == (metric, protocol)]
            card = Card(
                text.label,
                text.what,
                own[0].unit,
                text.aim,
                protocol,
                states=_distinct(row.weights_state for row in own),
                fingerprints=_distinct(row.fingerprint for row in own),
                notes=_distinct(row.note for row in own),
                interval=text.interval,
                metric=metric,
            )
            shown.append(card)
    return shown


def _stated(row: ScoreRow) -> Aim:
    """The direction of a row that has no aim."""
    return "none" if row.higher_is_better is None else "higher" if row.higher_is_better else "lower"


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
