"""Reproduce a table of the paper: run the rows for which data and weights are present, and compare with the paper.

<out>/tableN.md, tableN.json           the table, differences, and why rows did not run; rewritten after every row
<out>/outputs, features, rows          as written by `evaluate`, so `dawn-bench report` shows the rows too
<out>/timed                            the 8-second videos timed for Table 2
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import Context, Method, build_method, modality_of
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.outputs import OK, Output, produce
from dawn_bench.cache import Cache
from dawn_bench.clip import FPS, Clip
from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError, nearest, unknown_name
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.needs import check_files
from dawn_bench.models.dawn.generator import COARSE_FILE, RUN_FILES
from dawn_bench.models.dawn.released import find_released
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.pipelines.preparation.maintain import check_content
from dawn_bench.progress import console
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.store import Facts, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.text import counted
from dawn_bench.workflow.entries import entry_of
from dawn_bench.workflow.folders import results_folder
from dawn_bench.workflow.paper_rows import ROWS, SPEED, PaperRow, PaperTable, paper_table
from dawn_bench.workflow.reproduced import Reproduced, RunFacts, TableRow, differences, grouped
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.scoring import Scoring, identity, score_entry
from dawn_bench.workflow.segments import pieces, repeated

#: Length in frames of the videos timed for Table 2.
TIMED = 8 * FPS
_NOT_YET = "stopped before this row; run the same command again to continue."


def reproduce(job: Reproduction) -> Reproduced:
    """Run a table. Raises `InputError` for an unknown table, variant or option, a run or installs file that does not
    exist, and a cache without clips in the split.

    A row that cannot run does not stop the others: its line and a warning at the start say what is missing.
    """
    table, cache = paper_table(job.table), Cache(job.cache)
    _check(job)
    with results_folder(job.out):
        return _reproduced(job, table, cache)


def _reproduced(job: Reproduction, table: PaperTable, cache: Cache) -> Reproduced:
    clips = cache.clips(job.split)[: job.max_clips]
    if not clips:
        hint = f"See why they were left out: dawn-bench cache stats {job.cache}"
        raise InputError(f"has no usable clip in split {job.split!r}.", path=job.cache, hint=hint)
    if modality_of(clips[0]) != "video":
        raise InputError("holds meshes; the paper's tables are on videos.", path=job.cache)
    check_content(cache, [clip.id for clip in clips])
    if job.weights == "files":
        check_files([METRICS[m] for m in table.metrics], PAPER_DAWN)
    dataset = str(cache.settings["dataset"])
    source = (dataset, *identity(cache, job.split))
    compared = dataset if dataset in table.published else next(iter(table.published), "crema")
    published = table.published.get(compared, {})
    rows = _rows(table, cache, published)
    lines = {r.label: TableRow(r.label, {}, published.get(r.label, {}), reason=_NOT_YET) for r in rows}
    ready = []
    for row in rows:
        try:
            _method(row, job, cache)
            pieces(clips, _protocol(row, dataset))
        except InputError as error:
            lines[row.label] = replace(lines[row.label], reason=str(error))
        else:
            ready.append(row)
    for sentence in grouped((n.reason, n.label) for n in lines.values() if n.reason != _NOT_YET):
        console().print(f"not run: {sentence}", markup=False)
    runs: dict[str, RunFacts] = {}

    def table_so_far() -> Reproduced:
        current = tuple(lines.values())
        sentences = differences(table, cache, clips, current, runs, machine=device_name(job.device))
        return Reproduced(table.number, table.title, compared, table.columns, current, sentences)

    store, result = ResultsStore(job.out), table_so_far()
    for row in ready:
        began = time.perf_counter()
        method, remark = _method(row, job, cache)
        build_seconds, protocol = time.perf_counter() - began, _protocol(row, dataset)
        chosen, line = pieces(clips, protocol), lines[row.label]
        line = _run(method, chosen, line, table, job, store, protocol, source=source, build_seconds=build_seconds)
        lines[row.label] = replace(line, remark="; ".join(t for t in (remark, line.remark) if t))
        if isinstance(method, Dawn):
            runs[row.label] = RunFacts.of(method)
        result = table_so_far()
        result.write(job.out)  # finished rows survive a later failure
        _update_facts(store, result, job)
    if not ready:
        result.write(job.out)
    return result


def _check(job: Reproduction) -> None:
    """Raise `InputError` for mistyped settings, which would fail every row or be ignored by every row."""
    variants = {row.variant for rows in ROWS.values() for row in rows if row.variant is not None}
    if unknown := set(job.variants) - variants:
        raise unknown_name("ablation", min(unknown), variants)
    for run in (job.checkpoint, *job.variants.values()):
        if run is not None and not run.exists() and find_released(run) is None:
            raise InputError("there is no such run.", path=run, hint="Train it with dawn-bench train.")
    if job.installs is not None and not job.installs.is_file():
        raise InputError("there is no such file.", path=job.installs, hint="dawn-bench methods NAME prints an example.")
    kinds = [kind for _, kind in STRATEGIES.values()]
    if unknown := set(job.options).difference(*(kind.model_fields for kind in kinds)):
        known = dict.fromkeys(name for kind in kinds for name in kind.model_fields)
        raise InputError(f"there is no option {min(unknown)!r} of DAWN's rows.", hint=nearest(min(unknown), known))
    for kind in kinds:
        validated(kind, _known(kind, job.options), what="option")


def _known(kind: type[Config], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kind.model_fields}


def _rows(table: PaperTable, cache: Cache, published: Mapping[str, Mapping[str, float]]) -> list[PaperRow]:
    """The rows of the table for this dataset, plus a row for the cache's frame size if the table has none."""
    rows = [r for r in table.rows if not published or r.label in published]
    if table.number == 7 and all(r.size != cache.size for r in rows):
        rows.append(PaperRow(f"DAWN, {cache.size} px", f"dawn-{cache.size}-px", size=cache.size))
    return rows


