"""The rows of the paper's tables: method, options and segment length of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dawn_bench.errors import InputError
from dawn_bench.reports.published import FILE

#: Half-width of the attention window in frames that disables the window: longer than any clip.
NO_WINDOW = 1_000_000
SPEED = "seconds for 8 s"


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


def paper_table(number: int) -> PaperTable:
    """Table `number` of the paper with its published values; raises `InputError` for a table without rows to run."""
    if number not in ROWS:
        known = ", ".join(f"table{n}" for n in ROWS)
        raise InputError(f"table {number} of the paper has no rows that can be run.", hint=f"Known: {known}.")
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
