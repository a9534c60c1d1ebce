"""Score rows of which no two share a number, a count, a note or an order of clips; and what they should show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.reports.leaderboard import Cell, Table
from dawn_bench.results import ScoreRow

Make = Callable[..., ScoreRow]
METHODS = ("one", "two", "three", "lone")
GROUND_TRUTH = "ground-truth"
STATES = ("canonical", "user", "none")


def rows_of(make: Make) -> list[ScoreRow]:
    """All registered metrics of four methods and two sanity rows, with holes; columns run from 1e-4 to 1e4."""
    rows = []
    for k, name in enumerate(METRICS):
        metric, scale = METRICS[name], 10.0 ** (k % 9 - 4)
        for m, method in enumerate((*METHODS, GROUND_TRUTH, "still")):
            if (k + m) % 11 == 10:
                continue
            value = scale * (1.1 + ((5 * m + 3 * k) % 7) + 0.037 * m + 0.0131 * k)
            sanity = method in (GROUND_TRUTH, "still")
            # clips come in another order in every row, and each row lacks other ones
            clips = [f"clip{(5 * c + 5 * m + k) % 12:02d}" for c in range(12)]
            values = {c: value + scale * ((int(c[4:]) * 7 + m) % 5) / 9 for c in clips if (int(c[4:]) + m) % 10}
            rows.append(
                make(
                    method, value, metric=name, low=value - 0.31 * scale * (m + 1), high=value + 0.47 * scale * (m + 1),
                    label=metric.title, description=metric.description, order=metric.order, unit=metric.unit,
                    aim=metric.aim(), higher_is_better=metric.higher_is_better, interval=metric.interval,
                    n_clips=40 + 7 * m, n_frames=9000, coverage=1 - m / 50, rankable=not sanity,
                    method_class="reference" if method == GROUND_TRUTH else "sanity" if sanity else "portrait",
                    failures={} if m == 0 else {f"clip{m}": f"reason-{m}"}, fingerprint=f"print-{name}",
                    weights_state="seeded" if (method, name) == ("lone", "fid") else STATES[k % 3],
                    note=f"note {name} of {method}", per_clip={**values, "undefined": None}, seed=100 * k + m,
                    over_time=[value, value + scale, value + 3 * scale] if name in ("psnr", "ssim") else [],
                    cost={"generate_s_per_s": 1.25 + m, "load_s": 10.0 + m} if m < 3 else {},
                    device=f"device {k}", wall_seconds=k + m / 10 + 0.04,
                )
            )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Shown:
    """A board and its files."""

    rows: dict[tuple[str, str], ScoreRow]
    board: Table
    text: dict[str, str] = field(default_factory=dict)


def decimals(largest: float) -> int:
    """Decimals of a column by hand: four significant digits of small numbers, fewer of large ones."""
    for limit, digits in ((1e-3, 7), (1e-2, 6), (2, 3), (1000, 2)):
        if largest < limit:
            return digits if limit > 1e-3 or largest >= 1e-4 else digits + 1
    return 1


def text(cell: Cell, shown: Shown, metric: str) -> tuple[str, ...]:
    """Value, low and high of a row as text, by hand."""
    column = [r.value for (_, name), r in shown.rows.items() if name == metric and r.value is not None]
    assert cell.row is not None
    places = decimals(max(map(abs, column)))
    return tuple(f"{v:.{places}f}" for v in (cell.row.value, cell.row.low, cell.row.high) if v is not None)


def ranked(shown: Shown, metric: str) -> dict[str, int]:
    """Ranks by hand."""
    entries = {m: r for (m, name), r in shown.rows.items() if name == metric and m in METHODS}
    entries = {m: r for m, r in entries.items() if r.weights_state != "seeded"}
    truth, aim = shown.rows.get((GROUND_TRUTH, metric)), METRICS[metric].aim()
    if aim == "truth":  # over the same clips as the ground truth alone
        assert truth is not None and truth.value is not None
        same = {c for c, v in truth.per_clip.items() if v is not None}
        entries = {m: r for m, r in entries.items() if {c for c, v in r.per_clip.items() if v is not None} == same}
        score = {m: abs((r.value or 0) - truth.value) for m, r in entries.items()}
    else:
        sign = {"higher": -1, "lower": 1, "zero": 1}[aim]
        score = {m: sign * (r.value or 0) for m, r in entries.items()}
    order = sorted(score, key=score.__getitem__)
    return {m: k + 1 for k, m in enumerate(order)} if len(order) > 1 else {}


def cells(shown: Shown) -> list[tuple[str, str, Cell]]:
    """(method, metric, cell) of the board."""
    return [
        (line.method, column.metric, cell)
        for line in shown.board.lines
        for column, cell in zip(shown.board.columns, line.cells, strict=True)
        if cell is not None
    ]
