"""Evaluate: generate with each method, score every method in one pass, keep the rows, write the report.

Any number of workers fills the stores with outputs and features (`dawn_bench.workflow.filling`). This process then
scores what is there.

<out>/outputs/<method>/<clip>.mp4      generated videos, lossless; <clip>.npy for meshes
<out>/outputs-pieces-100/<method>/...  the same in pieces of another length than is usual for the dataset
<out>/features/                        cached features, shared by methods and by later runs
<out>/filling/                         what workers have finished
<out>/rows, gallery.json, facts.json   the results store
<out>/report/report.html
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import modality_of, sanity_rows
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.devices import DevicePool, on_its_device
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.scoring.needs import check_files, check_readable
from dawn_bench.models.loading import report_notes
from dawn_bench.pipelines.preparation.maintain import check_content
from dawn_bench.processes import Workers
from dawn_bench.progress import console
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.text import counted
from dawn_bench.threads import one_thread
from dawn_bench.utf8 import escape_invalid
from dawn_bench.workflow.bench import clear_bench
from dawn_bench.workflow.chosen import Chosen, chosen_clips, outputs_folder
from dawn_bench.workflow.entries import Entry, Source, check_owner, entry_source
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.fill_job import FillJob
from dawn_bench.workflow.filling import (
    Filled,
    early_workers,
    fill,
    filled,
    jobs_of_part,
    last_steps,
    merge_lists,
    on_first_device,
    plan_jobs,
    workers_of,
)
from dawn_bench.workflow.folders import results_folder, shared_results
from dawn_bench.workflow.forecast import forecast, remember
from dawn_bench.workflow.levelling import Rows, levelled
from dawn_bench.workflow.scoring import Scoring, clip_failures, common_clips, identity, score_entry
from dawn_bench.workflow.silence import joined_entries, silent_sources
from dawn_bench.workflow.stored import check_nothing_lost, lost_outputs
from dawn_bench.workflow.summary import (
    Failures,
    licence_notes,
    method_lines,
    other_files_notes,
    remarks,
    table_lines,
)

__all__ = ["Evaluated", "Evaluation", "evaluate_methods", "outputs_folder"]

#: Facts on the data that depend on the length of pieces.
_SCORED_AS, _SOLVED, _FRAMES = "scored as", "clips scored (solved by all methods)", "frames"


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation.

    The rows of this run, failed items as (method, clip, reason), summary lines, the report page (None where nothing
    was scored), seconds by part, of all workers together, and the methods that solved no clip. `screen` is the summary
    for a terminal, with a table in place of a line for each method.
    """

    rows: list[ScoreRow]
    failed: list[tuple[str, str, str]]
    summary: list[str]
    report: Path | None
    timings: dict[str, float]
    unsolved: tuple[str, ...] = ()
    screen: tuple[str, ...] = ()


@on_its_device
def evaluate_methods(job: Evaluation) -> Evaluated:
    """Run an evaluation. Raises `InputError` when the cache, a method, its checkpoint or its outputs cannot be used."""
    if job.fold and job.fills_only:
        what = "--fold scores what --only-fill and --part leave, and they score nothing."
        raise InputError(what, hint="Give --fold alone, after them.")
    job = on_first_device(job)
    cache = Cache(job.cache)
    chosen = chosen_clips(job, cache)
    clips, protocol = chosen.clips, chosen.protocol
    store = ResultsStore(job.out)
    for metric in job.metrics or ():
        METRICS[metric]
    if unreadable := [method for method in job.methods if escape_invalid(method) != method]:
        raise InputError(f"the method name {unreadable[0]} is not UTF-8.", hint="Name it in UTF-8: --method mine")
    if job.outputs is not None:
        check_owner(job)
    elif job.mapping is not None or job.naming != "{clip}":
        flag = "--mapping" if job.mapping is not None else "--naming"
        raise InputError(f"{flag} describes the files of --outputs, which is missing.", hint="Give both.")
    if job.weights == "files":
        check_files([METRICS[m] for m in job.metrics or usual_metrics(protocol)], protocol, fields=set(clips[0].arrays))
    if job.weights != "seeded":
        named = [METRICS[m] for m in job.metrics or usual_metrics(protocol)]
        check_readable(named, protocol, fields=set(clips[0].arrays))
    sanity = sanity_rows(modality_of(clips[0])) if job.sanity else ()
    names = [*sanity, *(m for m in job.methods if m not in sanity)]
    out = chosen.outputs(job.out)
    shown: set[str] = set()  # methods with one checkpoint have the same remarks
    workers, pool = workers_of(job, frames=sum(clip.n_frames for clip in clips) * len(names))
    with early_workers(job, workers):
        # validates all methods up front
        sources = {
            n: entry_source(n, job, clips, out=out, shown=shown, piece_length=chosen.piece_length) for n in names
        }
        sources |= silent_sources(sources, job.metrics, chosen.protocol, clips)
        check_content(cache, [clip.id for clip in chosen.whole])
        return _filled_and_scored(job, cache, chosen, store, sources, workers, pool)


