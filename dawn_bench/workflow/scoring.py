"""Scoring, shared by `evaluate` and `reproduce`: entries and true clips -> rows and gallery in the results store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.files import sha256_file
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.frames import FRAMES_MISSING, missing_words
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.provenance import fingerprint
from dawn_bench.reports.store import GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.weights import Policy
from dawn_bench.workflow.entries import Entry
from dawn_bench.workflow.silence import NEEDS_SILENCE, of_silence, of_silent


@dataclass(frozen=True)
class Scoring:
    """The settings that all scored entries share, including the names of dataset and split in their rows.

    `data` and `data_name` are as in `ScoreRow`; see `identity`. `min_share` is as in `score_method`.
    """

    dataset: str
    split: str
    protocol: ScoringProtocol
    metrics: Sequence[str] | None
    weights: Policy
    device: str
    seed: int
    data: str = ""
    data_name: str = ""
    min_share: float = 0.0


def identity(cache: Cache, split: str) -> tuple[str, str]:
    """(hash of the true clips of a split, name of the dataset): two caches of one kind are two datasets."""
    fields = ("frames", "audio", "vertices")
    clips = [(c.id, c.n_frames, *(str(c.meta.get(f"{field}_sha256")) for field in fields)) for c in cache.clips(split)]
    return fingerprint(clips), cache.name


def score_entry(
    entry: Entry,
    clips: Sequence[Clip],
    scoring: Scoring,
    store: ResultsStore,
    *,
    common: Sequence[Clip] | None = None,
    not_ranked: str = "",
    before: Mapping[str, ScoreRow] | None = None,
    lengths: Mapping[str, int] | None = None,
    spent: Mapping[str, float] | None = None,
) -> list[ScoreRow]:
    """Score one entry and append its rows and videos to the store, so that a later failure does not lose them.

    `clips` are all clips of the evaluation; scores are over the subset `common`, if given. `not_ranked` is the reason
    why the rows are excluded from the ranking. Matched outputs and features are cached in the store's folder: an
    unchanged output is not decoded again. `before` are rows of the same outputs by metric that the new ones replace:
    their failures and coverage, over more clips, are kept. `lengths` are as in `score_method`.
    `spent` are seconds that the features behind each metric took before, by its name.
    """
    chosen = clips if common is None else common

    def scored(part: Entry, metrics: Sequence[str] | None, undefined: Mapping[str, str]) -> list[ScoreRow]:
        takes = [
            score_method(
                part.name,
                {c.id: loaders[c.id] for c in chosen if c.id in loaders},
                chosen,
                dataset=scoring.dataset,
                split=scoring.split,
                metrics=metrics,
                protocol=scoring.protocol,
                weights=scoring.weights,
                device=scoring.device,
                features_dir=store.root / "features",
                method_class=entry.method_class,
                rankable=entry.ranked and not not_ranked,
                seed=scoring.seed,
                failures=part.failures,
                n_requested=len(clips),
                lengths=lengths,
                min_share=scoring.min_share,
                undefined=undefined,
            )
            for loaders in part.takes
        ]
        return averaged(takes)

    rest = dict.fromkeys(of_silence(scoring.metrics, scoring.protocol), entry.no_silence or NEEDS_SILENCE)
    of_entry = scored(entry, scoring.metrics, rest)
    if entry.silent is not None and (names := [row.metric for row in of_entry if row.metric in rest]):
        by_name = {row.metric: of_silent(row, entry.name) for row in scored(entry.silent, names, {})}
        of_entry = [by_name.get(row.metric, row) for row in of_entry]
    # several pieces may be of one file
    hashes = {path: sha256_file(path)[:16] for path in set(entry.outputs.values()) if path.is_file()}
    outputs = {c.id: hashes.get(entry.outputs[c.id], "") if c.id in entry.outputs else "" for c in clips}
    shared = "that all methods solved" if before is None else "that could be measured for all methods"
    over = f"over the {len(chosen)} of {len(clips)} clips {shared}" if len(chosen) < len(clips) else ""
    rows = []
    for row in of_entry:
        around = (row.note,) if row.needs_weights else (not_ranked, row.note, over, *entry.notes)
        note = "; ".join(text for text in around if text)
        more: dict[str, Any] = {
            "outputs": outputs,
            "origins": dict(entry.origins),
            "data": scoring.data,
            "data_name": scoring.data_name,
        }
        if before is not None:
            old = before[row.metric]
            more |= {"coverage": old.coverage, "failures": old.failures | row.failures}
            missing = old.frames_missing | row.frames_missing
            more["frames_missing"] = missing
            if missing != row.frames_missing:  # those of the clips that are no longer scored
                more["note"] = "; ".join(filter(None, (note, missing_words(missing))))
        more["wall_seconds"] = round(row.wall_seconds + (spent or {}).get(row.metric, 0.0), 3)
        why = {"not_ranked": not_ranked or row.not_ranked}
        rows.append(row.model_copy(update={"note": note, "cost": dict(entry.cost), **more, **why}))
    store.append(rows)
    store.add_gallery(
        [GalleryItem(clip_id=c, method=entry.name, video=p, data=scoring.data) for c, p in entry.videos.items()]
    )
    return rows


def common_clips(
    entries: Sequence[Entry], clips: Sequence[Clip], *, min_coverage: float
) -> tuple[list[Clip], dict[str, str]]:
    """The clips solved by every ranked entry, and the reason by name for entries that solved too few.

    Scores over different clips cannot be compared, so all entries are scored over the same ones.
    """
    not_ranked = {}
    common = {c.id for c in clips}
    for entry in entries:
        if not entry.ranked:
            continue
        if len(entry.outputs) < min_coverage * len(clips):
            not_ranked[entry.name] = f"not ranked: solved {len(entry.outputs)} of {len(clips)} clips"
        else:
            common &= set(entry.outputs)
    if not common:  # each entry solved enough clips, but no clip was solved by all
        return list(clips), {e.name: "not ranked: no clip was solved by all methods" for e in entries if e.outputs}
    return [c for c in clips if c.id in common], not_ranked


def clip_failures(entry: Entry, rows: Sequence[ScoreRow]) -> dict[str, str]:
    """The reason for each clip of an entry without any score, by id: no output, an unreadable or incomplete one."""
    failures = dict(entry.failures)
    own = [row for row in rows if row.metric not in METRICS or METRICS[row.metric].driven_by == "speech"]
    for why in ("bad_output", FRAMES_MISSING):
        failing = [{clip for clip, reason in row.failures.items() if reason == why} for row in own]
        failures |= dict.fromkeys(sorted(set.intersection(*failing)) if failing else [], why)
    return failures


def averaged(takes: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
    """Average the rows of several takes of the same clips: values, interval bounds and per-clip values."""
    means = []
    for rows in zip(*takes, strict=True):
        first = rows[0]
        if len(rows) > 1:
            fields = {f: _mean([getattr(row, f) for row in rows]) for f in ("value", "low", "high")}
            clips = {c: _mean([row.per_clip.get(c) for row in rows]) for c in first.per_clip}
            left = {c: text for row in rows for c, text in row.left_out.items()}
            first = first.model_copy(update={**fields, "per_clip": clips, "over_time": [], "left_out": left})
        means.append(first)
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
