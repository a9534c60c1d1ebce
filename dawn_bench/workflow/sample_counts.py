"""How many frames or windows are behind a score, and over how many of them rows of other lengths are compared."""

from __future__ import annotations

from collections.abc import Sequence

from dawn_bench.clip import Clip
from dawn_bench.metrics.fid import FrechetMetric
from dawn_bench.metrics.functional.sync import UNUSED
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.paper_rows import PaperTable


def frames_each(metric: str) -> int:
    """Frames of one window of a Fréchet distance; 1 for metrics of single frames and others."""
    kind = METRICS[metric]
    return kind.frames_each if issubclass(kind, FrechetMetric) else 1


def equal_windows(table: PaperTable, clips: Sequence[Clip]) -> int | None:
    """The largest number of windows that every row of a table with lengths has for each FVD; None without such rows.

    A length that no clip has does not count, and neither does one shorter than a window.
    """
    sizes = {frames_each(metric) for metric in table.metrics} - {1}
    counts = [
        sum(clip.n_frames // length for clip in clips) * (length // size) for length in table.lengths for size in sizes
    ]
    least = min((count for count in counts if count), default=0)
    return least if least > 1 else None  # one window has no covariance


def sample_counts(rows: Sequence[ScoreRow]) -> dict[str, int]:
    """`FID frames`, `FVD16 windows`, `LSE windows`: what is behind the scores; absent scores have none."""
    counts = {}
    for row in rows:
        if row.value is None:
            continue
        kind = METRICS[row.metric]
        if issubclass(kind, FrechetMetric):
            counts[f"{kind.title} {kind.minimum_of}"] = row.n_frames // frames_each(row.metric)
        elif row.metric in ("lse-c", "lse-d"):  # both are of the same windows
            counts["LSE windows"] = row.n_frames - UNUSED * row.n_clips
    return counts


def fewer_windows(rows: Sequence[ScoreRow], wanted: int | None) -> list[str]:
    """Remarks on distances over fewer windows than were `wanted`: `FVD32 over 80 of 100 windows`."""
    counts = {row.metric: row.n_frames // size for row in rows if row.value and (size := frames_each(row.metric)) > 1}
    return [f"{METRICS[m].title} over {n} of {wanted} windows" for m, n in counts.items() if n < (wanted or 0)]
