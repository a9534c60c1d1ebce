"""What a worker keeps of an evaluation from job to job: clips, networks of metrics, and the method in use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from dawn_bench.baselines.base import modality_of
from dawn_bench.baselines.given_pieces import CUT_FROM_WHOLE, GivenOutputs
from dawn_bench.baselines.outputs import ITEMS_FILE, Output, Production, read_items, read_list
from dawn_bench.baselines.reframe import Reframed, aligned_name
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Metric, PairFeature
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.scoring.matching import Load, Matcher, cut
from dawn_bench.metrics.scoring.needs import without_weights
from dawn_bench.metrics.scoring.pictures import Pictures
from dawn_bench.names import owned
from dawn_bench.provenance import fingerprint
from dawn_bench.workflow.chosen import Chosen, chosen_clips
from dawn_bench.workflow.entries import loaders_of, method_of, takes_of
from dawn_bench.workflow.evaluation import Evaluation

#: Incremented whenever parts of earlier versions no longer count.
VERSION = 1
#: What is done with a clip: it is generated, its features that need no network are computed, and those that do.
Stage = Literal["generate", "plain", "networks"]
#: The stages that compute features.
_FEATURES: set[Stage] = {"plain", "networks"}


@dataclass(frozen=True)
class AsRow:
    """A row of a table: the registered name of its `method`, and the folder of its `outputs`, without aligned faces."""

    method: str
    outputs: Path


class Bench:
    """What a process keeps of an evaluation from job to job: the clips, the networks of metrics, and one method.

    `methods` are those that are built already, by name. `row` is given where the method has another name than in the
    registry.
    """

    def __init__(self, evaluation: Evaluation, chosen: Chosen | None = None, row: AsRow | None = None) -> None:
        self.evaluation, self.row = evaluation, row
        chosen = chosen or chosen_clips(evaluation, Cache(evaluation.cache))
        self.clips, self.protocol = chosen.clips, chosen.protocol
        self.out = chosen.outputs(evaluation.out) if row is None else row.outputs
        self.methods: Mapping[str, Any] = {}
        features = owned(evaluation.out, "features")
        self.match = Matcher(self.protocol, owned(features, "matched"))
        metrics: list[type[Metric]] = [METRICS[name] for name in evaluation.metrics or usual_metrics(self.protocol)]
        lacking = without_weights(metrics, self.protocol, evaluation.weights)
        metrics = [metric for metric in metrics if metric.name not in lacking]
        self.extraction = Extraction(
            [*metrics, Pictures],
            self.protocol,
            weights=evaluation.weights,
            device=evaluation.device,
            features_dir=features,
        )
        fields = set(self.clips[0].arrays)
        self.metrics = [m for m in metrics if evaluation.metrics or self.extraction.fields(m) <= fields]
        shown = [Pictures] if any(m.shows for m in self.metrics) else []
        self._probes = list(self._each_feature([*self.metrics, *shown]))
        drives = {silent: [m for m in self.metrics if (m.driven_by == "silence") == silent] for silent in (False, True)}
        self._measured = {
            silent: {name for m in chosen_for for name in m.needs} | {name for m in shown for name in m.needs}
            for silent, chosen_for in drives.items()
        }
        self._by_id = {clip.id: clip for clip in self.clips}
        self._method: tuple[str, _Generated] | None = None
        self._recorded: dict[str, _Recorded] = {}

    @cached_property
    def facts(self) -> str:
        """A hash of what everything here depends on: clips, protocol, features with their weights, libraries."""
        clips = [
            (clip.id, clip.n_frames, *(clip.meta.get(f"{f}_sha256") for f in ("frames", "audio", "vertices")))
            for clip in self.clips
        ]
        features = {metric.name: self.extraction.fingerprints(metric) for metric in self.metrics}
        computed_by = self.extraction.cache.computed_by
        return fingerprint([VERSION, clips, self.protocol.fingerprint, features, computed_by, self.evaluation.seed])

    def check(self, facts: str) -> None:
        """Raise `InputError` where the run that a job is from has other `facts`: its results would be others."""
        if self.facts != facts:
            what = f"the worker on {platform.node()} has other clips, weights or library versions than this run."
            raise InputError(what, hint="Install the same versions and weights there, and give one shared cache.")

    def clips_of(self, ids: Iterable[str]) -> list[Clip]:
        """The clips with these ids."""
        return [self._by_id[i] for i in ids]

    def generated(self, name: str, *, items: str, method_key: str = "") -> Outputs:
        """What generates clips with a method, recorded in `items`. It stays loaded until another one is asked for.

        Raises `InputError` where it is another one than that of `method_key`, which is empty for any.
        """
        if self._method is None or self._method[0] != name:
            self._method = None  # its memory goes before the next one is loaded
            method = self.methods.get(name) or self._built(name)
            if method_key and key_of(method) != method_key:
                what = f"the method {name} on {platform.node()} has other weights or another version than in this run."
                raise InputError(what, hint="Install the same there, and give one shared checkpoint.")
            aligns = self.row is None and getattr(method, "changes_crop", False)
            self._method = name, _Generated(method, self.clips, self.out, seed=self.evaluation.seed, aligns=aligns)
        return self._method[1].begun(items)

    def _built(self, name: str) -> Any:
        modality = modality_of(self.clips[0])
        if self.row is None:
            return method_of(name, self.evaluation, modality)
        method = method_of(self.row.method, self.evaluation, modality)
        method.name = name
        return method

    def recorded(self, name: str, *, items: str) -> Outputs:
        """Outputs that another process has generated and recorded in `items`: the method is not loaded for them."""
        if name not in self._recorded:
            self._recorded[name] = _Recorded(name, self.out)
        return self._recorded[name].begun(items)

    def measure(self, load: Load, clip: Clip, stages: Iterable[Stage], *, of_silence: bool = False) -> None:
        """Compute the features of one output, of those driven by silence the few that metrics of these need.

        What cannot be computed is stored too, and reported by scoring.
        """
        if not _FEATURES & set(stages):
            return
        with suppress(ItemError):
            output, true, _ = self.match(load, clip)
            for probe in self._probes:
                if probe.stage in stages and set(probe.whole.needs) <= self._measured[of_silence]:
                    with suppress(ItemError):
                        self.extraction.arrays(probe.whole, output, true)

    def measure_truth(self, clip: Clip, stages: Iterable[Stage]) -> None:
        """Compute what all methods share: the features of a true clip with which outputs are compared."""
        true = cut(clip, self.protocol.skip_first, clip.n_frames)
        for probe in self._probes:
            if probe.stage in stages and probe.of_truth is not None:
                with suppress(ItemError):
                    self.extraction.arrays(probe.of_truth, true, true)

    @property
    def compares(self) -> bool:
        """Whether there are features of true clips to compare with."""
        return any(probe.of_truth is not None for probe in self._probes)

    def seconds(self) -> dict[str, float]:
        """The seconds spent on the features of each metric so far; shared features count in each."""
        return {m.name: sum(self.extraction.seconds[n] for n in self.extraction.needed(m)) for m in self.metrics}

    def flush(self) -> None:
        """Have everything on disk that was computed so far."""
        self.match.flush()
        self.extraction.flush()

    def _each_feature(self, metrics: Iterable[type[Metric]]) -> Iterator[_Probe]:
        compared = {name: False for metric in metrics for name in metric.needs}
        for metric in metrics:
            compared |= dict.fromkeys(metric.needs, True) if metric.compares else {}
        for name, compares in compared.items():
            whole = _metric_of(name, compares=compares)
            behind = [self.extraction.extractors[n] for n in self.extraction.needed(whole)]
            stage: Stage = "networks" if any(extractor.device_bound for extractor in behind) else "plain"
            alone = compares and not isinstance(self.extraction.extractors[name], PairFeature)
            yield _Probe(stage, whole, _metric_of(name, compares=False) if alone else None)


@dataclass(frozen=True)
class _Probe:
    """One feature as metrics ask for it: of an output and its true clip, and of a true clip alone."""

    stage: Stage
    whole: type[Metric]
    of_truth: type[Metric] | None


def _metric_of(feature: str, *, compares: bool) -> type[Metric]:
    """A metric that needs one feature and measures nothing."""
    return type("OneFeature", (Metric,), {"needs": (feature,), "compares": compares})


def key_of(method: Any) -> str:
    """A hash of what a method's outputs depend on besides the clips."""
    return fingerprint([method.fingerprint, dict(getattr(method, "further_inputs", {}))])


