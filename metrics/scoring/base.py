"""The contract of features and metrics: extract once, measure many.

Two registries, one file an item:

* `FEATURES` (files in `metrics/features/`): a *feature* turns one clip into arrays, a *pair feature* turns a generated
  clip and its true clip into arrays. Array names are unique over all features: they are the feature's name, or begin
  with it and a dot (`inception`, `i3d.16`, `syncnet.lip`). Results are cached on disk by (hash of the clip's `fields`,
  fingerprint), so a feature may depend on nothing but its `fields`, its `settings()` and its weights.
* `METRICS` (files in `metrics/`): a *metric* keeps a small record of each clip and folds the records into a `Score`.
  Several metrics may share a file (`lse-c`, `lse-d`).

A feature::

    @FEATURES.register("inception")
    class Inception(Feature):
        name, fields, version = "inception", ("frames",), 1

        def __init__(self, protocol=PAPER_DAWN, *, weights="auto", device="cpu"):
            super().__init__(protocol, weights=weights, device=device)
            self.use_weights("inception-fid")        # -> weights.Resolved; enters the fingerprint

        @classmethod
        def weight_needs(cls, protocol):             # the same entries, declared: nothing is loaded to list them
            return (("inception-fid",),)

        def settings(self):                          # the protocol fields that change its arrays
            return {"resize": self.protocol.fid_resize}

        def run(self, clip, given):                  # given: arrays of the features named in `after`
            return {"inception": ...}                # first axis frames or windows

A metric derives from `RatioMetric` where its number is a weighted mean over clips (most are), else from `Metric`::

    @METRICS.register("csim")
    class Csim(RatioMetric):
        name, title, higher_is_better, order = "csim", "CSIM", True, 70
        description = "Cosine similarity of face embeddings ..."
        needs = ("identity",)                        # feature names

        def measure(self, generated, true):          # arrays of this clip, by array name
            return Part(total=..., weight=..., n_frames=...)

Pair features put their arrays into `generated`. A clip that cannot be used raises `ItemError(reason, detail)` from
`run` or `measure`; it then lowers the coverage of the metrics concerned and of no other.

State is one record a clip, so it adds over clips, ranks and restarts: `merge` is a union (a clip that a padded
distributed sampler repeats counts once), `compute` folds the records in the order of the clip ids, and in a
`torch.distributed` run it first gathers the records of every rank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.functional.bootstrap import ratio_interval
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.frames import ALL, FRAMES_MISSING
from dawn_bench.provenance import fingerprint
from dawn_bench.registry import Registry
from dawn_bench.results import Aim
from dawn_bench.text import counted
from dawn_bench.weights import Policy, Resolved, resolve
from dawn_bench.weights_needs import Needs

Arrays = Mapping[str, np.ndarray]
#: The square box float32 (T,4) of the face that is meant, in pixels of the frames, among the arrays given to a feature.
TARGET = "face.target"
#: Frames of a clip whose rows of `Feature.reuses` are known, and these rows, among the arrays given to a feature.
KNOWN_FRAMES, KNOWN_ROWS = "known.frames", "known.rows"

#: The headings of a table's columns, in their order.
Group = Literal["sync", "motion", "picture", "identity", "drift", "cost"]
GROUPS: tuple[Group, ...] = get_args(Group)
#: From best to worst; a score is as good as the worst weights among its features (`none`: it needs no network).
WEIGHTS_STATES = ("none", "canonical", "user", "seeded")


@dataclass(frozen=True)
class Score:
    """One number with its 95 % interval over clips, its sample counts and what a reader must know (`note`).

    `value` is None where the metric is undefined, and `note` then says why. `per_clip` holds the clips' own values,
    None where undefined. `over_time` is the mean of each second of the clips, for metrics with a value a frame.
    """

    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_frames: int
    note: str = ""
    per_clip: Mapping[str, float | None] = field(default_factory=dict)
    over_time: tuple[float, ...] = ()


class FeatureExtractor(ABC):
    """Common part of features and pair features: protocol, weights, device, fingerprint."""

    name: ClassVar[str]
    #: Fields of the clip that it reads.
    fields: ClassVar[tuple[str, ...]]
    #: Incremented whenever the code changes the arrays.
    version: ClassVar[int] = 1
    #: Whether `run` uses a network on `device`; the others need processors alone.
    device_bound: ClassVar[bool] = False

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        self.protocol, self.policy, self.device = protocol, weights, device
        self.resolved: list[Resolved] = []

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The entries of the weights registry that it uses under a protocol, without those of the features in `after`.

        `weights fetch --for` reads it, so it must open no file: a damaged one could otherwise not be fetched again.
        """
        return ()

    def use_weights(self, name: str) -> Resolved:
        """Resolve an entry of the weights registry, which `weight_needs` declares too; it enters the fingerprint."""
        weights = resolve(name, self.policy)
        self.resolved.append(weights)
        return weights

    @property
    def weights_state(self) -> str:
        """The worst state among the weights used, `none` without any."""
        return worst_state([r.state for r in self.resolved])

    @property
    def research_only(self) -> list[str]:
        """Registry names of the published weights used whose licence excludes commercial use, or grants none."""
        return [r.weight.name for r in self.resolved if r.path is not None and r.weight.research_only]

    def settings(self) -> Mapping[str, Any]:
        """The settings that change the arrays, as JSON values."""
        return {}

    @property
    def fingerprint(self) -> str:
        """A hash that changes exactly when the arrays may change: code version, settings, weights."""
        return fingerprint([self.name, self.version, self.settings(), [r.identity for r in self.resolved]])


