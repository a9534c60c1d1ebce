"""Metrics of a user's own clips: folders, files, arrays or clips of a cache, in pairs or as two sets.

It runs on the same extraction, matching and metric classes as the scorer of `evaluate`, so that the same clips give
the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import wasserstein_distance

from dawn_bench.clip import Clip
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import user_path
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Metric, Score, join_notes
from dawn_bench.metrics.scoring.clip_sets import ClipSet, ClipSetLike, SetClip, clip_set, pair_clips
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.feature_cache import content_hash
from dawn_bench.metrics.scoring.frames import missing_end, missing_words
from dawn_bench.metrics.scoring.listing import metric_names
from dawn_bench.metrics.scoring.matching import matched
from dawn_bench.metrics.scoring.needs import check_files, without_weights
from dawn_bench.progress import meter
from dawn_bench.provenance import fingerprint, pick_device, versions
from dawn_bench.results import NEEDS_WEIGHTS, fetch_in
from dawn_bench.storage import raise_if_refused
from dawn_bench.text import counted
from dawn_bench.weights import Policy


@dataclass(frozen=True)
class MetricScore:
    """One metric over the clips given.

    `value` is in `unit`, `low` and `high` its 95 % interval over clips; None where it is undefined, and `note` says
    why. `higher_is_better` is None where neither direction is. `n_clips` and `n_frames` count generated clips and
    frames, `n_reference` the clips compared with. `failures` has the reason for every clip that could not be used (in
    an unpaired comparison `reference/<name>` for those of the reference), `coverage` the share that could.

    `frames_missing` has the last frames of a reference clip that the generated one lacks: it is scored without them.

    `weights_state` is `canonical`, `user`, `seeded` (stand-in weights: comparable with no published number), `none`, or
    `needs-weights`: not computed, as the files of its network are absent; `fetch` is the command that brings them.
    Numbers with one `fingerprint` have the same protocol, weights, libraries, reference and counts.

    In an unpaired comparison a metric that looks at one clip alone, such as Blink/s, has its score of the reference
    set in `reference` and in `distance` the Wasserstein-1 distance between the two distributions of `per_clip` values.
    """

    metric: str
    title: str
    unit: str
    higher_is_better: bool | None
    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_frames: int
    n_reference: int
    coverage: float
    weights_state: str
    protocol: str
    fingerprint: str
    note: str = ""
    per_clip: Mapping[str, float | None] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    frames_missing: Mapping[str, str] = field(default_factory=dict)
    reference: Score | None = None
    distance: float | None = None

    @property
    def fetch(self) -> str:
        """The command that brings the weights that a score which was not computed needs; empty for others."""
        return fetch_in(self.note)


@on_its_device
def compute_metrics(
    *,
    generated: ClipSetLike,
    reference: ClipSetLike | None = None,
    metrics: str | Sequence[str],
    paired: bool = True,
    protocol: str = "paper-dawn",
    protocol_set: Sequence[str] = (),
    weights: Policy = "auto",
    device: str = "auto",
    fps: float | None = None,
    features: str | Path | None = None,
    seed: int = 0,
) -> dict[str, MetricScore]:
    """Scores by metric name; see `dawn_bench.compute_metrics`."""
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise InputError("no metric is given.", hint=f"Known: {', '.join(METRICS)}.")
    rules = find_protocol(protocol, tuple(protocol_set))
    if rules.piece_length is not None:
        what = "piece_length cuts the clips of a cache; clips that are given are scored as they are."
        raise InputError(what, hint="Leave it out, or use evaluate().")
    classes = [METRICS[name] for name in metric_names(names)]
    _check_modes(classes, has_reference=reference is not None, paired=paired)
    if weights == "files":
        check_files(classes, rules)
    outputs = clip_set(generated, side="generated", fps=fps)
    truth = None if reference is None else clip_set(reference, side="reference", fps=fps)
    folder = None if features is None else user_path(features)
    run = _Run(classes, rules, weights=weights, device=pick_device(device), features=folder, seed=seed)
    return run.pairs(outputs, truth) if paired and truth is not None else run.sets(outputs, truth)


def _check_modes(classes: Sequence[type[Metric]], *, has_reference: bool, paired: bool) -> None:
    """Refuse a metric that needs a reference or pairs where there are none."""
    for metric in classes:
        if metric.compares and not has_reference:
            raise InputError(f"{metric.title} compares with true clips.", hint="Give reference=.")
        if metric.compares and not paired and not metric.unpaired:
            sets = ", ".join(name for name in METRICS if METRICS[name].unpaired or not METRICS[name].compares)
            raise InputError(
                f"{metric.title} compares each clip with its own reference.", hint=f"Unpaired sets can have: {sets}."
            )


def _reads(metric: type[Metric], field: str) -> bool:
    """Whether a metric reads `field` of the clips, directly or through a feature that its features depend on."""
    features = [FEATURES[name] for name in metric.needs]
    features += [FEATURES[name] for feature in features for name in getattr(feature, "after", ())]
    return any(field in feature.fields for feature in features)


class _Run:
    """The metrics of one call, their features, and what failed."""

    def __init__(
        self,
        classes: Sequence[type[Metric]],
        protocol: ScoringProtocol,
        *,
        weights: Policy,
        device: str,
        features: Path | None,
        seed: int,
    ) -> None:
        self.protocol, self.device = protocol, device
        self.lacking = without_weights(classes, protocol, weights)
        computed = [cls for cls in classes if cls.name not in self.lacking]
        self.extraction = Extraction(computed, protocol, weights=weights, device=device, features_dir=features)
        self.metrics = [cls(protocol, seed=seed) for cls in classes]
        self.failures: dict[str, dict[str, str]] = {m.name: {} for m in self.metrics}
        self.notes: Counter[str] = Counter()
        self.missing: dict[str, str] = {}
        self.content: list[tuple[str, str]] = []

    def pairs(self, generated: ClipSet, reference: ClipSet) -> dict[str, MetricScore]:
        """Every generated clip against its own reference, as `evaluate` does it."""
        couples = sorted(pair_clips(generated, reference), key=lambda couple: couple[1].name)
        with meter("metrics", total=len(couples), unit="clips") as progress:
            for one, other in couples:
                name = other.name
                try:
                    true = other.read()[0]
                    self._remember(name, true)
                    clip, changed = one.read(true)
                    output, cut, more = matched(clip, true, self.protocol)
                    missing = missing_end(output, true, self.protocol)
                except ItemError as error:
                    self._fail(name, error)
                else:
                    self.notes.update([*changed, *more])
                    self.missing |= {name: missing} if missing else {}
                    for metric in self.metrics:
                        self._check_fields(metric, output)
                        if metric.name in self.lacking:
                            continue
                        try:
                            metric.check_end(missing)
                            metric.update(*self.extraction.arrays(metric, output, cut), clip_id=name)
                        except ItemError as error:
                            self.failures[metric.name][name] = error.reason
                progress.advance()
        scores = {}
        for metric in self.metrics:
            score = metric.compute()
            count = score.n_clips if metric.compares else 0
            scores[metric.name] = self._score(metric, score, score.n_clips, count, total=len(couples))
        return scores

    def sets(self, generated: ClipSet, reference: ClipSet | None) -> dict[str, MetricScore]:
        """All generated clips against all reference clips, or on their own."""
        others = {m.name: type(m)(self.protocol, seed=m.seed) for m in self.metrics if not m.compares}
        total = len(generated.clips) + (len(reference.clips) if reference is not None else 0)
        with meter("metrics", total=total, unit="clips") as progress:
            for clip in sorted(generated.clips, key=lambda c: c.name):
                self._take(clip, {m.name: m for m in self.metrics}, of_reference=False)
                progress.advance()
            for clip in sorted(reference.clips, key=lambda c: c.name) if reference is not None else ():
                self._take(clip, {m.name: others.get(m.name, m) for m in self.metrics}, of_reference=True)
                progress.advance()
        scores = {}
        for metric in self.metrics:
            score = metric.compute()
            if metric.name in others:
                own = others[metric.name].compute() if reference is not None else None
                count = own.n_clips if own is not None else 0
                scores[metric.name] = self._score(metric, score, score.n_clips, count, total=total, reference=own)
            else:
                sides = Counter(name.partition("/")[0] for name in metric.records)
                scores[metric.name] = self._score(metric, score, sides["generated"], sides["reference"], total=total)
        return scores

    def _take(self, item: SetClip, metrics: Mapping[str, Metric], *, of_reference: bool) -> None:
        """One clip of one side into every metric."""
        name = f"reference/{item.name}" if of_reference else item.name
        try:
            clip, changed = item.read()
            if of_reference:
                self._remember(item.name, clip)
            # matched with itself: trimmed, and re-encoded if generated
            output, true, more = matched(clip, clip, self.protocol)
        except ItemError as error:
            self._fail(name, error)
            return
        self.notes.update([*changed, *more])
        clip = true if of_reference else output
        for metric in metrics.values():
            self._check_fields(metric, clip)
            if metric.name in self.lacking:
                continue
            try:
                arrays = self.extraction.arrays(metric, clip, clip)[0]
                if not metric.compares:
                    metric.update(arrays, {}, clip_id=item.name)
                    continue
                nothing = {key: array[:0] for key, array in arrays.items()}
                sides = (nothing, arrays) if of_reference else (arrays, nothing)
                metric.update(*sides, clip_id=f"{'reference' if of_reference else 'generated'}/{item.name}")
            except ItemError as error:
                self.failures[metric.name][name] = error.reason

    def _check_fields(self, metric: Metric, clip: Clip) -> None:
        """Raise `InputError` for a metric of meshes on a video, or of videos on a mesh."""
        kind, lacking, needed = ("video", "vertices", "meshes") if "frames" in clip else ("mesh", "frames", "videos")
        if lacking not in clip and _reads(type(metric), lacking):
            usable = ", ".join(name for name in METRICS if not _reads(METRICS[name], lacking))
            raise InputError(f"{metric.title} needs {needed}; {clip.id} is a {kind}.", hint=f"For a {kind}: {usable}.")

    def _remember(self, name: str, true: Clip) -> None:
        shown = next(field for field in ("frames", "vertices", "audio") if field in true)
        self.content.append((name, content_hash(true, shown)))

    def _fail(self, name: str, error: ItemError) -> None:
        raise_if_refused(error)
        self.notes[f"{name}: {error.detail}"] += 1
        for failures in self.failures.values():
            failures[name] = error.reason

    def _score(
        self,
        metric: Metric,
        score: Score,
        n_clips: int,
        n_reference: int,
        *,
        total: int,
        reference: Score | None = None,
    ) -> MetricScore:
        used = {k: v for k, v in versions().items() if k != "python"}
        lacking = self.lacking.get(metric.name, "")
        prints = {} if lacking else self.extraction.fingerprints(metric)
        facts: list[Any] = [metric.name, self.protocol.fingerprint, prints]
        facts += [fingerprint(self.content), score.n_clips, score.n_frames, self.device.split(":")[0], used]
        failures = self.failures[metric.name]
        notes = [f"{text} ({counted(count, 'clip')})" for text, count in self.notes.items()]
        sides = [[v for v in s.per_clip.values() if v is not None] for s in (score, reference) if s is not None]
        return MetricScore(
            metric=metric.name,
            title=metric.title,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            value=score.value,
            low=score.low,
            high=score.high,
            n_clips=n_clips,
            n_frames=score.n_frames,
            n_reference=n_reference,
            coverage=1 - len(failures) / total,
            weights_state=NEEDS_WEIGHTS if lacking else self.extraction.weights_state(metric),
            protocol=self.protocol.id,
            fingerprint=fingerprint(facts),
            note=lacking or join_notes(score.note, *notes, missing_words(self.missing)),
            per_clip=dict(score.per_clip),
            failures=dict(failures),
            frames_missing=dict(self.missing),
            reference=reference,
            distance=float(wasserstein_distance(*sides)) if len(sides) == 2 and all(sides) else None,
        )
