"""The rows of the paper's tables, as something that can be run: which method, with what, over which pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dawn_bench.errors import InputError
from dawn_bench.reports.published import FILE

#: Frames each way that stand for no window at all: longer than any clip.
NO_WINDOW = 1_000_000
#: HDTF is evaluated in pieces of this many frames "for better comparison" (Section 4.1); CREMA's clips are shorter.
PIECE = 200
SPEED = "seconds for 8 s"


@dataclass(frozen=True)
class PaperRow:
    """One row: `label` as published, `name` of our row in the results store, and how it is made.

    `length` is the exact number of frames of one inference; None: clips whole, or in pieces of at most `PIECE`.
    `variant` names the preset's ablation that the run must come from; `size` the pixels that the cache must have.
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
        """The generation strategy of DAWN's rows; None where the row is another method's."""
        return {"dawn": "nar", "dawn-sar": "sar", "dawn-ttr": "ttr"}.get(self.method)


@dataclass(frozen=True)
class PaperTable:
    """One table: its rows, and the published values by (label, metric) for each dataset that it has."""

    number: int
    title: str
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    published: Mapping[str, Mapping[str, Mapping[str, float]]]
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics, and the time where the paper measures it (Table 2)."""
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
    """Table `number` of the paper with what was published; raises `InputError` for one that has no rows to run."""
    if number not in ROWS:
        known = ", ".join(f"table{n}" for n in ROWS)
        raise InputError(f"table {number} of the paper holds nothing that can be run.", hint=f"Known: {known}.")
    held = {t["number"]: t for t in json.loads(FILE.read_text(encoding="utf-8"))["tables"]}.get(number)
    if held is None:  # Table 2, whose numbers were lost in the conversion of the paper to text
        metrics = ("fid", "fvd16", "fvd32", "lse-c", "lse-d", "dr25", "dr50")
        note = (
            "The published numbers of this table are not at hand. Its text has NAR best and fastest, SAR's DR at least "
            "ten times that of the others, and TTR slower than NAR and worse, though without SAR's decline."
        )
        return PaperTable(number, "Generation strategies", metrics, ROWS[number], {}, note)
    published = {
        dataset: {
            label: {m: v for m, v in zip(held["columns"], values, strict=True) if v is not None}
            for label, values in lines.items()
        }
        for dataset, lines in held["datasets"].items()
    }
    return PaperTable(number, held["title"], tuple(held["columns"]), ROWS[number], published)