class Outputs(Protocol):
    """Gives the outputs of clips."""

    def of(self, clip: Clip) -> tuple[Output | None, list[Load]]:
        """The clip's result, None where there is no record of one, and loaders of all its takes."""


class _Generated:
    """The outputs of a method, and where it `aligns` those with aligned faces."""

    def __init__(self, method: Any, clips: Sequence[Clip], out: Path, *, seed: int, aligns: bool) -> None:
        self.method, self.clips, self.out, self.seed, self.aligns = method, clips, out, seed, aligns
        self.production = Production(method, clips, out, seed=seed)
        self._files: dict[str, Path] = {}
        self._aligned: Production | None = None
        self._items = ""

    def begun(self, items: str) -> _Generated:
        """Ready for the clips of one job."""
        self._items = items
        for production in (self.production, self._aligned):
            if production is not None and items != ITEMS_FILE:  # which only this process writes
                production.read(items)
        return self

    def of(self, clip: Clip) -> tuple[Output | None, list[Load]]:
        """The clip's output, and the loaders of all its takes."""
        output = self.production.output(clip, items=self._items)
        outputs = [output]
        if output.path is not None and self.aligns:
            self._files[clip.id] = output.path
            if self._aligned is None:
                method = Reframed(self.method.name, self.method.method_class, self._files, self.method.fingerprint)
                self._aligned = Production(method, self.clips, self.out, seed=self.seed)
            outputs.append(self._aligned.output(clip, items=self._items))
        return output, _loads(outputs, clip)