def _method(row: PaperRow, job: Reproduction, cache: Cache) -> tuple[Method, str]:
    """The row's method under the row's name, and a remark; raises `InputError` saying what is missing."""
    if row.size is not None and row.size != cache.size:
        raise InputError(
            f"this cache has {cache.size} px; run it on a cache of {row.size} px with a run trained on that."
        )
    run, options, remark = _run_of(row, job)
    if row.strategy is not None:
        options = _known(STRATEGIES[row.strategy][1], job.options) | options  # the row's own options take precedence
    try:
        context = Context(run, job.device, job.seed, options, job.installs, job.out / "logs")
        method = build_method(row.method, context)
    except InputError as error:
        if row.strategy is not None or error.path is not None:
            raise
        raise InputError(
            error.what, hint=f"Give its location with --installs FILE; see dawn-bench methods {row.method}."
        ) from error
    if isinstance(method, Dawn):
        _check_run(method, row, run, cache)
    method.name = row.name
    return method, remark


def _run_of(row: PaperRow, job: Reproduction) -> tuple[Path | None, dict[str, Any], str]:
    """The run of a row, the row's options, and a remark; raises `InputError` where there is none."""
    options = dict(row.options)
    if row.variant is None:
        return job.checkpoint, options, ""
    if (variant := job.variants.get(row.variant)) is not None:
        return variant, options, ""
    run, train = job.checkpoint, f"train --preset NAME+{row.variant}, then --variant {row.variant}=RUN"
    if row.variant == "ttr":
        single = run is not None and not (run / COARSE_FILE).is_file()
        return run, options, f"one model for both resolutions; for separate models, {train}" if single else ""
    if row.variant == "only-stage-1" and run is not None and all((run / s).is_file() for s in RUN_FILES["a2v"]):
        remark = f"the first stage of the same run, not trained for longer instead of the second; for that, {train}"
        return run, options | {"stage": "a2v-1"}, remark
    raise InputError(f"needs a run of its own: {train}.")


def _check_run(method: Dawn, row: PaperRow, run: Path | None, cache: Cache) -> None:
    """Raise `InputError` where a run does not fit the cache, or is not the ablation that the row names."""
    method.check(next(iter(cache)))
    generator = method.generator
    if (generator.pbnet is None) != (row.variant == "no-pbnet"):
        raise InputError(
            f"this run has {'no' if generator.pbnet is None else 'a'} PBNet, so it is not this row.", path=run
        )
    if row.variant in ("only-stage-1", "only-stage-2") and generator.facts["a2v"].get("stage") != "a2v-1":
        raise InputError("this run was trained in two stages, so it is not this row.", path=run)


