"""Reproduce a table of the paper: run the rows that there are data and weights for, and set ours beside the published.

<out>/tableN.md, tableN.json           the table, what differs, and why a row did not run; written anew after every row
<out>/outputs, features, rows          as `evaluate` leaves them, so that `dawn-bench report` shows the rows too
<out>/timed                            the videos of 8 seconds that Table 2's times are of
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import METHODS, Context, Method
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.outputs import OK, Output, produce, read_output
from dawn_bench.cache import Cache
from dawn_bench.clip import FPS, Clip
from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.models.dawn.generator import COARSE_FILE, RUN_FILES
from dawn_bench.models.dawn.released import find_released
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.progress import console
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.paper_rows import PIECE, ROWS, SPEED, PaperRow, PaperTable, paper_table
from dawn_bench.workflow.reproduced import Line, MadeWith, Reproduced, differences, grouped
from dawn_bench.workflow.reproduction import Reproduction
from dawn_bench.workflow.segments import pieces, repeated

#: Frames of the video that Table 2's times are of.
TIMED = 8 * FPS
_NOT_YET = "stopped before this row; run the same command again to go on."


def reproduce(job: Reproduction) -> Reproduced:
    """Run a table. Raises `InputError` for an unknown table, variant or option, a run or methods' file that is not
    there, and a cache without clips in the split.

    A row that cannot run costs no other: its line says what is missing, and so does a warning before work begins.
    """
    table, cache = paper_table(job.table), Cache(job.cache)
    _check(job)
    clips = cache.clips(job.split)[: job.max_clips]
    if not clips:
        splits = ", ".join(sorted(set(cache.index["split"])))
        raise InputError(f"has no clip in split {job.split!r}.", path=job.cache, hint=f"Its splits: {splits}.")
    if "frames" not in clips[0]:
        raise InputError("holds meshes; the paper's tables are of videos.", path=job.cache)
    dataset = str(cache.settings["dataset"])
    beside = dataset if dataset in table.published else next(iter(table.published), "crema")
    published = table.published.get(beside, {})
    rows = _rows(table, cache, published)
    lines = {r.label: Line(r.label, {}, published.get(r.label, {}), reason=_NOT_YET) for r in rows}
    ready = []
    for row in rows:
        try:
            _method(row, job, cache)
            _clips(row, clips)
        except InputError as error:
            lines[row.label] = replace(lines[row.label], reason=str(error))
        else:
            ready.append(row)
    for words in grouped((n.reason, n.label) for n in lines.values() if n.reason != _NOT_YET):
        console().print(f"not run: {words}", markup=False)
    made_with: dict[str, MadeWith] = {}

    def found() -> Reproduced:
        told = tuple(lines.values())
        said = differences(table, cache, clips, told, made_with, machine=device_name(job.device))
        return Reproduced(table.number, table.title, beside, table.columns, told, said)

    store, done = ResultsStore(job.out), found()
    for row in ready:
        method, remark = _method(row, job, cache)
        ran = _run(method, _clips(row, clips), lines[row.label], table, job, store, dataset=dataset)
        lines[row.label] = replace(ran, remark="; ".join(t for t in (remark, ran.remark) if t))
        if isinstance(method, Dawn):
            made_with[row.label] = MadeWith.of(method)
        done = found()
        done.write(job.out)  # a row that is done is kept, whatever happens to the next
        _tell(store, done, job)
    if not ready:
        done.write(job.out)
    return done


def _check(job: Reproduction) -> None:
    """Raises `InputError` for what a person mistyped: it would cost every row, or be heeded by none."""
    variants = {row.variant for rows in ROWS.values() for row in rows if row.variant is not None}
    if unknown := set(job.variants) - variants:
        raise InputError(
            f"there is no ablation called {min(unknown)!r}.", hint=f"Known: {', '.join(sorted(variants))}."
        )
    for run in (job.checkpoint, *job.variants.values()):
        if run is not None and not run.exists() and find_released(run) is None:
            raise InputError("there is no such run.", path=run, hint="dawn-bench train makes one.")
    if job.installs is not None and not job.installs.is_file():
        raise InputError("there is no such file.", path=job.installs, hint="dawn-bench methods NAME prints one.")
    kinds = [kind for _, kind in STRATEGIES.values()]
    if unknown := set(job.options).difference(*(kind.model_fields for kind in kinds)):
        known = ", ".join(dict.fromkeys(name for kind in kinds for name in kind.model_fields))
        raise InputError(f"there is no option {min(unknown)!r} of DAWN's rows.", hint=f"Known: {known}.")
    for kind in kinds:
        validated(kind, _known(kind, job.options), what="option")


def _known(kind: type[Config], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kind.model_fields}


def _rows(table: PaperTable, cache: Cache, published: Mapping[str, Mapping[str, float]]) -> list[PaperRow]:
    """The rows that this dataset's part of the table has, and the cache's own size where the paper has another."""
    rows = [r for r in table.rows if not published or r.label in published]
    if table.number == 7 and all(r.size != cache.size for r in rows):
        rows.append(PaperRow(f"DAWN, {cache.size} px", f"dawn-{cache.size}-px", size=cache.size))
    return rows


def _method(row: PaperRow, job: Reproduction, cache: Cache) -> tuple[Method, str]:
    """The row's method under its own name, and a remark; raises `InputError` saying what it lacks."""
    if row.size is not None and row.size != cache.size:
        raise InputError(
            f"this cache has {cache.size} px; run it on a cache of {row.size} px with a run trained on that."
        )
    run, options, remark = _run_of(row, job)
    if row.strategy is not None:
        options = _known(STRATEGIES[row.strategy][1], job.options) | options  # what makes the row is not overruled
    try:
        method = METHODS[row.method](Context(run, job.device, job.seed, options, job.installs, job.out / "logs"))
    except InputError as error:
        if row.strategy is not None or error.path is not None:
            raise
        raise InputError(
            error.what, hint=f"Say where with --installs FILE; see dawn-bench methods {row.method}."
        ) from error
    if isinstance(method, Dawn):
        _fits(method, row, run, cache)
    method.name = row.name
    return method, remark


