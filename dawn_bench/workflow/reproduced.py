"""A table of the paper as it was reproduced: ours beside the published values, and in words what differs."""

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
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.models.dawn.generator import SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions, TtrOptions
from dawn_bench.workflow.paper_rows import NO_WINDOW, PIECE, SPEED, PaperTable

#: What the paper's numbers were made with, for the words on what differs.
PAPER_WEIGHTS = "LFG, A2V-FDM and PBNet trained as in its appendix A.2 on the same dataset, HuBERT-large features"


@dataclass(frozen=True)
class Line:
    """One row of the table: ours and the published value by metric; `reason` says why it did not run.

    `made` of `asked` clips (or pieces of clips) were generated and scored.
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
class MadeWith:
    """What a row of DAWN's was made with, without the models themselves: a table's rows may come from many runs."""

    strategy: str
    options: SamplingOptions
    facts: Mapping[str, Mapping[str, Any]]
    audio_encoder: str

    @classmethod
    def of(cls, method: Dawn) -> MadeWith:
        """What there is to say of a method."""
        return cls(method.strategy, method.options, method.talker.facts, method.talker.audio_encoder)


@dataclass(frozen=True)
class Reproduced:
    """The table; `dataset` is the one that the published values are of, `differences` are sentences."""

    number: int
    title: str
    dataset: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    differences: tuple[str, ...]

    def markdown(self) -> str:
        """The table with the published value in brackets after ours, then remarks, what did not run, and why."""
        heads = [METRICS[m].title if m != SPEED else m for m in self.columns]
        rows = [["row", "clips", *heads], ["---"] * (len(heads) + 2)]
        for line in self.lines:
            count = f"{line.made}" if line.made == line.asked else f"{line.made} of {line.asked}"
            rows.append([line.label, count if line.asked else "–", *(_cell(line, m) for m in self.columns)])
        known = any(line.published for line in self.lines)
        beside = f"in brackets the paper's on {self.dataset.upper()}" if known else "the paper's are not at hand"
        starred = (
            " * made with stand-in networks: compares with no paper." if any(n.stand_ins for n in self.lines) else ""
        )
        text = [f"# Table {self.number}: {self.title}", "", f"Ours; {beside}.{starred}", ""]
        text += [f"| {' | '.join(row)} |" for row in rows]
        for head, told in (
            ("Remarks:", grouped((n.remark, n.label) for n in self.lines)),
            ("Not run:", grouped((n.reason, n.label) for n in self.lines)),
            ("What differs from the paper:", self.differences),
        ):
            text += ["", head, "", *(f"* {words}" for words in told)] if told else []
        return "\n".join([*text, ""])

    def write(self, out: Path) -> None:
        """`tableN.md` and `tableN.json` in the folder `out`, each whole or as it was."""
        out.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("md", self.markdown()), ("json", json.dumps(asdict(self), indent=1))):
            write_atomic(out / f"table{self.number}.{suffix}", text.encode())


def differences(
    table: PaperTable,
    cache: Cache,
    clips: Sequence[Clip],
    lines: Sequence[Line],
    made_with: Mapping[str, MadeWith],
    *,
    machine: str,
) -> tuple[str, ...]:
    """Sentences on data, weights, training steps, sound features, sampling, metric networks and, where timed, machine.

    `made_with` are DAWN's rows that ran, by label.
    """
    name, paper = cache.settings["dataset"], " and ".join(d.upper() for d in table.published) or "CREMA"
    count = f"{len(clips)} clip{'s' if len(clips) > 1 else ''} of split {(split := clips[0].split)}"
    frames = sum(c.n_frames for c in clips)
    said = [f"Data: {name}, {count}, {frames} frames, {cache.size} px. The paper: {paper}."]
    if split == "train" and any(m.facts["lfg"].get("dataset") == name for m in made_with.values()):
        said.append("Clips: these are of the training split, so the models may have been trained on them.")
    for words, labels in _by_words((_trained(made), label) for label, made in made_with.items()).items():
        which = "" if len(labels) == len(made_with) else f" of {'; '.join(labels)}"
        said.append(f"Weights{which}: {words}.")
    said += [f"Weights of the paper: {PAPER_WEIGHTS}."] if made_with else []
    said += _sampling(table, clips, made_with)
    if stand_ins := [METRICS[m].title for m in table.metrics if any(m in line.stand_ins for line in lines)]:
        said.append(f"Metrics: {', '.join(stand_ins)} (*) use stand-in networks, so they compare with no paper.")
    if SPEED in table.columns:
        said.append(f"Times: {machine}, the sound's features and loading not counted. The paper's: one V100.")
    return (*said, table.note) if table.note else tuple(said)


def _sampling(table: PaperTable, clips: Sequence[Clip], made_with: Mapping[str, MadeWith]) -> list[str]:
    """Steps where they are not the released ones, how strategies are made, and windows that make no difference."""
    said = []
    options = {m.strategy: m.options for m in made_with.values()}
    if (steps := {o.steps for o in options.values()}) - {20}:
        said.append(f"Sampling: {', '.join(map(str, sorted(steps)))} steps. The released code: 20.")
    if isinstance(sar := options.get("sar"), SarOptions):
        said.append(
            f"SAR: segments of {sar.segment} frames, each from the last picture of the one before. The paper names its "
            "source (He et al. 2023), not its settings."
        )
        if max(c.n_frames for c in clips) <= sar.segment:
            said.append(f"SAR: no clip is longer than {sar.segment} frames, so each is one segment, as NAR makes it.")
    if isinstance(coarse := options.get("ttr"), TtrOptions):
        said.append(
            f"TTR: key frames every {coarse.stride} frames, then all frames with those held. The paper names its "
            "source (Harvey et al. 2022), not its settings."
        )
    windows = {label: w for label, m in made_with.items() if (w := m.options.window) is not None and w < NO_WINDOW}
    longest = max(min(c.n_frames, PIECE) for c in clips)
    if same := [label for label, window in windows.items() if window >= longest - 1]:
        said.append(f"Windows: no clip is longer than {longest} frames, so these see all of it: {'; '.join(same)}.")
    return said


def _trained(made: MadeWith) -> str:
    """What a run's checkpoints say of their training; published weights say nothing."""
    facts, heard = made.facts, f"{made.audio_encoder} features"
    if "preset" not in facts["lfg"]:
        return f"the published ones, {facts['lfg']['size']} px, {heard}"
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
    return f"{words}; {heard}"


def _by_words(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Labels by the words that are said of them, where there are words."""
    found: dict[str, list[str]] = {}
    for words, label in pairs:
        if words:
            found.setdefault(words, []).append(label)
    return found


def grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`label; label: words`: what is the same of several rows is said once."""
    return [f"{'; '.join(labels)}: {words}" for words, labels in _by_words(pairs).items()]


def _cell(line: Line, metric: str) -> str:
    ours = line.ours.get(metric)
    mark = "*" if metric in line.stand_ins else ""
    value = f"{ours:{'.4g' if abs(ours) < 1e4 else '.0f'}}{mark}" if ours is not None else "–"
    there = line.published.get(metric)
    return f"{value} ({there:g})" if there is not None else value
