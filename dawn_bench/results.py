"""The result row: one score of one method with its full provenance; and learning signals.

Metrics create rows, the results store keeps them, reports show them; no score is computed twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from dawn_bench.config import Config

#: Which value is best: the highest, the lowest, the nearest to the ground truth's, or the nearest to zero; `none`: not
#: ranked.
Aim = Literal["higher", "lower", "truth", "zero", "none"]


class ScoreRow(Config):
    """One metric of one method on one split under one protocol.

    `value`, `low` and `high` are in the metric's unit; the interval is a 95 % bootstrap over clips. A value is None
    when the metric is undefined there, and `note` then gives the reason. `weights_state` is `canonical` (published
    weights, hash matches), `user` (another file), `seeded` (deterministic stand-in; never comparable with a paper) or
    `none` (the metric needs no network). `rankable` is False for sanity and reference rows. `cost` is the cost of
    generating the outputs, where known: `generate_s_per_s` (seconds a second of video) and `load_s` (seconds).
    `over_time` is the mean over clips for each second, empty for metrics without per-frame values. `label`,
    `description`, `aim` and `order` (place among the columns, lowest first) are the metric's own, so that a report can
    show a metric whose code is not installed; rows of earlier versions lack them.

    `failures` maps every clip that the method or this metric failed on to the reason (`no_face`, `timeout`, `oom`,
    `bad_output`, `missing`, ...), also clips that are not scored because another method failed on them. `coverage` is
    the share of the method's clips without a failure. Rows of earlier versions have no `failures`.
    """

    method: str
    method_class: str = "portrait"
    dataset: str
    split: str
    protocol: str
    metric: str
    unit: str = ""
    higher_is_better: bool | None = None
    label: str = ""
    description: str = ""
    aim: Aim | None = None
    order: int | None = None
    value: float | None
    low: float | None = None
    high: float | None = None
    n_clips: int
    n_frames: int
    coverage: float = 1.0
    failures: dict[str, str] = Field(default_factory=dict)
    weights_state: str = "none"
    rankable: bool = True
    fingerprint: str
    device: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    wall_seconds: float = 0.0
    cost: dict[str, float] = Field(default_factory=dict)
    note: str = ""
    per_clip: dict[str, float | None] = Field(default_factory=dict)
    over_time: list[float] = Field(default_factory=list)
    created: str = ""

    @staticmethod
    def now() -> str:
        """The current time for `created`, in UTC, to the second."""
        return datetime.now(UTC).isoformat(timespec="seconds")


class LearningSignal(Config):
    """Evidence that a model learnt: `value` and the `baseline` that it must beat, both in the signal's own unit."""

    signal: str
    value: float | None
    baseline: float | None = None
    passed: bool
    note: str = ""
