"""Reproduce a table of the paper: run the rows for which data and weights are present, and compare with the paper.

<out>/tableN.md, tableN.json           the table, differences, and why rows did not run; rewritten after every row
<out>/outputs, features, rows          as written by `evaluate`, so `dawn-bench report` shows the rows too
<out>/outputs/<data>                   outputs of further caches that have the same clips, as at another frame size
<out>/timed                            the 8-second videos timed for Table 2
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dawn_bench.baselines.base import Method, modality_of
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.outputs import OK, Output, produce
from dawn_bench.cache import Cache
from dawn_bench.clip import FPS, Clip
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.needs import check_files
from dawn_bench.pipelines.preparation.maintain import check_content
from dawn_bench.progress import console
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.leaderboard import GROUND_TRUTH
from dawn_bench.reports.store import Facts, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.text import counted
from dawn_bench.threads import one_thread
from dawn_bench.workflow.differences import RunFacts, differences
from dawn_bench.workflow.entries import entry_of, remarks_of
from dawn_bench.workflow.filling import on_first_device
from dawn_bench.workflow.folders import results_folder
from dawn_bench.workflow.pairing import paired
from dawn_bench.workflow.paper_rows import SPEED, PaperRow, PaperTable, paper_table
from dawn_bench.workflow.pieces import cut_pieces, repeated
from dawn_bench.workflow.reproduced import Reproduced, TablePart, TableRow, grouped
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.row_filling import fill_row
from dawn_bench.workflow.row_runs import check_job, rows_of
from dawn_bench.workflow.row_runs import method_of as _method
from dawn_bench.workflow.sample_counts import equal_windows, fewer_windows, frames_each, sample_counts
from dawn_bench.workflow.scoring import Scoring, identity, score_entry

#: Length in frames of the videos timed for Table 2.
TIMED = 8 * FPS
#: The folder of generated outputs in a results folder.
OUTPUTS = "outputs"
_NOT_YET = "stopped before this row; run the same command again to continue."


@on_its_device
def reproduce(job: Reproduction) -> Reproduced:
    """Run a table on each cache. Raises `InputError` for an unknown table, variant or option, a run or installs file
    that does not exist, a cache without clips in the split, and two caches of one dataset and frame size.

    Parts of the table that are in `job.out` already are kept: see `Reproduced.with_part`. A row that cannot run does
    not stop the others: its line and a warning at the start say what is missing.
    """
    table = paper_table(job.table, job.lengths)
    job = on_first_device(job)
    check_job(job)
    caches = [Cache(path) for path in job.caches]
    clips = [_usable(cache, job) for cache in caches]
    keys = [(str(cache.settings["dataset"]), cache.size) for cache in caches]
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise InputError(
                f"is a second cache of {key[0]} at {key[1]} px, and the table has one part of each.",
                path=caches[number].root,
                hint="Give it another --out.",
            )
    runs = paired(caches, job.checkpoints)
    if job.weights == "files":
        check_files([METRICS[m] for m in table.metrics], PAPER_DAWN)
    with results_folder(job.out):
        result = Reproduced(table.number, table.title, table.columns).extended(job.out)
        for cache, run, chosen in zip(caches, runs, clips, strict=True):
            single = job.model_copy(update={"cache": cache.root, "checkpoint": run})
            result = _with_part(result, single, table, cache, chosen)
    return result


def _usable(cache: Cache, job: Reproduction) -> list[Clip]:
    """The clips of a cache; raises `InputError` where there are none, or they are damaged or meshes."""
    clips = cache.clips(job.split)[: job.max_clips]
    if not clips:
        hint = f"See why they were left out: dawn-bench cache stats {cache.root}"
        raise InputError(f"has no usable clip in split {job.split!r}.", path=cache.root, hint=hint)
    if modality_of(clips[0]) != "video":
        raise InputError("holds meshes; the paper's tables are on videos.", path=cache.root)
    check_content(cache, [clip.id for clip in clips])
    return clips


def _with_part(
    before: Reproduced, job: Reproduction, table: PaperTable, cache: Cache, clips: Sequence[Clip]
) -> Reproduced:
    """`before` with the rows of one cache, written after each row."""
    dataset = str(cache.settings["dataset"])
    source = (dataset, *identity(cache, job.split))
    compared = dataset if dataset in table.published else next(iter(table.published), "crema")
    published = table.published.get(compared, {})
    part = TablePart(dataset, cache.size, source[2], job.split, compared)
    for old in before.parts:
        if old.key == part.key and old.cache and (old.cache, old.split) != (part.cache, part.split):
            of = f"split {old.split} of the cache {old.cache}"
            console().print(f"{part.name}: replaces the rows of {of} in the table")
    rows = rows_of(table, cache, published)
    lines = {r.label: TableRow(r.label, {}, published.get(r.label, {}), reason=_NOT_YET) for r in rows}
    ready = []
    notes: dict[str, None] = {}  # rows of one run share them
    for row in rows:
        try:
            method, _ = _method(row, job, cache)
            remarks = remarks_of(method, clips[0])
            cut_pieces(clips, _protocol(row, dataset))
        except InputError as error:
            lines[row.label] = replace(lines[row.label], reason=str(error))
        else:
            ready.append(row)
            notes |= dict.fromkeys(remarks)
    for note in notes:
        console().print(f"{part.name}: {note}")
    for sentence in grouped((n.reason, n.label) for n in lines.values() if n.reason != _NOT_YET):
        console().print(f"not run: {sentence}")
    runs: dict[str, RunFacts] = {}
    windows = equal_windows(table, clips)

    def scorings_of(row: PaperRow, line: TableRow) -> list[Scoring]:
        """FVD of rows of different lengths is over the same number of windows, which is another protocol."""
        wanted = _wanted(row, line, table)
        drawn = [m for m in wanted if windows is not None and frames_each(m) > 1]
        rest = [m for m in wanted if m not in drawn]
        return [
            Scoring(
                dataset=dataset,
                split=job.split,
                protocol=_protocol(row, dataset, windows=over),
                metrics=metrics,
                weights=job.weights,
                device=job.device,
                seed=job.seed,
                data=source[1],
                data_name=source[2],
            )
            for metrics, over in ((rest, None), (drawn, windows))
            if metrics
        ]

    def table_so_far() -> Reproduced:
        current = tuple(lines.values())
        machine = device_name(job.device)
        sentences = differences(
            table, cache, clips, current, runs, dataset=compared, machine=machine, fvd_windows=windows
        )
        return before.with_part(replace(part, differences=sentences), current)

    store, result = ResultsStore(job.out), table_so_far()
    for row in ready:
        began = time.perf_counter()
        method, remark = _method(row, job, cache)
        build_seconds, scorings = time.perf_counter() - began, scorings_of(row, lines[row.label])
        chosen = cut_pieces(clips, _protocol(row, dataset))
        line = _run(
            row, method, cache, chosen, lines[row.label], scorings, table, job, store, build_seconds=build_seconds
        )
        short = sum(clip.n_frames < (row.length or 0) for clip in clips)
        left_out = f"{short} of {len(clips)} clips are too short for {row.length} frames" if short else ""
        lines[row.label] = replace(line, remark="; ".join(t for t in (remark, left_out, line.remark) if t))
        if isinstance(method, Dawn):
            runs[row.label] = RunFacts.of(method)
        result = table_so_far()
        result.write(job.out)  # finished rows survive a later failure
        _update_facts(store, result, job)
    if not ready:
        result.write(job.out)
    return result


def _protocol(row: PaperRow, dataset: str, *, windows: int | None = None) -> ScoringProtocol:
    """The protocol of a row: that of the dataset, or pieces of exactly the row's length; with a number of `windows`."""
    changes = (f"fvd_windows={windows}",) if windows is not None else ()
    if row.length is None:
        return find_protocol(PAPER_DAWN.id, changes, dataset=dataset)
    return find_protocol(PAPER_DAWN.id, changes).in_pieces(row.length, "drop")


