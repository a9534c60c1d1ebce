"""What every format of a report shows equals the numbers of its rows, walked over columns, lines and formats.

No two rows share a number, a count, a label, a note or a state, so that a value in another's place is seen.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from distinct_rows import GROUND_TRUTH, METHODS, Shown, cells, ranked, text

from dawn_bench.metrics.scoring.base import GROUPS, METRICS
from dawn_bench.reports.cards import AIM_WORDS, ARROWS
from dawn_bench.reports.cards import cards as cards_of
from dawn_bench.reports.drilldown import per_clip
from dawn_bench.reports.significance import comparisons
from dawn_bench.reports.view import grid
from dawn_bench.results import ScoreRow


def test_the_board_has_every_row_in_its_place(shown: Shown) -> None:
    assert [c.metric for c in shown.board.columns] == sorted(METRICS, key=lambda name: METRICS[name].order)
    for method, metric, cell in cells(shown):
        row = shown.rows[method, metric]
        assert (cell.value, cell.low, cell.high, cell.row) == (row.value, row.low, row.high, row)
        assert cell.rank == ranked(shown, metric).get(method), (method, metric)
        assert cell.seeded == (row.weights_state == "seeded")
    assert len(cells(shown)) == len(shown.rows)
    means = {
        li.method: np.mean([c.rank for c in li.cells if c and c.rank])
        for li in shown.board.lines
        if li.group == "ranked"
    }
    assert list(means) == sorted(means, key=lambda m: (means[m], m))
    assert [li.method for li in shown.board.lines if li.group == "sanity"] == [GROUND_TRUTH, "still"]
    for line in shown.board.lines:
        own = [r for (m, _), r in shown.rows.items() if m == line.method]
        assert line.n_clips == own[0].n_clips and line.coverage == own[0].coverage and line.cost == own[0].cost
        share, why = f"{100 * own[0].coverage:.3g} %", "".join(own[0].failures.values())
        assert line.gaps == ([] if own[0].coverage == 1 else [f"every metric {share} ({why})"])


def test_markdown_shows_the_rows(shown: Shown) -> None:
    first, *_ = re.findall(r"(?:^\|.*\n)+", shown.text["md"], re.MULTILINE)
    lines = [re.split(r"(?<!\\)\|", x)[1:-1] for x in first.splitlines()]
    columns = sorted((c.metric for c in shown.board.columns), key=lambda metric: GROUPS.index(METRICS[metric].group))
    head, by_method = (
        [c.strip() for c in lines[0]],
        {x[0].strip().strip("_"): [c.strip() for c in x] for x in lines[2:]},
    )
    for k, metric in enumerate(columns, start=1):
        assert head[k] == f"{METRICS[metric].title} {ARROWS[METRICS[metric].aim()]}".strip()
    for method, metric, cell in cells(shown):
        place = columns.index(metric) + 1
        value, low, high = text(cell, shown, metric)
        bold = {1: f"**{value}**", 2: f"<u>{value}</u>"}.get(ranked(shown, metric).get(method, 0), value)
        mark = "†" * cell.seeded + "‡" * bool(cell.reason)
        assert by_method[method][place] == f"{bold} [{low}, {high}]{mark}", (method, metric)
    for line in shown.board.lines:
        assert by_method[line.method][-2] == (f"{line.cost['generate_s_per_s']:.2f}" if line.cost else "")
        assert by_method[line.method][-1].startswith(str(line.n_clips))
    assert [m for m in by_method] == [li.method for li in shown.board.lines]


def test_latex_shows_the_rows(shown: Shown) -> None:
    body = [x.removesuffix(r" \\").split(" & ") for x in shown.text["tex"].splitlines() if " & " in x]
    arrows = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "truth": r" $\to$GT", "zero": r" $\to$0"}
    metrics = [METRICS[c.metric] for c in shown.board.columns]
    assert body[0] == ["Method", *(f"{m.title}{arrows[m.aim()]}" for m in metrics)]
    by_method = {x[0]: x[1:] for x in body[1:]}
    for method, metric, cell in cells(shown):
        value = text(cell, shown, metric)[0].replace("-", "$-$")
        rank = ranked(shown, metric).get(method, 0)
        marked = {1: rf"\textbf{{{value}}}", 2: rf"\underline{{{value}}}"}.get(rank, value)
        marked += r"$^\dagger$" * cell.seeded + r"$^\ddagger$" * bool(cell.reason)
        assert by_method[method][[c.metric for c in shown.board.columns].index(metric)] == marked, (method, metric)
    assert all(len(x) == len(shown.board.columns) + 1 for x in body)


def test_csv_has_the_scalar_fields_of_every_row(shown: Shown) -> None:
    records = {(r["method"], r["metric"]): r for r in csv.DictReader(io.StringIO(shown.text["csv"]))}
    assert records.keys() == shown.rows.keys()
    scalar = [n for n, f in ScoreRow.model_fields.items() if not str(f.annotation).startswith(("dict", "list"))]
    left_out = {"label", "description", "aim", "order", "interval", "not_ranked"}
    for (method, metric), record in records.items():
        row = shown.rows[method, metric]
        for name in set(scalar) - left_out:
            stated = getattr(row, name)
            assert record[name] == ("" if stated is None else str(stated)), (method, metric, name)
        assert record["rank"] == str(ranked(shown, metric).get(method, ""))
        assert record["group"] == ("ranked" if method in METHODS else "sanity")
    assert {r["not_ranked"] for (m, n), r in records.items() if (m, n) == ("one", "blink")} == {
        "the ground truth was scored over other clips"
    }


def test_json_has_whole_rows(shown: Shown) -> None:
    (board,) = json.loads(shown.text["json"])["leaderboards"]
    assert (board["dataset"], board["split"], board["class"], board["piece_length"]) == (
        "crema",
        "test",
        "portrait",
        None,
    )
    for line in board["lines"]:
        for column, score in zip(board["columns"], line["scores"], strict=True):
            row = shown.rows.get((line["method"], column["metric"]))
            if row is None:
                assert score is None
                continue
            assert ScoreRow.model_validate(score["row"]) == row
            assert (score["value"], score["low"], score["high"]) == (row.value, row.low, row.high)
            assert score["rank"] == ranked(shown, column["metric"]).get(line["method"])
            metric = METRICS[column["metric"]]
            assert (column["label"], column["unit"], column["aim"]) == (metric.title, metric.unit, metric.aim())


class Page(HTMLParser):
    """Rows of tables: per row its attributes and per cell (attributes, text)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, Any], list[tuple[dict[str, Any], list[str]]]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append((dict(attrs), []))
        elif tag in ("td", "th") and self.rows:
            self.rows[-1][1].append((dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1][1] and data.strip():
            self.rows[-1][1][-1][1].append(" ".join(data.split()))


def test_the_page_shows_the_rows(shown: Shown) -> None:
    page = Page(shown.text["html"])
    lines = {row["data-method"]: entries for row, entries in page.rows if "data-method" in row}
    assert list(lines) == [line.method for line in shown.board.lines]
    order = grid(shown.board, range(len(shown.board.columns))).columns
    assert sorted(order) == list(range(len(order)))
    names = [shown.board.columns[k].metric for k in order]
    for method, metric, cell in cells(shown):
        attributes, words = lines[method][1 + names.index(metric)]
        row, rank = shown.rows[method, metric], ranked(shown, metric).get(method)
        value, low, high = (t.replace("-", "−") for t in text(cell, shown, metric))
        assert words[0] == value and f"{low} – {high}" in words
        assert float(attributes["data-value"]) == row.value and attributes["data-label"] == METRICS[metric].title
        assert attributes["class"] == "num" + {1: " best", 2: " second"}.get(rank or 0, "")
        assert attributes["title"].startswith(
            f"{row.n_clips} clips, {row.n_frames} frames, weights: {row.weights_state}"
        )
        assert attributes["title"].endswith(f"; {row.note}")
        assert ("stand-in" in words) == cell.seeded and ("not ranked" in words) == bool(cell.reason)
    for line in shown.board.lines:
        cost, clips = lines[line.method][-2:]
        assert clips[1][0] == clips[0]["data-value"] == str(line.n_clips)
        if line.cost:
            assert cost[1] == [f"{line.cost['generate_s_per_s']:.2f}"]
            assert cost[0]["title"] == f"loading took {line.cost['load_s']} s"
    listed = [[" ".join(words) for _, words in entries] for _, entries in page.rows if len(entries) == 11]
    provenance = {(words[0], words[2]): words for words in listed}
    for key, row in shown.rows.items():
        assert provenance[key][3:9] == [
            row.protocol, row.weights_state, row.fingerprint, row.device, str(row.seed), f"{row.wall_seconds:.1f}",
        ]  # fmt: skip
    drilled = [entries for _, entries in page.rows if entries and re.match(r"clip\d\d$", "".join(entries[0][1]))]
    assert drilled == []  # rows of clips are data until a reader opens them


def test_the_page_holds_the_values_of_clips_as_shown(shown: Shown) -> None:
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', shown.text["html"], flags=re.DOTALL)
    names, *columns = map(json.loads, scripts)
    drills = per_clip(shown.board)
    assert names == sorted({*(f"clip{c:02d}" for c in range(12)), "undefined"}) and len(columns) == len(drills) > 10
    for data, drill in zip(columns, drills, strict=True):
        assert data["methods"] == drill.methods
        assert [names[k] for k in data["clips"]] == [clip for clip, _ in drill.lines]
        for method, values in zip(data["methods"], data["values"], strict=True):
            row = shown.rows[method, drill.column.metric]
            exact = [row.per_clip.get(names[k]) for k in data["clips"]]
            assert values.split(",") == ["" if v is None else f"{v:.{drill.column.decimals}f}" for v in exact]


def test_the_page_lists_each_metric_with_its_own_text(shown: Shown) -> None:
    listed = re.findall(r'<article class="card">\s*<h3>(.*?)</h3>(.*?)</article>', shown.text["html"], flags=re.DOTALL)
    plain = {re.sub(r"<.*?>", "", title).split(" ")[0]: html.unescape(body) for title, body in listed}
    for card in cards_of(list(shown.rows.values())):
        metric = next(METRICS[n] for n in METRICS if METRICS[n].title == card.label)
        own = [r for (_, name), r in shown.rows.items() if name == metric.name]
        assert (card.what, card.unit, card.aim, card.interval) == (
            metric.description, metric.unit, metric.aim(), metric.interval,
        )  # fmt: skip
        assert card.notes == tuple(r.note for r in own) and card.fingerprints == (f"print-{metric.name}",)
        assert card.states == tuple(dict.fromkeys(r.weights_state for r in own))
        body = plain[card.label.split(" ")[0]] if card.label != "LSE offset" else plain["LSE"]
        assert AIM_WORDS[card.aim] in body and card.protocol in body


def test_clips_are_listed_with_their_own_values_the_leaders_worst_first(shown: Shown) -> None:
    for drill in per_clip(shown.board):
        metric = METRICS[drill.column.metric]
        first = {m: shown.rows[m, metric.name].per_clip for m in drill.methods}
        for clip, values in drill.lines:
            assert values == [first[m].get(clip) for m in drill.methods], (metric.name, clip)
        leader, truth = first[drill.methods[0]], first.get(GROUND_TRUTH, {})
        known = [(clip, leader[clip]) for clip, _ in drill.lines if leader.get(clip) is not None]
        goodness = {"higher": lambda c, v: v, "lower": lambda c, v: -v, "zero": lambda c, v: -abs(v)}
        if metric.aim() in goodness:
            ordered = [goodness[metric.aim()](*entry) for entry in known]
            assert ordered == sorted(ordered)
            continue
        near = [-abs(v - truth[c]) for c, v in known if truth.get(c) is not None]  # type: ignore[operator]
        assert near == sorted(near)


def test_differences_are_between_the_same_clips(shown: Shown) -> None:
    """The rows list their clips in different orders, and each lacks other ones."""
    compared = comparisons(shown.board)
    assert {c.column.metric for c in compared} == {n for n in METRICS if METRICS[n].aim() in ("higher", "lower")}
    for c in compared:
        best, other = (shown.rows[m, c.column.metric].per_clip for m in (c.best, c.other))
        assert ranked(shown, c.column.metric)[c.best] == 1 and c.other != c.best
        both = [k for k in best if k in other and None not in (best[k], other[k])]
        gaps = [best[k] - other[k] for k in both]  # type: ignore[operator]
        assert c.n_clips == len(both) < min(len(best), len(other)) and c.difference == pytest.approx(np.mean(gaps))
        assert min(gaps) - 1e-9 <= c.low <= c.difference + 1e-9 and c.difference - 1e-9 <= c.high <= max(gaps) + 1e-9
        assert c.significant == (c.low > 0 or c.high < 0)
        pair = f"<td>{c.column.label}</td><td>{c.best}</td><td>{c.other}</td>"
        (line,) = [x for x in re.findall(r"<tr><td>.*?</tr>", shown.text["html"]) if pair in x]
        assert f'"{c.difference}"' in line and f">{c.n_clips}</td>" in line
        assert f"<td>{'yes' if c.significant else 'no'}</td>" in line
