"""Evaluate: generate with each method, score every method in one pass, keep the rows, write the report.

<out>/outputs/<method>/<clip>.mp4      what was generated, lossless
<out>/features/                        cached features, shared by methods and by later runs
<out>/rows, gallery.json, facts.json   the results store
<out>/report/report.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import METHODS, SANITY, Context
from dawn_bench.baselines.outputs import OK, find_outputs, produce, read_output
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.base import METRICS
from dawn_bench.metrics.matching import FileLoad, Load
from dawn_bench.metrics.protocols import protocol as find_protocol
from dawn_bench.metrics.scorer import score_method
from dawn_bench.models.dawn.checkpoint import read_metadata
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.weights import Policy


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate and how; see `dawn-bench evaluate --help`."""

    cache: Path
    out: Path
    methods: tuple[str, ...] = ("dawn",)
    checkpoint: Path | None = None
    outputs: Path | None = None
    mapping: Path | None = None
    split: str = "test"
    metrics: tuple[str, ...] | None = None
    max_clips: int | None = None
    protocol: str = "paper-dawn"
    protocol_set: tuple[str, ...] = ()
    weights: Policy = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    sanity: bool = True
    seed: int = 0
    device: str = "cpu"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """The rows of this run, the items that failed as (method, clip, status), lines for a person, and the page."""

    rows: list[ScoreRow]
    failed: list[tuple[str, str, str]]
    summary: list[str]
    report: Path
    timings: dict[str, float]


def evaluate_methods(job: Evaluation) -> Evaluated:
    """Run an evaluation. Raises `InputError` when the cache, a method, its checkpoint or its outputs cannot be used."""
    cache = Cache(job.cache)
    clips = cache.clips(job.split)[: job.max_clips]
    if not clips:
        splits = ", ".join(sorted(set(cache.index["split"])))
        raise InputError(f"has no clip in split {job.split!r}.", path=job.cache, mend=f"Its splits: {splits}.")
    protocol = find_protocol(job.protocol, job.protocol_set)
    store = ResultsStore(job.out)
    for metric in job.metrics or ():
        METRICS[metric]
    own = [m for m in job.methods if m not in METHODS]
    if job.outputs is not None and len(own) != 1:
        raise InputError(
            f"is given as the outputs of {' and '.join(own) or 'no method'}.",
            path=job.outputs,
            mend="Name your method once: --method mine --outputs FOLDER",
        )
    if job.mapping is not None and job.outputs is None:
        raise InputError("--mapping says how files are called, but there is no --outputs.", mend="Give both.")
    names = [*(SANITY if job.sanity else ()), *(m for m in job.methods if m not in SANITY or not job.sanity)]
    makers = {name: _maker(name, job, clips) for name in names}  # every method is found wanting before work begins

    rows: list[ScoreRow] = []
    failed: list[tuple[str, str, str]] = []
    timings: dict[str, float] = {}
    for name, maker in makers.items():
        began = time.perf_counter()
        made = maker()
        timings[f"generate {name}"] = round(time.perf_counter() - began, 1)
        if not made.loaders:
            failed += [(name, clip, status) for clip, status in made.failed.items()]
            continue
        began = time.perf_counter()
        scored = score_method(
            name,
            made.loaders,
            clips,
            dataset=str(cache.settings["dataset"]),
            split=job.split,
            metrics=job.metrics,
            protocol=protocol,
            weights=job.weights,
            device=job.device,
            features_dir=job.out / "features",
            method_class=made.method_class,
            rankable=made.method_class not in ("sanity", "reference"),
            seed=job.seed,
        )
        failed += [(name, clip, status) for clip, status in made.failed.items()]  # with those that could not be read
        timings[f"score {name}"] = round(time.perf_counter() - began, 1)
        store.append(scored)  # a method that is done is kept, whatever happens to the next
        rows += scored
        store.add_gallery([GalleryItem(clip_id=c, method=name, video=p) for c, p in made.files.items()])
    store.set_facts(_facts(job, cache, clips, rows, timings))
    pages = write_report(job.out, job.out / "report")
    page = next(p for p in pages if p.suffix == ".html")
    return Evaluated(rows, failed, _summary(rows, failed), page, timings)


@dataclass(frozen=True)
class _Made:
    """What a method has to be scored: loaders and files by clip id, its class, and what failed."""

    method_class: str
    loaders: dict[str, Load]
    files: dict[str, Path]
    failed: dict[str, str]


