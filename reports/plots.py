"""Loss curves and score plots as inline SVG with the colours of the page, light or dark."""

from __future__ import annotations

import io
import math
import re
import sys
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from dawn_bench.reports.cards import ARROWS
from dawn_bench.reports.leaderboard import GROUND_TRUTH, Table

#: Placeholder colours, and the CSS variables of the page that replace them.
INK, SOFT, GRID = "#010203", "#010204", "#010205"
SERIES = tuple(f"#01020{c}" for c in "abcdef")
VARIABLES = {INK: "--ink", SOFT: "--soft", GRID: "--rule"} | {c: f"--s{i}" for i, c in enumerate(SERIES)}

#: Columns of a training log that are not losses.
NOT_LOSSES = re.compile(r"step|epoch|seconds|time|share|rate|^lr$|grad|norm|seed|memory")
MAX_POINTS = 400


def loss_curves(points: Sequence[Mapping[str, Any]], *, name: str) -> str | None:
    """An SVG of every loss in `points` (`{"step": int, <loss>: float, ...}`) over steps; None without any loss.

    Long curves show a running mean over the faint raw values. The scale is logarithmic where all losses are positive
    and span more than a factor of 30.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    for index, point in enumerate(points):
        for key, value in point.items():
            if not NOT_LOSSES.search(key) and _is_number(value):
                step = point.get("step")
                series.setdefault(key, []).append((float(step) if _is_number(step) else float(index), float(value)))
    drawn = {k: np.array(v) for k, v in series.items() if len(v) > 1}
    if not drawn:
        return None
    figure = Figure(figsize=(4.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for (label, values), colour in zip(list(drawn.items())[: len(SERIES)], SERIES, strict=False):
        step, loss = values[:: max(1, len(values) // MAX_POINTS)].T
        if len(loss) >= 40:
            axes.plot(step, loss, color=colour, linewidth=0.8, alpha=0.25)
            loss = _running_mean(loss, len(loss) // 20)
        axes.plot(step, loss, color=colour, linewidth=1.6, label=label)
    every = np.concatenate([v[:, 1] for v in drawn.values()])
    if every.min() > 0 and every.max() / every.min() > 30:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _style(axes)
    legend = figure.legend(loc="outside upper left", frameon=False, ncols=3, fontsize=8.5, handlelength=1.4)
    for text in legend.get_texts():
        text.set_color(INK)
    return _svg(figure, name=f"loss-{name}", label=f"Loss curves of {name}")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a log can be drawn: a float is finite, an int fits into one."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def plotted(table: Table) -> list[int]:
    """The places of the columns that `score_plots` draws: those with at least two finite values."""

    def finite(index: int) -> int:
        cells = [line.cells[index] for line in table.lines]
        return sum(cell is not None and cell.value is not None and math.isfinite(cell.value) for cell in cells)

    return [index for index in range(len(table.columns)) if finite(index) > 1]


def score_plots(table: Table) -> list[str]:
    """One SVG per column of a table: each method's value with its 95 % interval, the ground truth as a dashed line."""
    plots = []
    for index in plotted(table):
        column = table.columns[index]
        shown = [
            (line, cell)
            for line in table.lines
            if (cell := line.cells[index]) is not None and cell.value is not None and math.isfinite(cell.value)
        ]
        figure = Figure(figsize=(3.4, 0.62 + 0.235 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        for y, (line, cell) in enumerate(reversed(shown)):
            value = float(cell.value or 0.0)
            colour = {"ranked": SERIES[0], "sanity": SOFT, "published": SERIES[1]}[line.group]
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [y, y], color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
            axes.plot([value], [y], marker="o", color=colour, markersize=5)
            if line.method == GROUND_TRUTH:
                axes.axvline(value, color=SOFT, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        axes.set_yticks(
            range(len(shown)), [_room(line.method[:24]) + _short(line.method) for line, _ in reversed(shown)]
        )
        axes.set_ylim(-0.6, len(shown) - 0.4)
        largest = max(abs(float(cell.value or 0.0)) for _, cell in shown)
        axes.locator_params(axis="x", nbins=5 if largest < 10_000 else 3)
        axes.margins(x=0.08)
        unit = f"  ({column.unit})" if column.unit else ""
        # from the figure's edge: beside the names of the methods a long label would be cut off
        text = _plain(f"{column.label} {ARROWS[column.aim]}{unit}")
        title = axes.set_title(text, fontsize=9, color=INK, loc="left", x=0.02)
        title.set_transform(blended_transform_factory(figure.transFigure, title.get_transform()))
        _style(axes)
        axes.tick_params(axis="y", labelcolor=INK)
        name = f"score-{table.name}-{table.split}-{table.method_class}-{table.pieces}-{index}"
        plots.append(_svg(figure, name=name, label=f"{column.label} by method"))
    return plots


def drift_plots(table: Table) -> list[str]:
    """One SVG per metric with a value a frame: the mean of each second along the clips, one line a method."""
    plots = []
    for index, column in enumerate(table.columns):
        shown = [
            (line, cell.row.over_time)
            for line in table.lines
            if (cell := line.cells[index]) is not None and cell.row and len(cell.row.over_time) > 1
        ]
        shown = [(line, values) for line, values in shown if line.method != GROUND_TRUTH][: len(SERIES)]
        if not shown:
            continue
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for (line, values), colour in zip(shown, SERIES, strict=False):
            dashes = "-" if line.group == "ranked" else (0, (3, 2))
            seconds = np.arange(len(values)) + 0.5
            label = _short(line.method) + _room(line.method[:24])
            axes.plot(
                seconds, values, color=colour, linewidth=1.6, linestyle=dashes, marker="o", markersize=3, label=label
            )
        axes.set_xlabel("seconds from the start")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        unit = f"  ({column.unit})" if column.unit else ""
        axes.set_title(_plain(f"{column.label} {ARROWS[column.aim]}{unit}"), fontsize=9, color=INK, loc="left")
        _style(axes)
        legend = figure.legend(loc="outside lower left", frameon=False, ncols=2, fontsize=8.5, handlelength=1.6)
        for text in legend.get_texts():
            text.set_color(INK)
        name = f"drift-{table.name}-{table.split}-{table.method_class}-{table.pieces}-{index}"
        plots.append(_svg(figure, name=name, label=f"{column.label} along the clip"))
    return plots


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over `width` values around each value, over fewer at the ends."""
    kernel = np.ones(max(1, width))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def _short(method: str) -> str:
    return _plain(method if len(method) <= 24 else f"{method[:23]}…")


def _room(text: str) -> str:
    """No-break spaces for the width by which a text is drawn wider than matplotlib measures it.

    Its font has no East Asian characters and measures a narrower sign in their place.
    """
    return "\u00a0" * round(1.3 * sum(unicodedata.east_asian_width(c) in "WF" for c in text))


def _plain(text: str) -> str:
    """Text with dollar signs escaped, so that they start no formula."""
    return text.replace("$", r"\$")


def _style(axes: Any) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=SOFT, labelsize=8.5, length=0)
    axes.xaxis.label.set(color=SOFT, fontsize=8)


def _svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an `<svg>` element: text is kept as text, ids are unique in the page, colours are CSS variables."""
    buffer = io.StringIO()
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}),
        warnings.catch_warnings(),
    ):
        # the page's own fonts draw the text; matplotlib's need not have its characters, which are only measured
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()  # type: ignore[union-attr]
    head = f'<svg class="plot" role="img" aria-label="{_attribute(label)}" viewBox="0 0 {width} {height}"'
    return re.sub(r"^<svg [^>]*", head, svg, count=1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