def _protocol(row: PaperRow, dataset: str) -> ScoringProtocol:
    """The protocol of a row: that of the dataset, or pieces of exactly the row's length."""
    return find_protocol(dataset=dataset) if row.length is None else PAPER_DAWN.in_pieces(row.length, "drop")


def _run(
    method: Method,
    clips: Sequence[Clip],
    line: TableRow,
    table: PaperTable,
    job: Reproduction,
    store: ResultsStore,
    protocol: ScoringProtocol,
    *,
    source: tuple[str, str, str],
    build_seconds: float,
) -> TableRow:
    """Generate and score one row; scores and videos are added to the store.

    `source` is the dataset's kind, and hash and name of the cache, for the rows.
    """
    results = produce(method, clips, job.out / "outputs", seed=job.seed)
    entry = entry_of(method, results, clips, build_seconds=build_seconds)
    n_generated = len(entry.outputs)
    line = replace(line, made=n_generated, asked=len(clips), reason="", remark=_failures(results))
    if not n_generated:
        return replace(line, reason=line.remark, remark="")
    # Metrics that the paper omits for a row are meaningless there: the ground truth has no distance to itself.
    scoring = Scoring(
        dataset=source[0],
        split=job.split,
        protocol=protocol,
        metrics=[m for m in table.metrics if m in line.published] or list(table.metrics),
        weights=job.weights,
        device=job.device,
        seed=job.seed,
        data=source[1],
        data_name=source[2],
    )
    scored = score_entry(entry, clips, scoring, store)
    remarks = [line.remark, *_fewer_clips(scored, n_generated)]
    line = replace(line, remark="; ".join(remark for remark in remarks if remark))
    ours = {r.metric: r.value for r in scored}
    if SPEED in table.columns:
        ours[SPEED] = _seconds(method, clips[0], job)
    return replace(line, ours=ours, stand_ins=tuple(r.metric for r in scored if r.weights_state == "seeded"))


def _fewer_clips(scored: Sequence[ScoreRow], n_generated: int) -> list[str]:
    """Remarks on scores over fewer clips than were generated, and on the reason for a missing score."""
    labels: dict[str, list[str]] = {}
    for row in scored:
        if row.value is None:
            labels.setdefault(f"no score: {row.note}", []).append(METRICS[row.metric].title)
        elif row.n_clips < n_generated:
            labels.setdefault(f"over {row.n_clips} of {n_generated} clips", []).append(METRICS[row.metric].title)
    return [f"{', '.join(names)} {words}" for words, names in labels.items()]


def _failures(results: Mapping[str, Output]) -> str:
    """`2 clips failed: oom: ...`, with the detail of the first failure."""
    failed = [o for o in results.values() if o.status != OK]
    if not failed:
        return ""
    return f"{counted(len(failed), 'clip')} failed: {failed[0].status}: {failed[0].detail}"


def _seconds(method: Method, clip: Clip, job: Reproduction) -> float | None:
    """Seconds to generate a video of 8 seconds: the faster of two runs, as the first may include one-time work.

    Every method gets the same portrait and audio (paper, Section A.4.3): those of the clip, looped where it is shorter.
    """
    takes = [repeated(clip, TIMED, name=f"{clip.id}_8s_{take}") for take in (1, 2)]
    machine = re.sub(r"\W+", "-", device_name(job.device)).strip("-")
    results = produce(method, takes, job.out / "timed" / machine, seed=job.seed)
    return min((o.seconds - o.load_seconds for o in results.values() if o.status == OK), default=None)


def _update_facts(store: ResultsStore, table: Reproduced, job: Reproduction) -> None:
    """Add the differences from the paper to the report's notes, replacing an earlier note on the same table."""
    facts, head = store.facts(), f"Table {table.number}, "
    notes = [note for note in facts.notes if not note.startswith(head)]
    notes.append(f"{head}{table.title}: {' '.join(table.differences)}")
    title = facts.title or f"dawn-bench: tables of DAWN's paper, {job.split} split"
    store.set_facts(Facts(title=title, notes=notes, machine={"device": device_name(job.device)}, versions=versions()))