def _filled_and_scored(
    job: Evaluation,
    cache: Cache,
    chosen: Chosen,
    store: ResultsStore,
    sources: Mapping[str, Source],
    workers: Workers,
    pool: DevicePool | None,
) -> Evaluated:
    """Fill the stores, and score what is there; only one of the two where the job says so."""
    clips, out = chosen.clips, chosen.outputs(job.out)
    try:
        if job.fills_only:
            with shared_results(job.out):
                jobs = plan_jobs(job, chosen, sources, pool, workers)
                _announce(job, chosen, sources, jobs, workers.number + workers.gpus)
                lost = lost_outputs(jobs_of_part(jobs, *job.part_numbers), sources, clips, out, seed=job.seed)
                fill(jobs, workers, pool, part=job.part_numbers, lost=lost)
                return _filled_part(jobs)
        with results_folder(job.out), one_thread():
            jobs = plan_jobs(job, chosen, sources, pool, workers)
            _announce(job, chosen, sources, jobs, workers.number + workers.gpus)
            merge_lists(jobs, out)  # those of a killed run are older than what is recorded from here on
            # what a fold reads is all that there is: a damaged file would be generated by this process
            lost = lost_outputs(jobs, sources, clips, out, seed=job.seed, content=job.fold)
            if not job.fold:
                fill(jobs, workers, pool, lost=lost)
            stored = filled(jobs)
            if job.fold:
                check_nothing_lost(jobs, lost, out)
            merge_lists(jobs, out)
            return _evaluated(job, cache, clips, chosen.protocol, store, sources, stored)
    finally:
        clear_bench()


def _announce(
    job: Evaluation, chosen: Chosen, sources: Mapping[str, Source], jobs: Sequence[FillJob], workers: int
) -> None:
    """Say before the work what is computed, what is skipped, and for how long."""
    frames = sum(one.n_frames for one in jobs)
    pending = sum(one.n_frames for one in jobs if not one.part.exists()) / frames if frames else 0.0
    for line in forecast(job, chosen.protocol, chosen.clips, list(sources), pending=pending, workers=workers):
        console().print(line)


def _filled_part(jobs: Sequence[FillJob]) -> Evaluated:
    """What is done so far; nothing is scored."""
    jobs = last_steps(jobs)
    done = [other for other in jobs if other.part.exists()]
    failed = [(j.name, f.clip, f.status) for j in done if j.name for f in j.report().failed]
    lines = [f"failed: {method}, {clip}: {status}" for method, clip, status in failed]
    lines.append(f"{len(done)} of {counted(len(jobs), 'job')} done; score them with the same command and --fold")
    return Evaluated([], failed, lines, None, {}, screen=tuple(lines))


def _evaluated(
    job: Evaluation,
    cache: Cache,
    clips: Sequence[Clip],
    protocol: ScoringProtocol,
    store: ResultsStore,
    sources: Mapping[str, Source],
    stored: Filled,
) -> Evaluated:
    """Score what is in the stores, and write the report; what is damaged there is generated or computed again."""
    timings: dict[str, float] = {}
    of_source: dict[str, list[Entry]] = {}
    for name, source in sources.items():
        began = time.perf_counter()
        of_source[name] = source.entries(stored.failed.get(name))
        timings[f"generate {name}"] = round(time.perf_counter() - began + stored.generating(name), 1)
    entries = joined_entries(sources, of_source)
    common, not_ranked = common_clips(list(entries.values()), clips, min_coverage=job.min_coverage)

    data, data_name = identity(cache, job.split)
    scoring = Scoring(
        dataset=str(cache.settings["dataset"]),
        split=job.split,
        protocol=protocol,
        metrics=job.metrics,
        weights=job.weights,
        device=job.device,
        seed=job.seed,
        data=data,
        data_name=data_name,
        min_share=job.min_coverage,
    )
    scores: Rows = {}
    failed: list[tuple[str, str, str]] = []
    for name, entry in entries.items():
        began = time.perf_counter()
        reason, spent = not_ranked.get(name, ""), stored.measuring(name)
        over = clips if reason else common
        scored = score_entry(entry, clips, scoring, store, common=over, not_ranked=reason, spent=spent)
        timings[f"score {name}"] = round(time.perf_counter() - began + sum(spent.values()), 1)
        scores[name] = {row.metric: row for row in scored}
        failed += [(name, clip, why) for clip, why in clip_failures(entry, scored).items()]
    scores = levelled(
        entries, scores, clips, common, scoring, store, excluded=not_ranked, min_coverage=job.min_coverage
    )
    rows = [row for by_metric in scores.values() for row in by_metric.values()]
    generating = {name: timings[f"generate {name}"] for name in sources}
    remember(job, rows, generating, clips)
    facts = _facts(job, cache, protocol, clips, common, rows, timings)
    store.set_facts(facts.model_copy(update={"dataset": _beside(store.facts().dataset, facts.dataset, protocol)}))
    pages = write_report(job.out, job.out / "report")
    page = next(p for p in pages if p.suffix == ".html")
    unsolved = _unsolved([entries[name] for name in sources if name in entries], failed, len(clips))
    none_solved = [f"{name} solved none of {counted(len(clips), 'clip')}" for name in unsolved]
    screen = (*table_lines(rows), *remarks(rows, failed, protocol), *none_solved, f"report: {page}")
    return Evaluated(rows, failed, [*_summary(rows, failed, protocol), *none_solved], page, timings, unsolved, screen)