class Feature(FeatureExtractor):
    """Arrays of one clip."""

    #: Features whose arrays `run` receives, so that work such as face detection is done once.
    after: ClassVar[tuple[str, ...]] = ()
    #: Whether it reports every face, as `landmarks` does.
    lists_faces: ClassVar[bool] = False
    #: What `run` is given as `TARGET` where several faces are in view: the place of the face that is meant, as tracking
    #: finds the faces (`tracked`), or only where the true clip's index tells of several (`index`), which costs nothing.
    follows: str = ""
    #: The array with a row for each frame or window, which is taken from the true clip where that has the same ones.
    reuses: ClassVar[str] = ""
    #: Parts of its work that read fewer fields, by name: the same pictures with another sound share them.
    parts: Mapping[str, tuple[str, ...]] = {}

    def run_part(self, part: str, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The arrays of one of the `parts`, which `run` is then given too. Raises `ItemError`."""
        raise NotImplementedError

    @abstractmethod
    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The clip's arrays; `given` holds those of the features in `after`. Raises `ItemError`."""


class PairFeature(FeatureExtractor):
    """Arrays of a generated clip and its true clip, cut to one length and resized to one size."""

    @abstractmethod
    def run(self, generated: Clip, true: Clip) -> dict[str, np.ndarray]:
        """The pair's arrays. Raises `ItemError`."""


class Metric(ABC):
    """One number over a set of clips. Its class says how reports show it."""

    name: ClassVar[str]
    #: The label of its column.
    title: ClassVar[str]
    #: What it measures, in one to three sentences for readers of a report.
    description: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    #: None where neither direction is better (an offset, a rate that should match the ground truth's).
    higher_is_better: ClassVar[bool | None] = None
    #: The best value where it is neither the highest nor the lowest: the ground truth's, or zero.
    target: ClassVar[Literal["truth", "zero"] | None] = None
    #: Place among the columns of a table, lowest first.
    order: ClassVar[int] = 1000
    #: What it looks at: the heading above its column.
    group: ClassVar[Group] = "picture"
    #: Computed only where a protocol lists it, or a user names it.
    optional: ClassVar[bool] = False
    #: What drove the outputs that it is measured on: the clip's speech, or silence in its place.
    driven_by: ClassVar[Literal["speech", "silence"]] = "speech"
    #: Names of the features whose arrays `measure` reads.
    needs: ClassVar[tuple[str, ...]] = ()
    #: False where only the generated clip is measured.
    compares: ClassVar[bool] = True
    #: True where it also compares sets of different clips: `measure` is given one side's arrays, the other's empty.
    unpaired: ClassVar[bool] = False
    #: Fewer samples than this are flagged in the note.
    minimum: ClassVar[int] = 2
    minimum_of: ClassVar[Literal["clips", "frames", "windows"]] = "clips"
    #: How the clips are combined to one number, and what its 95 % interval is; for readers of a report.
    interval: str = ""
    #: True where the clip's end matters: an output that is shorter than its true clip then fails as `frames_missing`.
    whole: ClassVar[bool] = False
    #: What the pictures must show for the score to be ranked: what a metric needs that pictures without a face, or
    #: without any motion, could win (`dawn_bench.metrics.scoring.pictures`).
    shows: ClassVar[tuple[Literal["face", "motion"], ...]] = ()

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, *, seed: int = 0) -> None:
        self.protocol, self.seed = protocol, seed
        self.records: dict[str, Any] = {}

    @abstractmethod
    def measure(self, generated: Arrays, true: Arrays) -> Any:
        """The record of one clip: everything `fold` needs of it. Raises `ItemError` where the clip cannot be used."""

    @abstractmethod
    def fold(self, records: Mapping[str, Any]) -> Score:
        """The score over all records, in the order of the clip ids; at least one."""

    def update(self, generated: Arrays, true: Arrays, *, clip_id: str) -> None:
        """Add one clip; a clip with the same id is replaced."""
        self.records[clip_id] = self.measure(generated, true)

    def check_end(self, missing: str) -> None:
        """Raise `ItemError("frames_missing")` where the clip's end counts and the output lacks the frames `missing`."""
        if self.whole and missing:
            raise ItemError(FRAMES_MISSING, f"frames {missing} are missing, and {self.title} compares the clip's end")

    def left_out(self, record: Any) -> str:
        """The frames of a clip that its record leaves out, as `frames.ranges` writes them; `all`, or empty for none."""
        return ""

    def merge(self, records: Mapping[str, Any]) -> None:
        """Add the records of another instance: another rank, or an interrupted run."""
        self.records.update(records)

    def compute(self) -> Score:
        """The score over the clips of every rank. Without any clip the value is None."""
        records = _gathered(self.records)
        if not records:
            return Score(None, None, None, 0, 0, note="no clip could be measured")
        return self.fold(dict(sorted(records.items())))

    @classmethod
    def aim(cls) -> Aim:
        """Which values are best (`dawn_bench.results.Aim`)."""
        stated: dict[bool | None, Aim] = {None: "none", True: "higher", False: "lower"}
        return cls.target or stated[cls.higher_is_better]

    @classmethod
    def backend(cls) -> str:
        """The weights behind the metric and their states, comma-separated; empty where it needs none."""
        waiting, seen, used = list(cls.needs), set[str](), dict[str, str]()
        while waiting:
            feature = FEATURES[waiting.pop(0)]()
            if feature.name not in seen:
                seen.add(feature.name)
                used |= {r.weight.name: r.state for r in feature.resolved}
                waiting += feature.after if isinstance(feature, Feature) else ()
        return ", ".join(f"{name} {state}" for name, state in used.items())

    def too_few(self, count: int) -> str:
        """The minimum, in words, when `count` is below it, else an empty string."""
        have = counted(count, self.minimum_of[:-1])
        return f"{have}, at least {self.minimum} are needed" if count < self.minimum else ""

    def imprecise(self, count: int) -> str:
        """A note on a value of fewer samples than the minimum, which is ranked all the same; else an empty string."""
        return f"imprecise, which its rank does not consider: {few}" if (few := self.too_few(count)) else ""


