"""The rows of the paper's tables: method, options and segment length of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dawn_bench.errors import InputError
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.reports.published import FILE

#: Half-width of the attention window in frames that disables the window: longer than any clip.
NO_WINDOW = 1_000_000
SPEED = "seconds for 8 s"
#: The table of people's scores, which nothing can run.
USER_STUDY = 6


@dataclass(frozen=True)
class PaperRow:
    """One row: its published `label`, the `name` of our row in the results store, and its generation settings.

    `length` is the exact number of frames of one inference; None: what the protocol has for the dataset.
    `variant` names the training ablation that the run must have, `size` the cache's frame size in pixels.
    """

    label: str
    name: str = "dawn"
    method: str = "dawn"
    options: Mapping[str, Any] = field(default_factory=dict)
    length: int | None = None
    variant: str | None = None
    size: int | None = None

    @property
    def strategy(self) -> str | None:
        """The generation strategy of DAWN's rows; None for other methods."""
        return {"dawn": "nar", "dawn-sar": "sar", "dawn-ttr": "ttr"}.get(self.method)


@dataclass(frozen=True)
class PaperTable:
    """One table: its rows, and the published values by dataset, label and metric."""

    number: int
    title: str
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    published: Mapping[str, Mapping[str, Mapping[str, float]]]
    note: str = ""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The inference lengths of the rows, frames, each once; none in a table without such rows."""
        return tuple(dict.fromkeys(row.length for row in self.rows if row.length is not None))

    @property
    def alone(self) -> tuple[str, ...]:
        """The metrics that measure a clip by itself, so that the ground truth has a score."""
        return tuple(metric for metric in self.metrics if not METRICS[metric].compares)

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics, plus the time in Table 2."""
        return (*self.metrics, SPEED) if self.number == 2 else self.metrics


_TRUTH = {"drive": "truth"}
_OTHERS = {
    "Audio2Head": "audio2head",
    "SadTalker": "sadtalker",
    "Diffused Heads": "diffused-heads",
    "Wav2Lip, lips only": "wav2lip",
    "DreamTalk": "dreamtalk",
    "EchoMimic": "echomimic",
    "Hallo": "hallo",
}
_GT = PaperRow("Ground truth", "ground-truth", "ground-truth")

ROWS: dict[int, tuple[PaperRow, ...]] = {
    1: (_GT, *(PaperRow(label, name, name) for label, name in _OTHERS.items()), PaperRow("DAWN")),
    2: (
        PaperRow("NAR (DAWN)"),
        PaperRow("SAR", "dawn-sar", "dawn-sar"),
        PaperRow("TTR", "dawn-ttr", "dawn-ttr", variant="ttr"),
    ),
    3: tuple(PaperRow(f"DAWN, {n} frames", f"dawn-{n}-frames", length=n) for n in (40, 100, 200, 400, 600)),
    4: (
        PaperRow(
            "only stage 1, true pose and blink", "dawn-only-stage-1-true-pose", options=_TRUTH, variant="only-stage-1"
        ),
        PaperRow(
            "only stage 2, true pose and blink", "dawn-only-stage-2-true-pose", options=_TRUTH, variant="only-stage-2"
        ),
        PaperRow("DAWN, true pose and blink", "dawn-true-pose", options=_TRUTH),
        PaperRow("without PBNet", "dawn-no-pbnet", variant="no-pbnet"),
        PaperRow("DAWN"),
    ),
    5: (
        *(PaperRow(f"DAWN, {n} frames", f"dawn-{n}-frames", length=n) for n in (200, 400, 600)),
        *(PaperRow(f"Hallo, {n} frames", f"hallo-{n}-frames", "hallo", length=n) for n in (200, 400, 600)),
    ),
    7: (_GT, *(PaperRow(f"DAWN, {n} px", f"dawn-{n}-px", size=n) for n in (128, 256))),
    8: (
        *(
            PaperRow(f"DAWN, window {n}", f"dawn-window-{n}", options={**_TRUTH, "window": n // 2})
            for n in (20, 40, 80, 200)
        ),
        PaperRow("DAWN, no window", "dawn-no-window", options={**_TRUTH, "window": NO_WINDOW}),
    ),
}


def paper_table(number: int, lengths: Sequence[int] = ()) -> PaperTable:
    """Table `number` of the paper with its published values.

    `lengths` are other inference lengths than the paper's, frames. Where rows have a length, the ground truth has a row
    of each length, if any metric measures a clip by itself. Raises `InputError` for a table without rows to run, and
    for `lengths` of a table whose rows have none.
    """
    if number not in ROWS:
        known = ", ".join(f"table{n}" for n in ROWS)
        hint = f"Known: {known}."
        if number == USER_STUDY:
            hint += f" It is a user study; its published values: dawn-bench report RESULTS --published {number}"
        raise InputError(f"table {number} of the paper has no rows that can be run.", hint=hint)
    table = _printed(number)
    rows = table.rows
    if lengths:
        if not table.lengths:
            having = [f"table{n}" for n, of in ROWS.items() if any(row.length is not None for row in of)]
            raise InputError(
                f"the rows of table {number} have no inference length.", hint=f"--length is for {' and '.join(having)}."
            )
        kinds = {row.method: row for row in rows}
        rows = tuple(_of_length(row, length) for row in kinds.values() for length in lengths)
    if table.alone:
        seen: set[int] = set()
        with_truth: list[PaperRow] = []
        for row in rows:
            if row.length is not None and row.length not in seen:
                seen.add(row.length)
                with_truth.append(_of_length(_GT, row.length))
            with_truth.append(row)
        rows = tuple(with_truth)
    return replace(table, rows=rows)


def _of_length(row: PaperRow, length: int) -> PaperRow:
    """`row` with an inference of `length` frames: `DAWN, 40 frames`, `dawn-40-frames`."""
    label = row.label.partition(",")[0]
    return replace(row, label=f"{label}, {length} frames", name=f"{row.method}-{length}-frames", length=length)


def _printed(number: int) -> PaperTable:
    """The table with the paper's own rows."""
    printed = {t["number"]: t for t in json.loads(FILE.read_text(encoding="utf-8"))["tables"]}.get(number)
    if printed is None:  # Table 2, whose numbers were lost in the conversion of the paper to text
        metrics = ("fid", "fvd16", "fvd32", "lse-c", "lse-d", "dr25", "dr50")
        note = (
            "The published numbers of this table are not available. According to the text NAR is best and fastest, "
            "the DR of SAR is at least ten times that of the others, and TTR is slower and worse than NAR but does not "
            "degrade."
        )
        return PaperTable(number, "Generation strategies", metrics, ROWS[number], {}, note)
    published = {
        dataset: {
            label: {m: v for m, v in zip(printed["columns"], values, strict=True) if v is not None}
            for label, values in lines.items()
        }
        for dataset, lines in printed["datasets"].items()
    }
    return PaperTable(number, printed["title"], tuple(printed["columns"]), ROWS[number], published)
