"""Markdown, CSV, JSON and LaTeX agree, and unusual names break none of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable

from dawn_bench.reports import tables
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]
ODD = r"a|b_c <script>alert(1)</script> 50% & $x^2$ {#} \cmd ~"


def test_best_is_bold_and_second_underlined_everywhere(row: Make) -> None:
    boards = leaderboards(
        [row("a", 3.0, low=2.5, high=3.5), row("b", 2.0), row("c", 5.0), row("still", 1.0, rankable=False)]
    )
    text = tables.markdown(boards)
    assert (
        "| b | **2.00** | 8 |" in text
        and "| a | <u>3.00</u> [2.50, 3.50] | 8 |" in text
        and "| _still_ | 1.00 |" in text
    )
    latex = tables.latex(boards)
    assert r"b & \textbf{2.00} \\" in latex and r"a & \underline{3.00} \\" in latex and r"c & 5.00 \\" in latex
    assert latex.index("5.00") < latex.index(r"\midrule" + "\n" + r"\multicolumn") < latex.index("still & 1.00")
    board = json.loads(tables.as_json(boards))["leaderboards"][0]
    assert {li["method"]: li["scores"][0]["rank"] for li in board["lines"]} == {"a": 2, "b": 1, "c": 3, "still": None}


def test_stand_ins_are_marked_in_text_tables(row: Make) -> None:
    boards = leaderboards([row("a", 3.0, weights_state="seeded"), row("b", 2.0)])
    assert "| 3.00† |" in tables.markdown(boards) and "| 2.00 |" in tables.markdown(boards)
    assert tables.STAND_IN in tables.markdown(boards)
    assert r"3.00$^\dagger$" in tables.latex(boards) and "stand-in weights" in tables.latex(boards)


def test_odd_names_are_escaped(row: Make) -> None:
    boards = leaderboards([row(ODD, 3.0), row("b", 2.0)])
    line = next(x for x in tables.markdown(boards).splitlines() if "alert" in x)
    assert "<script" not in line and len(re.findall(r"(?<!\\)\|", line)) == 4
    latex = next(x for x in tables.latex(boards).splitlines() if "alert" in x)
    assert r"50\% \& \$x\textasciicircum{}2\$ \{\#\} \textbackslash{}cmd \textasciitilde{}" in latex
    (record,) = [r for r in csv.DictReader(io.StringIO(tables.as_csv(boards))) if r["rank"] == "2"]
    assert record["method"] == ODD


def test_csv_has_every_score_once(row: Make) -> None:
    rows = [row("a", 3.0), row("b", None, method_class="dub", note="none"), row("still", -0.5, rankable=False)]
    records = list(csv.DictReader(io.StringIO(tables.as_csv(leaderboards(rows)))))
    assert sorted((r["method"], r["value"], r["group"]) for r in records) == [
        ("a", "3.0", "ranked"),
        ("b", "", "ranked"),
        ("still", "-0.5", "sanity"),
    ]
    assert records[0]["fingerprint"] == "f0"


def test_undefined_values_show_a_dash(row: Make) -> None:
    boards = leaderboards([row("a", None), row("b", 2.0)])
    assert "| a | – | 8 |" in tables.markdown(boards) and r"a & -- \\" in tables.latex(boards)
