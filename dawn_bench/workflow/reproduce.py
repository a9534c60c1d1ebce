"""Reproduce a table of the paper: run the rows that there are data and weights for, and set ours beside the published.

<out>/tableN.md, tableN.json           the table, what differs, and why a row did not run
<out>/outputs, features, rows          as `evaluate` leaves them, so that `dawn-bench report` shows the rows too
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import METHODS, Context, Method
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.baselines.outputs import OK, produce, read_output
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols import PAPER_DAWN
from dawn_bench.metrics.scorer import score_method
from dawn_bench.provenance import device_name
from dawn_bench.reports.cards import text_of
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.weights import Policy
from dawn_bench.workflow.paper_rows import PIECE, SPEED, PaperRow, PaperTable, paper_table
from dawn_bench.workflow.pieces import pieces

#: What the paper's numbers were made with, for the words on what differs.
PAPER_WEIGHTS = "LFG, A2V-FDM and PBNet trained as in its appendix A.2 on the same dataset, HuBERT-large features"


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce; `variants` are the runs of ablations by name. Without `checkpoint` DAWN's rows do not run."""

    table: int
    cache: Path
    out: Path
    checkpoint: Path | None = None
    variants: Mapping[str, Path] = field(default_factory=dict)
    split: str = "test"
    max_clips: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    methods_file: Path | None = None
    weights: Policy = "auto"
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Line:
    """One row of the table: ours and the published value by metric; `reason` says why it did not run."""

    label: str
    ours: Mapping[str, float | None]
    published: Mapping[str, float]
    stand_ins: tuple[str, ...] = ()
    reason: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Reproduced:
    """The finished table; `differences` are sentences."""

    number: int
    title: str
    dataset: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    differences: tuple[str, ...]

    def markdown(self) -> str:
        """The table with the published value in brackets after ours, and the differences below."""
        heads = [text_of(m).label if m != SPEED else m for m in self.columns]
        rows = [["row", *heads], ["---"] * (len(heads) + 1)]
        for line in self.lines:
            cells = [_cell(line, metric) for metric in self.columns]
            rows.append([line.label, *cells])
        text = [f"# Table {self.number}: {self.title}", "", f"Ours (published for {self.dataset}).", ""]
        text += [f"| {' | '.join(row)} |" for row in rows]
        asides = [f"* {n.label}: {'not run: ' if n.reason else ''}{n.reason or n.remark}" for n in self.lines]
        told = [a for a, n in zip(asides, self.lines, strict=True) if n.reason or n.remark]
        text += ["", *told] if told else []
        return "\n".join([*text, "", "What differs from the paper:", "", *(f"* {d}" for d in self.differences), ""])


def reproduce(job: Reproduction) -> Reproduced:
    """Run a table. Raises `InputError` for an unknown table, or a cache without clips in the split.

    A row that cannot run costs no other: its line says what is missing.
    """
    table, cache = paper_table(job.table), Cache(job.cache)
    clips = cache.clips(job.split)[: job.max_clips]
    if not clips:
        raise InputError(f"has no clip in split {job.split!r}.", path=job.cache, mend="Give another --split.")
    dataset = str(cache.settings["dataset"])
    beside = dataset if dataset in table.published else next(iter(table.published), "no dataset")
    published = table.published.get(beside, {})
    store = ResultsStore(job.out)
    lines, made_with = [], {}
    for row in _rows(table, cache, published):
        values = published.get(row.label, {})
        try:
            method, remark = _method(row, job, cache)
            chosen = _clips(row, clips)
        except InputError as error:
            lines.append(Line(row.label, {}, values, reason=str(error)))
            continue
        # Where the paper gives a row fewer metrics, the others say nothing of it: the truth has no distance to itself.
        metrics = [m for m in table.metrics if m in values] or list(table.metrics)
        scored, seconds = _run(method, chosen, metrics, job, dataset=dataset)
        store.append(scored)
        ours = {r.metric: r.value for r in scored} | ({SPEED: seconds} if table.number == 2 else {})
        stand_ins = tuple(r.metric for r in scored if r.weights_state == "seeded")
        said = remark or ("" if scored else "no clip could be made or scored")
        lines.append(Line(row.label, ours, values, stand_ins, remark=said))
        if isinstance(method, Dawn):
            made_with[row.label] = method
    columns = (*table.metrics, SPEED) if table.number == 2 else table.metrics
    found = Reproduced(
        table.number,
        table.title,
        beside,
        columns,
        tuple(lines),
        _differences(job, table, cache, clips, lines, made_with),
    )
    job.out.mkdir(parents=True, exist_ok=True)
    (job.out / f"table{table.number}.md").write_text(found.markdown())
    (job.out / f"table{table.number}.json").write_text(json.dumps(asdict(found), indent=1))
    return found


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
    run, options, remark = job.checkpoint, dict(row.options), ""
    if row.variant is not None:
        run = job.variants.get(row.variant)
        if run is None and row.variant == "only-stage-1" and _has_both(job.checkpoint):
            run, options = job.checkpoint, options | {"stage": "a2v-1"}
            remark = "the first stage of the same run, which was not trained for longer in place of the second"
        if run is None:
            raise InputError(
                f"needs a run of its own: train --preset NAME+{row.variant}, then --variant {row.variant}=RUN."
            )
    ours = row.method.startswith("dawn")
    context = Context(
        run, job.device, job.seed, {**options, **(job.options if ours else {})}, job.methods_file, job.out / "logs"
    )
    method = METHODS[row.method](context)
    if isinstance(method, Dawn):
        if (size := method.talker.size) != cache.size:
            raise InputError(f"this run was trained at {size} px, the cache has {cache.size} px.", path=run)
        encoder = next(iter(cache)).audio_encoder
        if method.talker.audio_encoder != encoder:
            raise InputError(f"this run hears {method.talker.audio_encoder}, the cache has {encoder}.", path=run)
    method.name = row.name
    return method, remark


