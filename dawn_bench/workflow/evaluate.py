"""Evaluate: generate with each method, score every method in one pass, keep the rows, write the report.

<out>/outputs/<method>/<clip>.mp4      what was generated, lossless
<out>/features/                        cached features, shared by methods and by later runs
<out>/rows, gallery.json, facts.json   the results store
<out>/report/report.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import SANITY
from dawn_bench.baselines.meshes import MESH_SANITY
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.models.checkpoint import read_metadata
from dawn_bench.provenance import device_name, versions
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.entries import Entry, maker, one_owner
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.mesh_entries import averaged, mesh_maker


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
        raise InputError(f"has no clip in split {job.split!r}.", path=job.cache, hint=f"Its splits: {splits}.")
    protocol = find_protocol(job.protocol, job.protocol_set)
    store = ResultsStore(job.out)
    for metric in job.metrics or ():
        METRICS[metric]
    if job.outputs is not None:
        one_owner(job)
    elif job.mapping is not None or job.naming != "{clip}":
        flag = "--mapping" if job.mapping is not None else "--naming"
        raise InputError(f"{flag} says how files are called, but there is no --outputs.", hint="Give both.")
    sanity, find = (MESH_SANITY, mesh_maker) if "vertices" in clips[0] else (SANITY, maker)
    names = [*(sanity if job.sanity else ()), *(m for m in job.methods if m not in sanity or not job.sanity)]
    makers = {name: find(name, job, clips) for name in names}  # every method is found wanting before work begins

    timings: dict[str, float] = {}
    made: dict[str, Entry] = {}
    for name, make in makers.items():
        began = time.perf_counter()
        made |= {m.name: m for m in make()}
        timings[f"generate {name}"] = round(time.perf_counter() - began, 1)
    common, left_out = _common(made, clips, job.min_coverage)

    rows: list[ScoreRow] = []
    for name, one in made.items():
        began = time.perf_counter()
        chosen = clips if name in left_out else common
        takes = [
            score_method(
                name,
                {c.id: loaders[c.id] for c in chosen if c.id in loaders},
                chosen,
                dataset=str(cache.settings["dataset"]),
                split=job.split,
                metrics=job.metrics,
                protocol=protocol,
                weights=job.weights,
                device=job.device,
                features_dir=job.out / "features",
                method_class=one.method_class,
                rankable=one.method_class not in ("sanity", "reference") and name not in left_out,
                seed=job.seed,
            )
            for loaders in (one.loaders, *one.takes)
        ]
        scored = averaged(takes)
        timings[f"score {name}"] = round(time.perf_counter() - began, 1)
        scored = [_over(row, one, clips, chosen, left_out.get(name, "")) for row in scored]
        store.append(scored)  # a method that is done is kept, whatever happens to the next
        rows += scored
        store.add_gallery([GalleryItem(clip_id=c, method=name, video=p) for c, p in one.files.items()])
    failed = [(name, clip, status) for name, one in made.items() for clip, status in one.failed.items()]
    store.set_facts(_facts(job, cache, clips, common, rows, timings))
    pages = write_report(job.out, job.out / "report")
    page = next(p for p in pages if p.suffix == ".html")
    return Evaluated(rows, failed, _summary(rows, failed), page, timings)


def _common(made: Mapping[str, Entry], clips: Sequence[Clip], min_coverage: float) -> tuple[list[Clip], dict[str, str]]:
    """The clips that every contestant solved, and the contestants that solved too few to have a say, with the reason.

    Scores over different clips cannot be compared, so all methods are scored over the same ones.
    """
    left_out = {}
    common = {c.id for c in clips}
    for name, one in made.items():
        if one.method_class in ("sanity", "reference"):
            continue
        if len(one.files) < min_coverage * len(clips):
            left_out[name] = f"not ranked: solved {len(one.files)} of {len(clips)} clips"
        else:
            common &= set(one.files)
    if not common:  # each solved enough, but no clip was solved by all
        return list(clips), {n: "not ranked: no clip was solved by all methods" for n in made if made[n].files}
    return [c for c in clips if c.id in common], left_out


def _over(row: ScoreRow, made: Entry, clips: Sequence[Clip], chosen: Sequence[Clip], why: str) -> ScoreRow:
    """A row with its coverage of all clips, what it is over, and the method's cost."""
    lost = round((1 - row.coverage) * len(chosen)) - sum(c.id in made.failed for c in chosen)  # to this metric alone
    coverage = (len(clips) - len(made.failed) - lost) / len(clips)
    over = f"over the {len(chosen)} of {len(clips)} clips that all methods solved" if len(chosen) < len(clips) else ""
    note = "; ".join(text for text in (why, row.note, over) if text)
    return row.model_copy(update={"coverage": coverage, "note": note, "cost": made.cost})


