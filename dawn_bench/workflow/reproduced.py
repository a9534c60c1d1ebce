"""A reproduced table of the paper: our values and the published ones, of every dataset and frame size that was run.

`tableN.json` keeps all parts. A part is one dataset at one frame size: running it again replaces it, and leaves the
others as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dawn_bench.files import write_atomic
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.readers import fitted, read_json
from dawn_bench.workflow.paper_rows import ROWS, SPEED

_DAMAGED = "Delete it; the same command writes it again from the finished rows."
#: What earlier versions, with one part a table, say of their data.
_EARLIER = re.compile(r"Data: (.+?), \d+ clips? of split (.+?), \d+ frames, (\d+) px\.")


@dataclass(frozen=True)
class TableRow:
    """One row of the table: our value and the published value by metric.

    `made` of `asked` clips (or segments) were generated and scored. `stand_ins` are metrics scored with stand-in
    networks, `other_files` those scored with other files than the published ones. `counts` are the frames and windows
    behind the scores by name, as `FVD16 windows`, in tables whose rows have a length. `reason` says why the row did not
    run; `remark` is a note on a row that did. `dataset` and `size` (pixels) are its part's.
    """

    label: str
    ours: Mapping[str, float | None]
    published: Mapping[str, float]
    made: int = 0
    asked: int = 0
    stand_ins: tuple[str, ...] = ()
    reason: str = ""
    remark: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    dataset: str = ""
    size: int = 0
    other_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class TablePart:
    """One dataset at one frame size, in pixels.

    `cache` is the name of the cache, `compared` the dataset of the published values. `differences` are sentences.
    """

    dataset: str
    size: int
    cache: str
    split: str
    compared: str
    differences: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """What a table has one part of."""
        return self.dataset, self.size

    @property
    def name(self) -> str:
        """`hdtf, 128 px`."""
        return f"{self.dataset}, {self.size} px"


@dataclass(frozen=True)
class Reproduced:
    """The reproduced table. `lines` are in the order of `parts`."""

    number: int
    title: str
    columns: tuple[str, ...]
    parts: tuple[TablePart, ...] = ()
    lines: tuple[TableRow, ...] = ()

    @property
    def dataset(self) -> str:
        """The dataset of the published values of the first part."""
        return self.parts[0].compared if self.parts else ""

    @property
    def differences(self) -> tuple[str, ...]:
        """The sentences of all parts."""
        return tuple(words for part in self.parts for words in part.differences)

    def with_part(self, part: TablePart, lines: Sequence[TableRow]) -> Reproduced:
        """The table with a part added, or replaced where it is there already; parts are sorted by dataset and size."""
        lines = [replace(line, dataset=part.dataset, size=part.size) for line in lines]
        parts = sorted([part, *(p for p in self.parts if p.key != part.key)], key=lambda p: p.key)
        merged = [*lines, *(line for line in self.lines if (line.dataset, line.size) != part.key)]
        # A row of one frame size is in every part; where that size has been run, only its part keeps it.
        sized = {row.label for row in ROWS.get(self.number, ()) if row.size is not None}
        run = {(line.dataset, line.label) for line in merged if line.label in sized and line.asked}
        kept = [line for line in merged if line.asked or (line.dataset, line.label) not in run]
        return replace(self, parts=tuple(parts), lines=tuple(line for p in parts for line in _of(p, kept)))

    def markdown(self) -> str:
        """The table with the published value in brackets after ours, then remarks, and the rows that did not run."""
        several = len(self.parts) > 1
        heads = [METRICS[m].title if m != SPEED else m for m in self.columns]
        longest_first = sorted(self.lines, key=lambda line: -len(line.counts))  # the ground truth has a part of them
        counts = list(dict.fromkeys(name for line in longest_first for name in line.counts))
        rows = [[*(["data"] if several else []), "row", "pieces" if counts else "clips", *heads, *counts]]
        rows.append(["---"] * len(rows[0]))
        for line in self.lines:
            count = f"{line.made}" if line.made == line.asked else f"{line.made} of {line.asked}"
            cells = [line.label, count if line.asked else "–", *(_cell(line, m) for m in self.columns)]
            cells += [f"{line.counts[name]:,}" if name in line.counts else "–" for name in counts]
            rows.append([*([f"{line.dataset}, {line.size} px"] if several else []), *cells])
        stand_ins = any(line.stand_ins for line in self.lines)
        starred = " * scored with stand-in networks: not comparable with a paper." if stand_ins else ""
        text = [f"# Table {self.number}: {self.title}", "", f"Ours; {self._brackets()}.{starred}", ""]
        text += [f"| {' | '.join(row)} |" for row in rows]
        sections = [
            ("Remarks:", grouped((n.remark, self._named(n)) for n in self.lines)),
            ("Not run:", grouped((n.reason, self._named(n)) for n in self.lines)),
        ]
        for part in self.parts:
            of = f", {part.name}" if several else ""
            sections.append((f"What differs from the paper{of}:", list(part.differences)))
        for head, sentences in sections:
            text += ["", head, "", *(f"* {words}" for words in sentences)] if sentences else []
        return "\n".join([*text, ""])

    def write(self, out: Path) -> None:
        """Write `tableN.md` and `tableN.json` in the folder `out`, atomically."""
        out.mkdir(parents=True, exist_ok=True)
        data = {"number": self.number, "title": self.title, "dataset": self.dataset, "columns": self.columns}
        data |= {"lines": [asdict(line) for line in self.lines], "differences": self.differences}
        data |= {"parts": [asdict(part) for part in self.parts]}
        for suffix, text in (("md", self.markdown()), ("json", json.dumps(data, indent=1))):
            write_atomic(out / f"table{self.number}.{suffix}", text.encode())

    def extended(self, out: Path) -> Reproduced:
        """This table with the parts that `tableN.json` in the folder `out` has, which need not exist.

        Raises `DamageError` naming the file where it cannot be read.
        """
        path = out / f"table{self.number}.json"
        if not path.is_file():
            return self
        data = read_json(path, dict, hint=_DAMAGED)
        lines = fitted(list[TableRow], data.get("lines"), path=path, hint=_DAMAGED)
        parts = fitted(list[TablePart], data.get("parts", _earlier(data)), path=path, hint=_DAMAGED)
        table = self
        for part in parts:
            own = lines if "parts" not in data else _of(part, lines)
            table = table.with_part(part, own)
        return table

    def _brackets(self) -> str:
        """What is in brackets: the published values, and of which dataset."""
        if not any(line.published for line in self.lines):
            return "the paper's are not available"
        if len({part.compared for part in self.parts}) == 1:
            return f"in brackets the paper's on {self.dataset.upper()}"
        beside = [f"on {part.compared.upper()} beside {part.name}" for part in self.parts]
        return f"in brackets the paper's, {'; '.join(beside)}"

    def _named(self, line: TableRow) -> str:
        return line.label if len(self.parts) == 1 else f"{line.label} ({line.dataset}, {line.size} px)"


def _of(part: TablePart, lines: Iterable[TableRow]) -> list[TableRow]:
    return [line for line in lines if (line.dataset, line.size) == part.key]


def _earlier(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The part of a table that an earlier version wrote; none where it does not state its data."""
    sentences = data.get("differences")
    match = _EARLIER.match(str(sentences[0])) if isinstance(sentences, list) and sentences else None
    if match is None:
        return []
    dataset, split, size = match.groups()
    part = {"dataset": dataset, "size": int(size), "cache": "", "split": split, "compared": data.get("dataset")}
    return [part | {"differences": sentences}]


def by_words(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Labels grouped by sentence; empty sentences are left out."""
    labels: dict[str, list[str]] = {}
    for words, label in pairs:
        if words:
            labels.setdefault(words, []).append(label)
    return labels


def grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`label; label: sentence`, each sentence once."""
    return [f"{'; '.join(labels)}: {words}" for words, labels in by_words(pairs).items()]


def _cell(row: TableRow, metric: str) -> str:
    ours = row.ours.get(metric)
    mark = "*" if metric in row.stand_ins else ""
    value = f"{ours:{'.4g' if abs(ours) < 1e4 else '.0f'}}{mark}" if ours is not None else "–"
    published = row.published.get(metric)
    return f"{value} ({published:g})" if published is not None else value
