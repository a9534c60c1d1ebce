"""Plots, published rows and titles of a report show the numbers of their rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from distinct_rows import GROUND_TRUTH, Shown
from matplotlib.figure import Figure

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.reports import plots, tables
from dawn_bench.reports.leaderboard import leaderboards, with_published
from dawn_bench.reports.published import FILE, published_tables
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    drawn: list[Figure] = []

    class Recorded(Figure):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            drawn.append(self)

    monkeypatch.setattr(plots, "Figure", Recorded)
    monkeypatch.setattr(plots, "_svg", lambda figure, *, name, label: label)
    return drawn


def test_plots_draw_each_methods_value_and_interval(shown: Shown, figures: list[Figure]) -> None:
    assert len(plots.score_plots(shown.board)) == len(shown.board.columns) == len(figures)
    for column, figure in zip(shown.board.columns, figures, strict=True):
        (axes,), metric = figure.axes, column.metric
        names = [label.get_text() for label in axes.get_yticklabels()]
        methods = [line.method for line in shown.board.lines if (line.method, metric) in shown.rows]
        assert names == methods[::-1]
        spans = [x.get_xydata().tolist() for x in axes.lines if x.get_marker() == "None" and len(x.get_xydata()) == 2]
        dots = [x.get_xydata()[0].tolist() for x in axes.lines if x.get_marker() == "o"]
        for y, method in enumerate(names):
            row = shown.rows[method, metric]
            assert [row.value, y] in dots and [[row.low, y], [row.high, y]] in spans
        dashed = [x.get_xdata()[0] for x in axes.lines if x.get_linestyle() == "--"]
        truth = shown.rows.get((GROUND_TRUTH, metric))
        assert dashed == ([truth.value] if truth else [])
        assert axes.get_title("left").startswith(METRICS[metric].title) and METRICS[metric].unit in axes.get_title(
            "left"
        )


def test_drifts_draw_each_methods_seconds(shown: Shown, figures: list[Figure]) -> None:
    assert plots.drift_plots(shown.board) == ["PSNR along the clip", "SSIM along the clip"]
    for metric, figure in zip(("psnr", "ssim"), figures, strict=True):
        drawn = {x.get_label(): x.get_xydata().T.tolist() for x in figure.axes[0].lines}
        wanted = {m for m, name in shown.rows if name == metric} - {GROUND_TRUTH}
        assert drawn == {m: [[0.5, 1.5, 2.5], shown.rows[m, metric].over_time] for m in wanted}


def test_loss_curves_draw_the_logs_points(figures: list[Figure]) -> None:
    points = [{"step": 10 * k, "total": 100.0 / k, "lip": 0.5 + k, "lr": 1e-4} for k in range(1, 9)]
    assert plots.loss_curves(points, name="a")
    drawn = {x.get_label(): x.get_xydata() for x in figures[0].axes[0].lines}
    assert set(drawn) == {"total", "lip"}
    assert drawn["total"].tolist() == [[10 * k, 100 / k] for k in range(1, 9)]
    assert drawn["lip"].tolist() == [[10 * k, 0.5 + k] for k in range(1, 9)]
    assert figures[0].axes[0].get_yscale() == "log"  # from 0.5 to 100
    assert plots.loss_curves([{"total": 1.0 + k} for k in range(80)], name="b")
    raw, smooth = figures[1].axes[0].lines
    assert raw.get_ydata().tolist() == [1.0 + k for k in range(80)] and raw.get_xdata().tolist() == list(range(80))
    assert smooth.get_ydata()[20] == pytest.approx(np.mean(raw.get_ydata()[18:22])) and smooth.get_ydata()[0] < 3
    assert figures[1].axes[0].get_yscale() == "log" and len(raw.get_xdata()) == 80


def test_published_rows_stand_in_the_columns_of_their_metrics(row: Make) -> None:
    """Columns of a report are in another order than the paper's, and lack some of them."""
    names = ("csim", "fvd16", "fid", "psnr", "blink")
    rows = [row(m, 1.0 + k, metric=n, dataset=d) for k, n in enumerate(names) for m in "ab" for d in ("crema",)]
    (board,) = with_published(leaderboards(rows), published_tables([1]))
    paper = {t["number"]: t for t in json.loads(FILE.read_text())["tables"]}[1]
    lines = {line.method: line for line in board.lines if line.group == "published"}
    assert lines.keys() == paper["datasets"]["crema"].keys()
    for method, values in paper["datasets"]["crema"].items():
        printed = dict(zip(paper["columns"], values, strict=True))
        for column, cell in zip(board.columns, lines[method].cells, strict=True):
            assert (cell and cell.value) == printed.get(column.metric), (method, column.metric)


def test_titles_tell_dataset_split_pieces_and_class_apart(row: Make) -> None:
    places = [
        {"dataset": d, "split": s, "method_class": c, "piece_length": n}
        for d in ("hdtf", "crema") for s in ("test", "val") for c in ("portrait", "dub") for n in (None, 100, 200)
    ]  # fmt: skip
    boards = leaderboards([row("a", float(k), **place) for k, place in enumerate(places)])
    titles = [tables.title(board) for board in boards]
    assert len(set(titles)) == len(boards) == len(places)
    for board, heading in zip(boards, titles, strict=True):
        ((cell,),) = (line.cells for line in board.lines)
        place = places[int(cell.value)]  # type: ignore[union-attr,arg-type]
        assert place == {
            "dataset": board.dataset, "split": board.split, "method_class": board.method_class,
            "piece_length": board.piece_length,
        }  # fmt: skip
        pieces = f"pieces of {place['piece_length']} frames" if place["piece_length"] else "whole clips"
        assert heading == f"{place['dataset']}, {place['split']} split, {pieces}: {place['method_class']} methods"


def test_ranked_methods_and_references_have_colours_of_their_own(shown: Shown, figures: list[Figure]) -> None:
    plots.score_plots(shown.board)
    groups = {line.method: line.group for line in shown.board.lines}
    colours: dict[str, set[str]] = {}
    for figure in figures:
        (axes,) = figure.axes
        names = [label.get_text() for label in axes.get_yticklabels()]
        for drawn in axes.lines:
            y = drawn.get_ydata()
            if drawn.get_linestyle() != "--" and y[0] == y[-1]:  # a value, or its interval
                colours.setdefault(groups[names[int(y[0])]], set()).add(drawn.get_color())
    assert colours == {"ranked": {plots.SERIES[0]}, "sanity": {plots.SOFT}}
