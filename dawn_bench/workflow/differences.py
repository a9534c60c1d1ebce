"""What differs from the paper: sentences on data, weights, sampling and metrics of a reproduced table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.models.dawn.generator import SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions, TtrOptions
from dawn_bench.text import counted
from dawn_bench.workflow.paper_protocol import PAPER_WEIGHTS, RELEASED_DATA, settings_notes
from dawn_bench.workflow.paper_rows import NO_WINDOW, ROWS, SPEED, PaperTable
from dawn_bench.workflow.pieces import cut_pieces
from dawn_bench.workflow.reproduced import TableRow, by_words

#: LSE-C of n windows is C - (8 / n) (d - r) for embeddings that have distance d at every wrong offset, length r and no
#: other dependence on n: 8 is the size of the median offset among -15..15. The figures are those of one clip.
LSE_BY_LENGTH = (
    "LSE-C falls for short pieces by construction: at an offset of k frames, k of a piece's windows are compared with "
    "zero padding, which lowers the median of its curve (the same embeddings cut at 40, 100, 200, 400 and 600 frames "
    "give 6.62, 7.32, 7.53, 7.65 and 7.68), so compare a row with the ground truth of its length."
)
DR_BY_LENGTH = (
    "DR: longer pieces are fewer, and FID over fewer frames is larger by about as much at both ends of the pieces, "
    "which brings DR closer to 0: compare rows of different lengths only where they have about as many pieces."
)


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


def differences(
    table: PaperTable,
    cache: Cache,
    clips: Sequence[Clip],
    lines: Sequence[TableRow],
    runs: Mapping[str, RunFacts],
    *,
    dataset: str,
    machine: str,
    fvd_windows: int | None = None,
) -> tuple[str, ...]:
    """Sentences on data and its preparation, weights, sampling, lengths, metric networks and, if timed, the machine.

    `lines` are the table's rows, `runs` the facts of DAWN's rows that ran, by label. `dataset` is that of the published
    values, `fvd_windows` the number of windows that FVD was computed over where rows have lengths of their own.
    """
    name, paper = cache.settings["dataset"], " and ".join(d.upper() for d in table.published) or "CREMA"
    count = f"{counted(len(clips), 'clip')} of split {(split := clips[0].split)}"
    frames = sum(c.n_frames for c in clips)
    notes = [f"Data: {name}, {count}, {counted(frames, 'frame')}, {cache.size} px. The paper: {paper}."]
    if split == "train" and any(m.facts["lfg"].get("dataset") == name for m in runs.values()):
        notes.append("Clips: these are of the training split, so the models may have been trained on them.")
    notes += settings_notes(
        cache,
        clips,
        dataset=dataset,
        audio={run.audio_encoder for run in runs.values()},
        piece=find_protocol(dataset=str(name)).piece_length,
        pieces=bool(table.lengths),
        sizes={row.size for row in ROWS[table.number] if row.size is not None} or {128},
    )
    for words, labels in by_words((_training(run), label) for label, run in runs.items()).items():
        which = "" if len(labels) == len(runs) else f" of {'; '.join(labels)}"
        notes.append(f"Weights{which}: {words}.")
    notes += [RELEASED_DATA] if any(_is_published(run) for run in runs.values()) else []
    notes += [f"Weights of the paper: {PAPER_WEIGHTS}."] if runs else []
    notes += _sampling(str(name), clips, runs)
    notes += _lengths(table, fvd_windows)
    if stand_ins := [METRICS[m].title for m in table.metrics if any(m in line.stand_ins for line in lines)]:
        notes.append(f"Metrics: {', '.join(stand_ins)} (*) use stand-in networks: not comparable with a paper.")
    if others := [METRICS[m].title for m in table.metrics if any(m in line.other_files for line in lines)]:
        notes.append(
            f"Metrics: {', '.join(others)} use networks that are not the published files: not comparable with a paper."
        )
    if SPEED in table.columns:
        notes.append(f"Times: {machine}, without audio features and loading. The paper's: one V100.")
    return (*notes, table.note) if table.note else tuple(notes)


def _sampling(dataset: str, clips: Sequence[Clip], runs: Mapping[str, RunFacts]) -> list[str]:
    """Sentences on sampling steps that differ from the release, strategies, and windows longer than every clip."""
    notes = []
    longest = max(c.n_frames for c in cut_pieces(clips, find_protocol(dataset=dataset)))
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


def _lengths(table: PaperTable, fvd_windows: int | None) -> list[str]:
    """Sentences on scores that depend on the length of the pieces, whatever the method."""
    if not table.lengths:
        return []
    notes = [LSE_BY_LENGTH] if {"lse-c", "lse-d"} & {*table.metrics} else []
    if fvd_windows is not None:
        notes.append(
            f"FVD: {fvd_windows} windows of each row, drawn with seed 0, since FVD is larger over fewer windows. The "
            "number of windows of the paper's rows is not stated."
        )
    if {"dr25", "dr50"} & {*table.metrics}:
        notes.append(DR_BY_LENGTH)
    return notes


def _is_published(run: RunFacts) -> bool:
    """Whether a run is the published weights, which have no record of their training."""
    return "preset" not in run.facts["lfg"]


def _training(run: RunFacts) -> str:
    """How a run was trained, from its checkpoints; published weights have no record of it."""
    facts, audio = run.facts, f"{run.audio_encoder} features"
    if _is_published(run):
        return f"the published weights by name and layout (no hash is published), {facts['lfg']['size']} px, {audio}"
    parts = []
    for kind, label in (("lfg", "LFG"), ("a2v", "A2V-FDM"), ("coarse", "coarse A2V-FDM"), ("pbnet", "PBNet")):
        if kind in facts:
            stage = f" ({facts[kind]['stage']})" if kind == "a2v" else ""
            parts.append(f"{label}{stage} {facts[kind]['steps']:,} steps")
    lfg = facts["lfg"]
    words = (
        f"preset {facts['a2v']['preset']} on {counted(lfg['clips'], 'clip')} of {lfg['dataset']}: {', '.join(parts)}"
    )
    if "substitute" in str(lfg.get("perceptual_loss", "")):
        words += "; LFG without VGG-19's weights"
    if lfg.get("init") is None:
        words += "; LFG from random weights, not from VoxCeleb's"
    return f"{words}; {audio}"
