"""A reproduced table of the paper: our values, the published values, and notes on the differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.files import write_atomic
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.models.dawn.generator import SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions, TtrOptions
from dawn_bench.text import counted
from dawn_bench.workflow.paper_rows import NO_WINDOW, SPEED, PaperTable
from dawn_bench.workflow.segments import pieces

#: The models behind the paper's numbers, for the notes on differences.
PAPER_WEIGHTS = "LFG, A2V-FDM and PBNet trained as in its appendix A.2 on the same dataset, HuBERT-large features"


@dataclass(frozen=True)
class TableRow:
    """One row of the table: our value and the published value by metric.

    `made` of `asked` clips (or segments) were generated and scored. `stand_ins` are metrics scored with stand-in
    networks. `reason` says why the row did not run; `remark` is a note on a row that did.
    """

    label: str
    ours: Mapping[str, float | None]
    published: Mapping[str, float]
    made: int = 0
    asked: int = 0
    stand_ins: tuple[str, ...] = ()
    reason: str = ""
    remark: str = ""


@dataclass(frozen=True)
class RunFacts:
    """Facts on the run of one of DAWN's rows. They do not keep the models: a table may use many runs."""

    strategy: str
    options: SamplingOptions
    facts: Mapping[str, Mapping[str, Any]]
    audio_encoder: str

    @classmethod
    def of(cls, method: Dawn) -> RunFacts:
        """The facts of a loaded method."""
        return cls(method.strategy, method.options, method.generator.facts, method.generator.audio_encoder)


@dataclass(frozen=True)
class Reproduced:
    """The reproduced table. `dataset` is the dataset of the published values; `differences` are sentences."""

    number: int
    title: str
    dataset: str
    columns: tuple[str, ...]
    lines: tuple[TableRow, ...]
    differences: tuple[str, ...]

    def markdown(self) -> str:
        """The table with the published value in brackets after ours, then remarks, and the rows that did not run."""
        heads = [METRICS[m].title if m != SPEED else m for m in self.columns]
        rows = [["row", "clips", *heads], ["---"] * (len(heads) + 2)]
        for line in self.lines:
            count = f"{line.made}" if line.made == line.asked else f"{line.made} of {line.asked}"
            rows.append([line.label, count if line.asked else "–", *(_cell(line, m) for m in self.columns)])
        known = any(line.published for line in self.lines)
        brackets = f"in brackets the paper's on {self.dataset.upper()}" if known else "the paper's are not available"
        stand_ins = any(line.stand_ins for line in self.lines)
        starred = " * scored with stand-in networks: not comparable with a paper." if stand_ins else ""
        text = [f"# Table {self.number}: {self.title}", "", f"Ours; {brackets}.{starred}", ""]
        text += [f"| {' | '.join(row)} |" for row in rows]
        for head, sentences in (
            ("Remarks:", grouped((n.remark, n.label) for n in self.lines)),
            ("Not run:", grouped((n.reason, n.label) for n in self.lines)),
            ("What differs from the paper:", self.differences),
        ):
            text += ["", head, "", *(f"* {words}" for words in sentences)] if sentences else []
        return "\n".join([*text, ""])

    def write(self, out: Path) -> None:
        """Write `tableN.md` and `tableN.json` in the folder `out`, atomically."""
        out.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("md", self.markdown()), ("json", json.dumps(asdict(self), indent=1))):
            write_atomic(out / f"table{self.number}.{suffix}", text.encode())


