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
#: State of the weights of a metric that was not computed, because the files of its network are absent.
NEEDS_WEIGHTS = "needs-weights"
#: How the note of such a score begins; the command that brings the files follows.
FETCH_NOTE = "needs weights: "


def fetch_in(note: str) -> str:
    """The command in the note of a score whose network is absent; empty in any other note."""
    return note.removeprefix(FETCH_NOTE).partition("; ")[0] if note.startswith(FETCH_NOTE) else ""


class ScoreRow(Config):
    """One metric of one method on one split under one protocol.

    `value`, `low` and `high` are in the metric's unit; `interval` says in words how the clips are combined and what the
    95 % interval is. A value is None
    when the metric is undefined there, and `note` then gives the reason. `weights_state` is `canonical` (published
    weights, hash matches), `user` (another file), `seeded` (deterministic stand-in; never comparable with a paper),
    `needs-weights` (not computed: the files of its network are absent, and `fetch` is the command that brings them) or
    `none` (the metric needs no network). `rankable` is False for sanity and reference rows. `cost` is the cost of
    generating the outputs, where known: `generate_s_per_s` (seconds a second of video) and `load_s` (seconds).
    `over_time` is the mean over clips for each second, empty for metrics without per-frame values. `label`,
    `description`, `aim` and `order` (place among the columns, lowest first) are the metric's own, so that a report can
    show a metric whose code is not installed; rows of earlier versions lack them.

    `piece_length` is the number of frames of the pieces in which clips were generated and scored, each a clip of its
    own in the row; None for whole clips, and in rows of earlier versions, which did not record it. Rows over pieces of
    different lengths are in different tables.

    `failures` maps every clip that the method or this metric failed on to the reason (`no_face`, `timeout`, `oom`,
    `bad_output`, `missing`, ...), also clips that are not scored because another method failed on them. `coverage` is
    the share of the method's clips without a failure. Rows of earlier versions have no `failures`.

    `left_out` maps a scored clip to the frames of the true clip that do not count (`62-74`), or to `all`; clips of
    which every frame counts are absent. Rows are ranked together only with equal `fingerprint` and equal `left_out`,
    that is over the same frames of the same clips. `frames_missing` maps a clip to its last frames that this method's
    output lacks; the frames that every method of an evaluation is scored without are in `left_out`. `not_ranked` is the
    reason why this score is shown unranked, where there is one. `outputs` maps every clip to the hash of the output
    that was scored, empty where there was none. `origins` are what outputs of every length of pieces come from: the
    hash of a whole clip's file by its id, or that of a method's settings under ``""``. `data` is the hash of the
    split's true clips and `data_name` the name of their cache: two caches of the same kind of
    dataset are two datasets. `research_only` are the registry names of the weights used whose licence excludes
    commercial use, or grants none. Rows of earlier versions lack these fields.
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
    research_only: list[str] = Field(default_factory=list)
    rankable: bool = True
    piece_length: int | None = None
    fingerprint: str
    device: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    wall_seconds: float = 0.0
    cost: dict[str, float] = Field(default_factory=dict)
    note: str = ""
    per_clip: dict[str, float | None] = Field(default_factory=dict)
    over_time: list[float] = Field(default_factory=list)
    interval: str = ""
    left_out: dict[str, str] = Field(default_factory=dict)
    frames_missing: dict[str, str] = Field(default_factory=dict)
    not_ranked: str = ""
    outputs: dict[str, str] = Field(default_factory=dict)
    origins: dict[str, str] = Field(default_factory=dict)
    data: str = ""
    data_name: str = ""
    created: str = ""

    @property
    def scope(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What two rows must share to be compared: settings, true clips, and the frames of each that count."""
        return self.fingerprint, tuple(sorted(self.left_out.items()))

    @property
    def needs_weights(self) -> bool:
        """Whether it was not computed because the files of its network are absent."""
        return self.weights_state == NEEDS_WEIGHTS

    @property
    def fetch(self) -> str:
        """The command that brings what a score with `needs_weights` lacks; empty for others."""
        return fetch_in(self.note) if self.needs_weights else ""

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