def _has_both(run: Path | None) -> bool:
    return run is not None and all((run / s / "model.safetensors").is_file() for s in ("a2v-1", "a2v-2"))


def _clips(row: PaperRow, clips: Sequence[Clip]) -> list[Clip]:
    if row.length is None:
        return pieces(clips, PIECE, exact=False)
    chosen = pieces(clips, row.length, exact=True)
    if not chosen:
        longest = max(c.n_frames for c in clips)
        raise InputError(f"no test clip has {row.length} frames (longest: {longest}).")
    return chosen


def _run(
    method: Method, clips: Sequence[Clip], metrics: Sequence[str], job: Reproduction, *, dataset: str
) -> tuple[list[ScoreRow], float | None]:
    """The scores of what the method makes of the clips, and its seconds for a video of 8 seconds."""
    outputs = produce(method, clips, job.out / "outputs", seed=job.seed)
    truth = {c.id: c for c in clips}
    made = {i: o for i, o in outputs.items() if o.status == OK and o.path is not None}
    if not made:
        return [], None
    scored = score_method(
        method.name,
        {i: partial(read_output, o.path, truth[i]) for i, o in made.items() if o.path is not None},
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
    frames = sum(truth[i].n_frames for i in made)
    return scored, sum(o.seconds for o in made.values()) / frames * 8 * 25


def _differences(
    job: Reproduction,
    table: PaperTable,
    cache: Cache,
    clips: Sequence[Clip],
    lines: Sequence[Line],
    made_with: Mapping[str, Dawn],
) -> tuple[str, ...]:
    """Sentences on data, weights, training steps, sound features, metric networks and sampling."""
    name, paper = cache.settings["dataset"], " and ".join(d.upper() for d in table.published) or "CREMA"
    frames = sum(c.n_frames for c in clips)
    said = [
        f"Data: {name}, {len(clips)} clips of split {job.split}, {frames} frames, {cache.size} px. The paper: {paper}."
    ]
    runs: dict[str, list[str]] = {}
    for label, method in made_with.items():
        runs.setdefault(_trained(method), []).append(label)
    for words, labels in runs.items():
        which = "" if len(runs) == 1 else f" of {', '.join(labels)}"
        said.append(f"Weights{which}: {words}. The paper: {PAPER_WEIGHTS}.")
    if made_with:
        steps = {m.options.steps for m in made_with.values()}
        if steps != {20}:
            said.append(f"Sampling: {', '.join(map(str, sorted(steps)))} steps. The released code: 20.")
        if "ttr" in {m.strategy for m in made_with.values()} and all(
            m.talker.coarse is None for m in made_with.values()
        ):
            said.append(
                "TTR: one model for both resolutions, as the run has no coarse one (preset NAME+ttr trains it)."
            )
    if stand_ins := sorted({metric for line in lines for metric in line.stand_ins}):
        said.append(f"Metrics: {', '.join(stand_ins)} (*) use stand-in networks, so they compare with no paper.")
    said.append(f"Machine: {device_name(job.device)}. The paper's times: one V100.")
    if table.note:
        said.append(table.note)
    return tuple(said)


def _trained(method: Dawn) -> str:
    """What a run's checkpoints say of their training."""
    parts = []
    facts = method.talker.facts
    for kind, label in (("lfg", "LFG"), ("a2v", "A2V-FDM"), ("coarse", "coarse A2V-FDM"), ("pbnet", "PBNet")):
        if kind in facts:
            stage = f" ({facts[kind]['stage']})" if kind == "a2v" else ""
            parts.append(f"{label}{stage} {facts[kind]['steps']:,} steps")
    lfg = facts["lfg"]
    words = f"preset {lfg['preset']} on {lfg['clips']} clips of {lfg['dataset']}: {', '.join(parts)}"
    if "substitute" in str(lfg.get("perceptual_loss", "")):
        words += "; LFG without VGG-19's weights"
    if lfg.get("init") is None:
        words += "; LFG from random weights, not from VoxCeleb's"
    return f"{words}; {method.talker.audio_encoder} features"


def _cell(line: Line, metric: str) -> str:
    ours = line.ours.get(metric)
    mark = "*" if metric in line.stand_ins else ""
    value = f"{ours:.4g}{mark}" if ours is not None else "–"
    there = line.published.get(metric)
    return f"{value} ({there:g})" if there is not None else value