def differences(
    table: PaperTable,
    cache: Cache,
    clips: Sequence[Clip],
    lines: Sequence[TableRow],
    runs: Mapping[str, RunFacts],
    *,
    machine: str,
) -> tuple[str, ...]:
    """Sentences on data, weights, training steps, audio features, sampling, metric networks and, if timed, the machine.

    `lines` are the table's rows, `runs` the facts of DAWN's rows that ran, by label.
    """
    name, paper = cache.settings["dataset"], " and ".join(d.upper() for d in table.published) or "CREMA"
    count = f"{counted(len(clips), 'clip')} of split {(split := clips[0].split)}"
    frames = sum(c.n_frames for c in clips)
    notes = [f"Data: {name}, {count}, {frames} frames, {cache.size} px. The paper: {paper}."]
    if split == "train" and any(m.facts["lfg"].get("dataset") == name for m in runs.values()):
        notes.append("Clips: these are of the training split, so the models may have been trained on them.")
    for words, labels in _by_words((_training(run), label) for label, run in runs.items()).items():
        which = "" if len(labels) == len(runs) else f" of {'; '.join(labels)}"
        notes.append(f"Weights{which}: {words}.")
    notes += [f"Weights of the paper: {PAPER_WEIGHTS}."] if runs else []
    notes += _sampling(table, name, clips, runs)
    if stand_ins := [METRICS[m].title for m in table.metrics if any(m in line.stand_ins for line in lines)]:
        notes.append(f"Metrics: {', '.join(stand_ins)} (*) use stand-in networks: not comparable with a paper.")
    if SPEED in table.columns:
        notes.append(f"Times: {machine}, without audio features and loading. The paper's: one V100.")
    return (*notes, table.note) if table.note else tuple(notes)


def _sampling(table: PaperTable, dataset: str, clips: Sequence[Clip], runs: Mapping[str, RunFacts]) -> list[str]:
    """Sentences on sampling steps that differ from the release, strategies, and windows longer than every clip."""
    notes = []
    longest = max(c.n_frames for c in pieces(clips, find_protocol(dataset=dataset)))
    options = {m.strategy: m.options for m in runs.values()}
    if (steps := {o.steps for o in options.values()}) - {20}:
        notes.append(f"Sampling: {', '.join(map(str, sorted(steps)))} steps. The released code: 20.")
    if isinstance(sar := options.get("sar"), SarOptions):
        notes.append(
            f"SAR: segments of {sar.segment} frames, each starting from the last frame of the one before. The "
            "paper names its source (He et al. 2023), not its settings."
        )
        if longest <= sar.segment:
            notes.append(f"SAR: no clip is longer than {sar.segment} frames, so each is one segment, as with NAR.")
    if isinstance(coarse := options.get("ttr"), TtrOptions):
        notes.append(
            f"TTR: key frames every {coarse.stride} frames, then all frames with those fixed. The paper names its "
            "source (Harvey et al. 2022), not its settings."
        )
    windows = {label: w for label, m in runs.items() if (w := m.options.window) is not None and w < NO_WINDOW}
    if same := [label for label, window in windows.items() if window >= longest - 1]:
        notes.append(f"Windows: no clip is longer than {longest} frames, so these see all of it: {'; '.join(same)}.")
    return notes


def _training(run: RunFacts) -> str:
    """How a run was trained, from its checkpoints; published weights have no record of it."""
    facts, audio = run.facts, f"{run.audio_encoder} features"
    if "preset" not in facts["lfg"]:
        return f"the published weights, {facts['lfg']['size']} px, {audio}"
    parts = []
    for kind, label in (("lfg", "LFG"), ("a2v", "A2V-FDM"), ("coarse", "coarse A2V-FDM"), ("pbnet", "PBNet")):
        if kind in facts:
            stage = f" ({facts[kind]['stage']})" if kind == "a2v" else ""
            parts.append(f"{label}{stage} {facts[kind]['steps']:,} steps")
    lfg = facts["lfg"]
    words = f"preset {facts['a2v']['preset']} on {lfg['clips']} clips of {lfg['dataset']}: {', '.join(parts)}"
    if "substitute" in str(lfg.get("perceptual_loss", "")):
        words += "; LFG without VGG-19's weights"
    if lfg.get("init") is None:
        words += "; LFG from random weights, not from VoxCeleb's"
    return f"{words}; {audio}"


def _by_words(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Labels grouped by sentence; empty sentences are left out."""
    labels: dict[str, list[str]] = {}
    for words, label in pairs:
        if words:
            labels.setdefault(words, []).append(label)
    return labels


def grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`label; label: sentence`, each sentence once."""
    return [f"{'; '.join(labels)}: {words}" for words, labels in _by_words(pairs).items()]


def _cell(row: TableRow, metric: str) -> str:
    ours = row.ours.get(metric)
    mark = "*" if metric in row.stand_ins else ""
    value = f"{ours:{'.4g' if abs(ours) < 1e4 else '.0f'}}{mark}" if ours is not None else "–"
    published = row.published.get(metric)
    return f"{value} ({published:g})" if published is not None else value