def _loads(outputs: Iterable[Output], clip: Clip) -> list[Load]:
    return [take[clip.id] for o in outputs for take in takes_of({clip.id: o}, [clip]) if clip.id in take]


class _Recorded:
    """The outputs of a method that another job has generated: the method is not loaded for them."""

    def __init__(self, name: str, out: Path) -> None:
        self._folders = [owned(out, name, ITEMS_FILE).parent, owned(out, aligned_name(name), ITEMS_FILE).parent]
        self._items = [read_items(folder) for folder in self._folders]

    def begun(self, items: str) -> _Recorded:
        """Ready for the clips of one job."""
        for folder, recorded in zip(self._folders, self._items, strict=True):
            recorded |= read_list(folder, items)
        return self

    def of(self, clip: Clip) -> tuple[Output | None, list[Load]]:
        """No record, and the loaders of all takes of the clip's output."""
        recorded = [items[clip.id] for items in self._items if clip.id in items]
        return None, _loads(recorded, clip)


class GivenFiles:
    """A user's files."""

    def __init__(self, given: GivenOutputs) -> None:
        self.given = given

    def of(self, clip: Clip) -> tuple[Output | None, list[Load]]:
        """No record, and the loader of the clip's file, if it has one."""
        files = {i: path for i, path in self.given.files.items() if i == clip.id}
        starts = {i: start for i, start in self.given.starts.items() if i == clip.id}
        notes = dict.fromkeys(starts, (CUT_FROM_WHOLE,))
        return None, list(loaders_of(files, [clip], notes=notes, starts=starts).values())


def import_features() -> None:
    """Import the code of all features, which takes seconds."""
    list(FEATURES)


#: The bench of this process, and of what.
_bench: tuple[str, Bench] | None = None


def bench_of(evaluation: Evaluation, chosen: Chosen | None = None, *, run: str = "", row: AsRow | None = None) -> Bench:
    """The bench of this process, new where the last one was of another evaluation or `run`; `chosen` are its clips.

    A worker of a cluster outlives runs: clips, weights and lists of outputs may have changed since the last one.
    """
    global _bench
    key = f"{os.getpid()} {run} {row} {evaluation!r}"
    if _bench is None or _bench[0] != key or chosen is not None:
        _bench = None
        _bench = key, Bench(evaluation, chosen, row)
    return _bench[1]


def clear_bench() -> None:
    """Release what this process keeps."""
    global _bench
    _bench = None