def _unsolved(entries: Iterable[Entry], failed: Iterable[tuple[str, str, str]], clips: int) -> tuple[str, ...]:
    """The names of ranked entries all of whose `clips` have failed; references and sanity rows do not count."""
    failures = Counter(name for name, *_ in failed)
    return tuple(entry.name for entry in entries if entry.ranked and failures[entry.name] >= clips)


def _beside(earlier: Mapping[str, Any], facts: dict[str, Any], protocol: ScoringProtocol) -> dict[str, Any]:
    """Facts on the data with those of earlier runs over pieces of another length: `8 (whole clips); ...`."""
    pieces, before = protocol.pieces, str(earlier.get(_SCORED_AS, ""))
    if not before or any(earlier.get(name) != facts[name] for name in ("dataset", "split", "clips")):
        return facts
    others = [part for part in before.split("; ") if not part.endswith(pieces)]
    if not others:
        return facts
    joined = {_SCORED_AS: "; ".join([*others, facts[_SCORED_AS]])}
    for name in (_SOLVED, _FRAMES):
        value = earlier.get(name, "")
        parts = value.split("; ") if isinstance(value, str) else [f"{value} ({before.lstrip('0123456789 ')})"]
        kept = [part for part in parts if part and not part.endswith(f"({pieces})")]
        joined[name] = "; ".join([*kept, f"{facts[name]} ({pieces})"])
    return facts | joined


def _facts(
    job: Evaluation,
    cache: Cache,
    protocol: ScoringProtocol,
    clips: Sequence[Clip],
    common: Sequence[Clip],
    rows: Sequence[ScoreRow],
    timings: dict[str, float],
) -> Facts:
    notes = list(job.notes)
    stand_ins = sorted({r.metric for r in rows if r.weights_state == "seeded"})
    if stand_ins:
        notes.append(
            f"Scores of {', '.join(stand_ins)} use stand-in networks: not comparable with a paper, and not ranked."
        )
    notes += other_files_notes(rows)
    notes += licence_notes(rows)
    run = job.checkpoint
    notes += report_notes(run) if run is not None else []
    logs = sorted(run.glob("*/metrics.jsonl")) if run is not None else []
    return Facts(
        title=f"dawn-bench: {cache.title}, {job.split} split",
        created=ScoreRow.now(),
        notes=notes,
        curves={log.parent.name: log for log in logs},
        dataset={
            "name": cache.name,
            "dataset": cache.settings["dataset"],
            "split": job.split,
            "clips": len({c.whole_id for c in clips}),
            _SCORED_AS: f"{len(clips)} {protocol.pieces}" if protocol.piece_length else protocol.pieces,
            _SOLVED: len(common),
            _FRAMES: sum(c.n_frames for c in common),
            **_shape(cache, clips[0]),
            "speakers": len({c.speaker for c in clips}),
            "quarantined clips": len(cache.quarantined()),
            **({} if (lost := cache.quarantined_of(job.split)) is None else {"quarantined clips of the split": lost}),
        },
        machine={"device": device_name(job.device)},
        versions=versions(),
        timings=timings,
    )


def _summary(rows: Sequence[ScoreRow], failed: Failures, protocol: ScoringProtocol) -> list[str]:
    """One line per method with every score, then what a reader must know of them."""
    return [*method_lines(rows), *remarks(rows, failed, protocol)]


def _shape(cache: Cache, clip: Clip) -> dict[str, Any]:
    """Facts on the size of frames or meshes, and on the vertices of lips and upper face."""
    if "vertices" not in clip:
        return {"size": f"{cache.size} px"}
    unknown = "unknown: the dataset's folder has no index file"
    fields = (("lips", "lips_set"), ("upper face", "upper_set"))
    sets = {name: clip.meta.get(field) or unknown for name, field in fields}
    return {"vertices": clip["vertices"].shape[1], "fps": clip.fps, **sets}