@dataclass(frozen=True)
class Part:
    """One clip's share of a weighted mean: the score is sum(total) / sum(weight), the clip's own total / weight.

    `weight` 1 gives a mean over clips, `weight` n_frames a mean over frames, `weight` seconds a rate; `weight` 0 means
    that the metric is undefined for this clip, which is counted and excluded from the mean. `seconds` are the means
    over each whole second of the clip, for metrics of single frames: they show how errors grow along a clip.
    `left_out` are the frames that do not count (`dawn_bench.metrics.scoring.frames.ranges`), empty where all count.
    """

    total: float
    weight: float
    n_frames: int
    n_windows: int = 0
    n_identical: int = 0
    seconds: tuple[float, ...] = ()
    left_out: str = ""


def join_notes(*notes: str) -> str:
    """The notes of a score in one line, separated by semicolons; empty ones are left out."""
    return "; ".join(filter(None, notes))


def reasons(of_clips: Iterable[str]) -> str:
    """Why clips are undefined: `no sound (2), too short (1)`; empty texts do not count."""
    counts = Counter(filter(None, of_clips))
    return ", ".join(f"{reason} ({count})" for reason, count in sorted(counts.items()))


def by_second(values: np.ndarray) -> tuple[float, ...]:
    """The mean of each whole second of a clip's values per frame (T,)."""
    whole = np.asarray(values, np.float64)[: len(values) // FPS * FPS].reshape(-1, FPS)
    return tuple(whole.mean(axis=1).tolist())


def mean_over_time(clips: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The mean over clips second by second, as far as at least half of the clips reach."""
    lengths = sorted((len(c) for c in clips), reverse=True)
    reach = lengths[(len(lengths) - 1) // 2] if lengths else 0
    return tuple(float(np.mean([c[k] for c in clips if len(c) > k])) for k in range(reach))


class RatioMetric(Metric):
    """A weighted mean over clips with a percentile bootstrap over clips."""

    interval = "mean over clips; 95 % bootstrap interval over clips"

    @abstractmethod
    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The clip's share of the mean. Raises `ItemError`."""

    def update(self, generated: Arrays, true: Arrays, *, clip_id: str) -> None:
        """Add one clip; raises `ItemError("not_finite")` for a share that is not finite."""
        part = self.measure(generated, true)
        if not (np.isfinite(part.total) and np.isfinite(part.weight)):
            raise ItemError(
                "not_finite", f"{self.title} of {clip_id} is not a finite number; its frames or features contain NaN"
            )
        self.records[clip_id] = part

    def left_out(self, record: Part) -> str:
        """`all` where the metric is undefined for the clip."""
        return record.left_out if record.weight > 0 else ALL

    def fold(self, records: Mapping[str, Part]) -> Score:
        """sum(total) / sum(weight)."""
        used = {i: p for i, p in records.items() if p.weight > 0}
        per_clip = {i: p.total / p.weight if p.weight > 0 else None for i, p in records.items()}
        undefined = len(records) - len(used)  # no "of": an evaluation counts also the clips that failed
        left_out = f"undefined for {counted(undefined, 'clip')}" if undefined else ""
        n_frames = sum(p.n_frames for p in used.values())
        if not used:
            return Score(None, None, None, 0, 0, note=left_out, per_clip=per_clip)
        total = np.array([p.total for p in used.values()], dtype=np.float64)
        weight = np.array([p.weight for p in used.values()], dtype=np.float64)
        low, high = ratio_interval(total, weight, seed=self.seed)
        count = {"clips": len(used), "frames": n_frames, "windows": sum(p.n_windows for p in used.values())}
        identical = sum(p.n_identical for p in used.values())
        same = f"{identical} of {n_frames} frames equal the true ones" if identical else ""
        note = join_notes(left_out, same, self.imprecise(count[self.minimum_of]))
        over_time = mean_over_time([p.seconds for p in used.values()])
        return Score(float(total.sum() / weight.sum()), low, high, len(used), n_frames, note, per_clip, over_time)


#: Feature and pair feature classes by name.
FEATURES: Registry[type[Feature] | type[PairFeature]] = Registry(
    "feature",
    group="dawn_bench.feature",
    package="dawn_bench.metrics.features",
    base=(Feature, PairFeature),
    has=("name",),
)
#: Metric classes by name.
METRICS: Registry[type[Metric]] = Registry(
    "metric", group="dawn_bench.metric", package="dawn_bench.metrics", base=Metric, has=("name", "title")
)


def worst_state(states: list[str]) -> str:
    """The worst of several weights states; `none` for an empty list."""
    return max(states, key=WEIGHTS_STATES.index, default="none")


def _gathered(records: dict[str, Any]) -> dict[str, Any]:
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return records
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, records)
    return {clip: record for part in parts for clip, record in part.items()}
