"""Outputs of methods driven by silence, for the metrics that are measured on these (`Metric.driven_by`).

They are generated only where such a metric is chosen, beside the method's own outputs in a folder of their own
(`dawn_bench.baselines.silence`), and belong to the same rows: the entry of a method has them as `silent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dawn_bench.baselines.base import modality_of
from dawn_bench.baselines.silence import Silent, silent_name, spoken_name, why_no_silence
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.entries import Entry, Source

#: How the note of a score begins where outputs driven by silence failed.
DRIVEN = "driven by silence"
#: How the note of a score begins that is undefined because there are no such outputs.
NEEDS_SILENCE = "needs outputs driven by silence"


def of_silence(metrics: Sequence[str] | None, protocol: ScoringProtocol) -> list[str]:
    """Those of the chosen metrics, None for the protocol's, that are measured on outputs driven by silence."""
    return [name for name in metrics or usual_metrics(protocol) if METRICS[name].driven_by == "silence"]


def silent_sources(
    sources: Mapping[str, Source], metrics: Sequence[str] | None, protocol: ScoringProtocol, clips: Sequence[Clip]
) -> dict[str, Source]:
    """The sources of outputs driven by silence by their own names; none where no chosen metric is measured on them.

    Raises `InputError` for a method that is called like one of them.
    """
    if modality_of(clips[0]) != "video" or not of_silence(metrics, protocol):
        return {}
    silent = {}
    for name, source in sources.items():
        if source.method is not None and not why_no_silence(source.method):
            own = silent_name(name)
            if own in sources:
                raise InputError(f"the method {own} is called like {name} driven by silence.", hint="Rename it.")
            silent[own] = replace(source, name=own, method=Silent(source.method))
    return silent


def of_silent(row: ScoreRow, method: str) -> ScoreRow:
    """A score of outputs driven by silence as one of `method`; where clips failed, the note says of which outputs."""
    note = f"{DRIVEN}: {row.note}" if row.failures else row.note
    return row.model_copy(update={"method": method, "note": note})


def joined_entries(sources: Mapping[str, Source], of_source: Mapping[str, Sequence[Entry]]) -> dict[str, Entry]:
    """The entries of all sources by name, those driven by silence as `silent` of the method's own.

    `of_source` are the entries of each source. The row with aligned faces has none: alignment moves no lips.
    """
    entries = {}
    for name, source in sources.items():
        if spoken_name(name) != name and spoken_name(name) in sources:
            continue
        silent = next(iter(of_source.get(silent_name(name), ())), None)
        why = "give methods that dawn-bench runs" if source.method is None else why_no_silence(source.method)
        for entry in of_source[name]:
            reason = f"{NEEDS_SILENCE}: {why or f'see the row of {name}'}"
            own = silent if entry.name == name else None
            entries[entry.name] = replace(entry, silent=own, no_silence="" if own else reason)
    return entries