def _wanted(row: PaperRow, line: TableRow, table: PaperTable) -> list[str]:
    """The metrics of a row: those that the paper omits are meaningless there, as the ground truth's distance to itself.

    Where the paper has no such row at all, the ground truth has the metrics that measure a clip by itself.
    """
    if row.method == GROUND_TRUTH and not line.published:
        return list(table.alone)
    return [m for m in table.metrics if m in line.published] or list(table.metrics)


def _run(
    row: PaperRow,
    method: Method,
    cache: Cache,
    clips: Sequence[Clip],
    line: TableRow,
    scorings: Sequence[Scoring],
    table: PaperTable,
    job: Reproduction,
    store: ResultsStore,
    *,
    build_seconds: float,
) -> TableRow:
    """Generate and score one row, by workers where the job has some; scores and videos are added to the store."""
    folder = _outputs(store, method, clips, data=scorings[0].data)
    metrics = [metric for scoring in scorings for metric in scoring.metrics or ()]
    settled = fill_row(row, method, job, cache, metrics, folder)
    with one_thread():  # the numbers of any number of workers
        results = produce(method, clips, folder, seed=job.seed, settled=settled)
    entry = entry_of(method, results, clips, build_seconds=build_seconds)
    n_generated = len(entry.outputs)
    line = replace(line, made=n_generated, asked=len(clips), reason="", remark=_failures(results))
    if not n_generated:
        return replace(line, reason=line.remark, remark="")
    with one_thread():
        scored = [row for scoring in scorings for row in score_entry(entry, clips, scoring, store)]
    scored.sort(key=lambda row: table.metrics.index(row.metric))
    counts = sample_counts(scored) if table.lengths else {}
    clipwise = [r for r in scored if not table.lengths or frames_each(r.metric) == 1]
    fewer = _fewer_clips(clipwise, n_generated, notes=entry.notes)
    fewer += fewer_windows(scored, scorings[-1].protocol.fvd_windows)
    remarks = [line.remark, *entry.notes, *fewer]
    line = replace(line, counts=counts, remark="; ".join(remark for remark in remarks if remark))
    ours = {r.metric: r.value for r in scored}
    if SPEED in table.columns:
        ours[SPEED] = _seconds(method, clips[0], job, place=folder.relative_to(job.out / OUTPUTS))
    stand_ins, other_files = (
        tuple(r.metric for r in scored if r.weights_state == state) for state in ("seeded", "user")
    )
    return replace(line, ours=ours, stand_ins=stand_ins, other_files=other_files)