def _facts(
    job: Evaluation,
    cache: Cache,
    clips: Sequence[Clip],
    common: Sequence[Clip],
    rows: Sequence[ScoreRow],
    timings: dict[str, float],
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
            "clips": len(clips),
            "clips scored (solved by all methods)": len(common),
            "frames": sum(c.n_frames for c in common),
            **_shape(cache, clips[0]),
            "speakers": len({c.speaker for c in clips}),
            "quarantined clips": len(cache.quarantined()),
        },
        machine={"device": device_name(job.device)},
        versions=versions(),
        timings=timings,
    )


#: The first stage of each model that `dawn-bench train` knows, and what the model is called.
_FIRST_STAGES = {"lfg": "DAWN", "dit": "DiT-Head", "diffspeaker": "DiffSpeaker"}


def _training_notes(run: Path) -> list[str]:
    """What a reader must know of the trained models: presets, stand-ins, and what is not the paper's."""
    notes = []
    for stage, model in _FIRST_STAGES.items():
        path = run / stage / "model.safetensors"
        if path.is_file():
            held = json.loads(read_metadata(path)["provenance"])
            notes.append(f"{model} trained with preset {held.get('preset')} on {held.get('clips')} clips.")
    for path in sorted(run.glob("*/model.safetensors")):
        held, stage = json.loads(read_metadata(path)["provenance"]), path.parent.name
        loss = str(held.get("perceptual_loss", ""))
        if "substitute" in loss:
            notes.append(f"Stage {stage} was trained without VGG-19's weights, on a {loss}.")
        if stage == "dit" and held.get("audio_encoder") != "wav2vec2":
            notes.append(f"DiT-Head hears {held.get('audio_encoder')} features in place of the paper's Wav2Vec2.")
        if stage == "diffspeaker" and (encoder := held.get("speech_encoder")) == "random weights":
            notes.append(f"DiffSpeaker's speech encoder started from {encoder}, not from a pretrained one.")
        if ours := held.get("ours"):
            listed = ", ".join(f"{name}={value}" for name, value in _flat(ours))
            notes.append(f"Stage {stage}, choices that are ours and not the paper's: {listed}.")
    return notes


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings as dotted names and values."""
    found = []
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        found += _flat(value, f"{prefix}{name}.") if nested else [(prefix + name, value)]
    return found


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


def _shape(cache: Cache, clip: Clip) -> dict[str, Any]:
    """How large pictures or meshes are, and which vertices are lips and upper face."""
    if "vertices" not in clip:
        return {"size": f"{cache.size} px"}
    unknown = "unknown: the dataset's folder has no index file"
    fields = (("lips", "lips_set"), ("upper face", "upper_set"))
    sets = {name: clip.meta.get(field) or unknown for name, field in fields}
    return {"vertices": clip["vertices"].shape[1], "fps": clip.fps, **sets}


def _short(row: ScoreRow) -> str:
    mark = "*" if row.weights_state == "seeded" else ""
    return f"{row.value:.4g}{mark}" if row.value is not None else "–"