def _maker(name: str, job: Evaluation, clips: Sequence[Clip]) -> Callable[[], _Made]:
    """A function that makes or finds the outputs of `name`; the method itself is built now, so that it fails early."""
    if job.outputs is not None and name not in METHODS:
        files = find_outputs(job.outputs, clips, job.mapping)
        if not files:
            raise InputError(
                f"has no file named like a clip of split {job.split!r}.",
                path=job.outputs,
                mend=f"Expected for example {clips[0].id}.mp4, or give --mapping CSV.",
            )
        return partial(_found, files, clips)
    native = METHODS[name](Context(job.checkpoint, job.device, job.seed, job.options))

    def make() -> _Made:
        outputs = produce(native, clips, job.out / "outputs", seed=job.seed)
        files = {i: o.path for i, o in outputs.items() if o.status == OK and o.path is not None}
        statuses = {i: o.status for i, o in outputs.items() if o.status != OK}
        return _made(native.method_class, files, clips, statuses)

    return make


def _found(files: Mapping[str, Path], clips: Sequence[Clip]) -> _Made:
    return _made("portrait", files, clips, {c.id: "missing" for c in clips if c.id not in files})


def _made(method_class: str, files: Mapping[str, Path], clips: Sequence[Clip], failed: dict[str, str]) -> _Made:
    """`failed` grows while the files are read."""

    def load(path: Path, truth: Clip) -> Clip:
        try:
            return read_output(path, truth)
        except ItemError as error:
            failed[truth.id] = error.reason
            raise

    truth = {c.id: c for c in clips}
    loaders: dict[str, Load] = {i: FileLoad(path, partial(load, path, truth[i])) for i, path in files.items()}
    return _Made(method_class, loaders, dict(files), failed)


def _facts(
    job: Evaluation, cache: Cache, clips: Sequence[Clip], rows: Sequence[ScoreRow], timings: dict[str, float]
) -> Facts:
    notes = list(job.notes)
    stand_ins = sorted({r.metric for r in rows if r.weights_state == "seeded"})
    if stand_ins:
        notes.append(
            f"Scores of {', '.join(stand_ins)} use stand-in networks: they compare with no paper and rank nothing."
        )
    run = job.checkpoint
    notes += _training_notes(run) if run is not None else []
    logs = sorted(run.glob("*/metrics.jsonl")) if run is not None else []
    return Facts(
        title=f"dawn-bench: {cache.settings['dataset']}, {job.split} split",
        created=ScoreRow.now(),
        notes=notes,
        curves={log.parent.name: log for log in logs},
        dataset={
            "dataset": cache.settings["dataset"],
            "split": job.split,
            "clips scored": len(clips),
            "frames": sum(c.n_frames for c in clips),
            "size": f"{cache.size} px",
            "speakers": len({c.speaker for c in clips}),
            "quarantined clips": len(cache.quarantined()),
        },
        machine={"device": device_name(job.device)},
        versions=versions(),
        timings=timings,
    )


def _training_notes(run: Path) -> list[str]:
    """What a reader must know of the trained models: the preset, and a loss that stood in for the perceptual one."""
    path = run / "lfg" / "model.safetensors"
    if not path.is_file():
        return []
    provenance = json.loads(read_metadata(path)["provenance"])
    notes = [f"Models trained with preset {provenance.get('preset')} on {provenance.get('clips')} clips."]
    loss = str(provenance.get("perceptual_loss", ""))
    if "substitute" in loss:
        notes.append(f"LFG was trained without VGG-19's weights, on a {loss}.")
    return notes


def _summary(rows: Sequence[ScoreRow], failed: Sequence[tuple[str, str, str]]) -> list[str]:
    """One line a method with every score; then what failed."""
    methods = list(dict.fromkeys(r.method for r in rows))
    lines = []
    for method in methods:
        scores = [f"{r.metric} {_short(r)}" for r in rows if r.method == method]
        lines.append(f"{method}: {', '.join(scores)}")
    if any(r.weights_state == "seeded" for r in rows):
        lines.append("* made with stand-in networks: not comparable with any published number")
    lines += [f"failed: {method}, {clip}: {status}" for method, clip, status in failed]
    return lines


def _short(row: ScoreRow) -> str:
    mark = "*" if row.weights_state == "seeded" else ""
    return f"{row.value:.4g}{mark}" if row.value is not None else "–"
