"""Which rows of a store are current: the last of each score, for the outputs that were scored last.

A row states the hashes of its outputs. Where a method was evaluated again with other outputs, its earlier rows are
stale: a table of both would mix scores of two different outputs. Outputs in pieces of two lengths are two sets of
files; there the rows' `origins` are compared: the files of whole clips that they were cut from, or the method's
settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dawn_bench.results import ScoreRow

#: Fields that identify a score.
KEY = ("method", "dataset", "data", "split", "protocol", "metric")
#: Why a row is not ranked whose outputs were not recorded, next to rows whose outputs were.
UNKNOWN_OUTPUTS = "scored by an earlier version, which did not record the outputs: evaluate again"


def current(rows: Sequence[ScoreRow]) -> tuple[list[ScoreRow], list[ScoreRow]]:
    """The rows that hold, in the given order (oldest first), and those that were scored on other outputs.

    Of rows with the same `KEY` the last one counts; one that needs weights takes the place of no real score.

    Rows of earlier versions name no cache: they belong to the cache of the newer rows where these have only one, or
    have a score with the same fingerprint.
    """
    last: dict[tuple[str, ...], ScoreRow] = {}
    for row in _with_data(rows):
        key = tuple(getattr(row, name) for name in KEY)
        if row.needs_weights and key in last and _stays(last[key], row):
            continue
        last.pop(key, None)  # so that the order remains that of creation
        last[key] = row
    newest: dict[tuple[object, ...], dict[str, str]] = {}
    origins: dict[tuple[object, ...], dict[str, str]] = {}
    for row in last.values():
        newest.setdefault((*_of_one_method(row), row.piece_length), {}).update(row.outputs)
        origins.setdefault(_of_one_method(row), {}).update(_origins(row))
    holding, stale = [], []
    for row in last.values():
        outputs, latest = newest[(*_of_one_method(row), row.piece_length)], origins[_of_one_method(row)]
        replaced = any(outputs[clip] != digest for clip, digest in row.outputs.items())
        if replaced or any(latest[clip] != digest for clip, digest in _origins(row).items()):
            stale.append(row)
        elif outputs and not row.outputs:
            holding.append(row.model_copy(update={"not_ranked": row.not_ranked or UNKNOWN_OUTPUTS}))
        else:
            holding.append(row)
    return holding, stale


def _stays(earlier: ScoreRow, row: ScoreRow) -> bool:
    """Whether a real score of the same outputs holds against a later run that lacked the weights."""
    real = earlier.value is not None and earlier.weights_state != "seeded"
    return real and (earlier.outputs, earlier.piece_length) == (row.outputs, row.piece_length)


def _of_one_method(row: ScoreRow) -> tuple[object, ...]:
    return row.method, row.dataset, row.data, row.split


def _origins(row: ScoreRow) -> dict[str, str]:
    """What a row's outputs come from; the outputs themselves where these are whole clips."""
    return row.origins if row.piece_length else row.outputs | row.origins


def _with_data(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """The rows with the cache that rows of earlier versions belong to, where that is certain."""
    rows = list(rows)
    known: dict[tuple[str, str], dict[str, str]] = {}
    by_print: dict[tuple[str, str, str], tuple[str, str]] = {}
    for row in rows:
        if row.data:
            known.setdefault((row.dataset, row.split), {})[row.data] = row.data_name
            by_print[row.dataset, row.split, row.fingerprint] = row.data, row.data_name
    named = []
    for row in rows:
        only = list(known.get((row.dataset, row.split), {}).items())
        own = only[0] if len(only) == 1 else by_print.get((row.dataset, row.split, row.fingerprint))
        if not row.data and own is not None:
            row = row.model_copy(update={"data": own[0], "data_name": own[1]})
        named.append(row)
    return named