def _outputs(store: ResultsStore, method: Method, clips: Sequence[Clip], *, data: str) -> Path:
    """The folder for a method's outputs on the cache with the hash `data`.

    It is the usual one, unless that has outputs for the same clips of another cache, at another frame size for example:
    those would be overwritten.
    """
    usual, ids = store.root / OUTPUTS, {clip.id for clip in clips}
    theirs = (item for item in store.gallery() if item.method == method.name and item.clip_id in ids)
    taken = any(item.data not in ("", data) and item.video.parent.parent == usual.absolute() for item in theirs)
    return usual / data[:8] if taken else usual


def _fewer_clips(scored: Sequence[ScoreRow], n_generated: int, *, notes: Sequence[str]) -> list[str]:
    """Remarks on scores over fewer clips than were generated, and on the reason for a missing score.

    `notes` are those that every row ends with, which are a remark already.
    """
    labels: dict[str, list[str]] = {}
    for row in scored:
        if row.value is None:
            note = row.note.removesuffix("; ".join(notes)).rstrip("; ")
            labels.setdefault(f"no score: {note}", []).append(METRICS[row.metric].title)
        elif row.n_clips < n_generated:
            labels.setdefault(f"over {row.n_clips} of {n_generated} clips", []).append(METRICS[row.metric].title)
    return [f"{', '.join(names)} {words}" for words, names in labels.items()]


def _failures(results: Mapping[str, Output]) -> str:
    """`2 clips failed: oom: ...`, with the detail of the first failure."""
    failed = [o for o in results.values() if o.status != OK]
    if not failed:
        return ""
    return f"{counted(len(failed), 'clip')} failed: {failed[0].status}: {failed[0].detail}"


def _seconds(method: Method, clip: Clip, job: Reproduction, *, place: Path) -> float | None:
    """Seconds to generate a video of 8 seconds: the faster of two runs, as the first may include one-time work.

    Every method gets the same portrait and audio (paper, Section A.4.3): those of the clip, looped where it is shorter.
    """
    takes = [repeated(clip, TIMED, name=f"{clip.id}_8s_{take}") for take in (1, 2)]
    machine = re.sub(r"\W+", "-", device_name(job.device)).strip("-")
    results = produce(method, takes, job.out / "timed" / machine / place, seed=job.seed)
    return min((o.seconds - o.load_seconds for o in results.values() if o.status == OK), default=None)


def _update_facts(store: ResultsStore, table: Reproduced, job: Reproduction) -> None:
    """Add the differences from the paper to the report's notes, replacing an earlier note on the same table."""
    facts, head = store.facts(), f"Table {table.number}, "
    notes = [note for note in facts.notes if not note.startswith(head)]
    for part in table.parts:
        which = f", {part.name}" if len(table.parts) > 1 else ""
        notes.append(f"{head}{table.title}{which}: {' '.join(part.differences)}")
    title = facts.title or f"dawn-bench: tables of DAWN's paper, {job.split} split"
    store.set_facts(Facts(title=title, notes=notes, machine={"device": device_name(job.device)}, versions=versions()))