def _run_of(row: PaperRow, job: Reproduction) -> tuple[Path | None, dict[str, Any], str]:
    """The run that a row is made with, the row's options, and a remark; raises `InputError` without one."""
    options = dict(row.options)
    if row.variant is None:
        return job.checkpoint, options, ""
    if (own := job.variants.get(row.variant)) is not None:
        return own, options, ""
    run, train = job.checkpoint, f"train --preset NAME+{row.variant}, then --variant {row.variant}=RUN"
    if row.variant == "ttr":
        alone = run is not None and not (run / COARSE_FILE).is_file()
        return run, options, f"one model for both resolutions; for one of each, {train}" if alone else ""
    if row.variant == "only-stage-1" and run is not None and all((run / s).is_file() for s in RUN_FILES["a2v"]):
        remark = f"the first stage of the same run, not trained for longer in place of the second; for that, {train}"
        return run, options | {"stage": "a2v-1"}, remark
    raise InputError(f"needs a run of its own: {train}.")


def _fits(method: Dawn, row: PaperRow, run: Path | None, cache: Cache) -> None:
    """Raises `InputError` where a run does not fit the cache, or is not what the row is called."""
    method.check(next(iter(cache)))
    talker = method.talker
    if (talker.pbnet is None) != (row.variant == "no-pbnet"):
        raise InputError(
            f"this run has {'no' if talker.pbnet is None else 'a'} PBNet, so it is not this row.", path=run
        )
    if row.variant in ("only-stage-1", "only-stage-2") and talker.facts["a2v"].get("stage") != "a2v-1":
        raise InputError("this run was trained in two stages, so it is not this row.", path=run)


def _clips(row: PaperRow, clips: Sequence[Clip]) -> list[Clip]:
    if row.length is None:
        return pieces(clips, PIECE, exact=False)
    chosen = pieces(clips, row.length, exact=True)
    if not chosen:
        longest = max(c.n_frames for c in clips)
        raise InputError(f"no chosen clip has {row.length} frames (longest: {longest}); prepare longer videos.")
    return chosen


