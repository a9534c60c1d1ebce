"""Which metrics there are, in the order of a table, and which of them a run computes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Metric


def usual_metrics(protocol: ScoringProtocol = PAPER_DAWN) -> tuple[str, ...]:
    """The metrics that are computed where none is named: those that the protocol lists, else all but optional ones."""
    return protocol.metrics or tuple(name for name in METRICS if not METRICS[name].optional)


def metrics_in_order() -> list[type[Metric]]:
    """All metric classes in the order of a table's columns."""
    return sorted((METRICS[name] for name in METRICS), key=lambda metric: (metric.order, metric.name))


def metric_names(given: Iterable[str]) -> tuple[str, ...]:
    """Metrics by name, each once; `given` has names or the labels of a report, in any case: `PSNR`, `LSE-C`, `lse c`.

    The arrow, protocol or unit that a report puts behind a label may follow. Raises `InputError` with the nearest names
    for an unknown one.
    """
    known = {_plain(name): name for name in METRICS}
    known = {_plain(METRICS[name].title): name for name in METRICS} | known
    names = []
    for text in given:
        bare = text.strip()
        while _plain(bare) not in known and (shorter := re.sub(r"\s*(\([^()]*\)|[↑↓→])$", "", bare)) != bare:
            bare = shorter  # a title may end in brackets itself
        if _plain(bare) not in known:
            raise METRICS.unknown(bare.casefold())
        names.append(known[_plain(bare)])
    return tuple(dict.fromkeys(names))


def _plain(name: str) -> str:
    """A name without what does not distinguish names: case, and how words are joined."""
    return re.sub(r"[\s_-]+", "-", name.strip().casefold())
