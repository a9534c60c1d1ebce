"""The weight files that metrics use, as their features declare them; what is missing is named in one line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PROTOCOLS, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Metric
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.results import FETCH_NOTE
from dawn_bench.text import counted
from dawn_bench.weights import WEIGHTS, Policy, folder, resolve
from dawn_bench.weights_check import check_weight
from dawn_bench.weights_needs import Needs, bring_command, first_present, how_to_get, missing_needs


def metric_needs(metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol) -> Needs:
    """The registry entries behind metrics under a protocol, in the order of the metrics. No file is opened."""
    names = (name for metric in metrics for name in sorted(_behind(metric.needs)))
    return tuple(dict.fromkeys(need for name in names for need in FEATURES[name].weight_needs(protocol)))


def _behind(names: Iterable[str]) -> set[str]:
    """Names of features with those that they depend on."""
    return {n for name in names for n in (name, *_behind(getattr(FEATURES[name], "after", ())))}


def fields_of(metric: Metric | type[Metric]) -> set[str]:
    """Fields of a clip that a metric reads through its features. No network is opened."""
    return {field for name in _behind(metric.needs) for field in FEATURES[name].fields}


def without_weights(
    metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol, policy: Policy
) -> dict[str, str]:
    """The metrics that `policy` does not compute because files of their networks are absent, with the note of each.

    The notes have one command, which brings the files of all of them. Only `auto` leaves metrics out: `seeded` fills
    their networks with stand-ins, and `files` has refused before (`check_files`).
    """
    if policy != "auto":
        return {}
    lacking = [metric for metric in metrics if missing_needs(metric_needs([metric], protocol))]
    if not lacking:
        return {}
    needs = metric_needs(lacking, protocol)
    command = bring_command(needs, job="evaluate", changes=evaluation_changes(lacking, protocol))
    return {metric.name: f"{FETCH_NOTE}{command}" for metric in lacking}


def check_files(
    metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol, *, fields: Collection[str] | None = None
) -> None:
    """Raise one `InputError` that names every missing weight file of the metrics.

    It serves the policy `files`, before anything is generated. With `fields`, only metrics that can be computed from
    these fields of a clip count. A file that is damaged raises as well.
    """
    Extraction(metrics, protocol)
    chosen = [m for m in metrics if fields is None or fields_of(m) <= set(fields)]
    missing = missing_needs(metric_needs(chosen, protocol))
    if missing:
        entries = {weight.name: weight for weight in WEIGHTS}
        files = ", ".join(f"{entries[name].file} ({name})" for name, *_ in missing)
        lacks = f"lacks {counted(len(missing), 'weight file')}: {files}."
        changes = evaluation_changes(metrics, protocol)
        raise InputError(lacks, path=folder(), hint=how_to_get(missing, job="evaluate", changes=changes, listed=True))


def check_readable(
    metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol, *, fields: Collection[str]
) -> None:
    """Raise `InputError` for the first present weight file of the metrics that cannot be read, before any work.

    Only metrics that can be computed from these `fields` of a clip count: meshes need no network of pictures.

    A published file was read whole for its hash; another one would be refused where its network is first used, for
    LPIPS after everything is generated. Shapes are compared where the network is loaded.
    """
    for need in metric_needs([m for m in metrics if fields_of(m) <= set(fields)], protocol):
        used = resolve(first_present(need))
        if used.path is not None and used.state == "user":
            check_weight(used.path, used.weight.file)


def evaluation_changes(metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol) -> list[str]:
    """The settings with which `dawn-bench weights fetch --for evaluate` brings what these metrics need.

    The metrics are not named where the protocol's own bring the same files.
    """
    needs = set(metric_needs(metrics, protocol))
    usual = set(metric_needs([METRICS[name] for name in usual_metrics(protocol)], protocol))
    missing = set(missing_needs(needs))
    same = needs == usual or (missing and missing == set(missing_needs(usual)))
    named = [] if same else [f"metrics={','.join(metric.name for metric in metrics)}"]
    return named + _protocol_changes(protocol)


def _protocol_changes(protocol: ScoringProtocol) -> list[str]:
    protocol = protocol.in_pieces(None)  # which need no other network
    name = protocol.id.partition("+")[0]
    base = PROTOCOLS.get(name, PAPER_DAWN)
    changed = [f"{k}={v}" for k, v in protocol.model_dump().items() if k != "id" and v != getattr(base, k)]
    named = [] if name == PAPER_DAWN.id else [f"protocol={name}"]
    return named + ([f"protocol_set=[{', '.join(changed)}]"] if changed else [])