def _run(
    method: Method,
    clips: Sequence[Clip],
    line: Line,
    table: PaperTable,
    job: Reproduction,
    store: ResultsStore,
    *,
    dataset: str,
) -> Line:
    """The row's line with its scores of what the method makes of the clips; scores and videos are put in the store."""
    outputs = produce(method, clips, job.out / "outputs", seed=job.seed)
    truth = {c.id: c for c in clips}
    made = {i: (o.path, o.notes) for i, o in outputs.items() if o.status == OK and o.path is not None}
    line = replace(line, made=len(made), asked=len(clips), reason="", remark=_failures(outputs))
    if not made:
        return replace(line, reason=line.remark, remark="")
    # Where the paper gives a row fewer metrics, the others say nothing of it: the truth has no distance to itself.
    metrics = [m for m in table.metrics if m in line.published] or list(table.metrics)
    scored = score_method(
        method.name,
        {i: partial(read_output, path, truth[i], said=notes) for i, (path, notes) in made.items()},
        clips,
        dataset=dataset,
        split=job.split,
        metrics=metrics,
        protocol=PAPER_DAWN,
        weights=job.weights,
        device=job.device,
        features_dir=job.out / "features",
        method_class=method.method_class,
        rankable=method.method_class not in ("sanity", "reference"),
        seed=job.seed,
    )
    store.append(scored)
    store.add_gallery([GalleryItem(clip_id=i, method=method.name, video=path) for i, (path, _) in made.items()])
    said = [line.remark, *_fewer(scored, len(made))]
    line = replace(line, remark="; ".join(words for words in said if words))
    ours = {r.metric: r.value for r in scored}
    if SPEED in table.columns:
        ours[SPEED] = _seconds(method, clips[0], job)
    return replace(line, ours=ours, stand_ins=tuple(r.metric for r in scored if r.weights_state == "seeded"))


def _fewer(scored: Sequence[ScoreRow], made: int) -> list[str]:
    """Which scores are over fewer clips than were made, and why there is none where there is none."""
    found: dict[str, list[str]] = {}
    for row in scored:
        if row.value is None:
            found.setdefault(f"no score: {row.note}", []).append(row.label)
        elif row.n_clips < made:
            found.setdefault(f"over {row.n_clips} of {made} clips", []).append(row.label)
    return [f"{', '.join(labels)} {words}" for words, labels in found.items()]


def _failures(outputs: Mapping[str, Output]) -> str:
    """`2 clips failed: oom: ...`, with the first one's words."""
    failed = [o for o in outputs.values() if o.status != OK]
    if not failed:
        return ""
    return f"{len(failed)} clip{'s' if len(failed) > 1 else ''} failed: {failed[0].status}: {failed[0].detail}"


def _seconds(method: Method, clip: Clip, job: Reproduction) -> float | None:
    """Seconds for a video of 8 seconds: of two the faster, as the first may do what is done once.

    The same portrait and sound for every method (paper, Section A.4.3): the clip's, from its start again where it ends.
    """
    takes = [repeated(clip, TIMED, name=f"{clip.id}_8s_{take}") for take in (1, 2)]
    machine = re.sub(r"\W+", "-", device_name(job.device)).strip("-")
    made = produce(method, takes, job.out / "timed" / machine, seed=job.seed)
    return min((o.seconds - o.load_seconds for o in made.values() if o.status == OK), default=None)


def _tell(store: ResultsStore, found: Reproduced, job: Reproduction) -> None:
    """Put what differs from the paper where the report shows it, beside what it says of other tables."""
    held, head = store.facts(), f"Table {found.number}, "
    notes = [note for note in held.notes if not note.startswith(head)]
    notes.append(f"{head}{found.title}: {' '.join(found.differences)}")
    title = held.title or f"dawn-bench: tables of DAWN's paper, {job.split} split"
    store.set_facts(Facts(title=title, notes=notes, machine={"device": device_name(job.device)}, versions=versions()))
