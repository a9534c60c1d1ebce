"""Runs the features that a set of metrics needs, once per clip.

In a training loop of your own::

    metrics = [METRICS["fid"](), METRICS["ssim"]()]
    extraction = Extraction(metrics)
    for generated, true in pairs:                       # Clips with `frames` uint8 (T,S,S,3)
        for metric in metrics:
            metric.update(*extraction.arrays(metric, generated, true), clip_id=true.id)
    scores = {m.name: m.compute() for m in metrics}
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Feature, Metric, PairFeature, worst_state
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, content_hash
from dawn_bench.provenance import fingerprint
from dawn_bench.text import counted
from dawn_bench.weights import Policy, folder

#: The arrays of a feature, or why the clip has none.
Outcome = dict[str, np.ndarray] | ItemError


class Extraction:
    """The feature extractors of some metrics, with their arrays for the current pair of clips.

    Arrays are written to `features_dir`, or to a temporary folder that lives as long as this object.
    """

    def __init__(
        self,
        metrics: Sequence[Metric | type[Metric]],
        protocol: ScoringProtocol = PAPER_DAWN,
        *,
        weights: Policy = "auto",
        device: str = "cpu",
        features_dir: Path | None = None,
    ) -> None:
        # always on disk: metrics then keep views of files, and memory does not grow with the number of clips
        self._own = TemporaryDirectory(prefix="dawn-bench-features-") if features_dir is None else None
        self.cache = FeatureCache(features_dir or Path(self._own.name if self._own else ""))
        self.extractors: dict[str, Feature | PairFeature] = {}
        self.seconds: dict[str, float] = {}
        waiting = [need for metric in metrics for need in metric.needs]
        while waiting:
            name = waiting.pop()
            if name not in self.extractors:
                self.extractors[name] = FEATURES[name](protocol, weights=weights, device=device)
                self.seconds[name] = 0.0
                waiting += self._after(name)
        self._pair: dict[int, tuple[Clip, dict[str, str], dict[str, Outcome]]] = {}

    def arrays(
        self, metric: Metric | type[Metric], generated: Clip, true: Clip
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The arrays that `metric` needs of the generated and of the true clip (empty where it does not compare).

        Both clips have the same length and size (`dawn_bench.metrics.scoring.matching.matched`). Raises `ItemError`.
        """
        for clip in (generated, true):
            if id(clip) not in self._pair:
                self._pair = {k: v for k, v in self._pair.items() if v[0] is generated or v[0] is true}
                self._pair[id(clip)] = (clip, {}, {})
        ours: dict[str, np.ndarray] = {}
        theirs: dict[str, np.ndarray] = {}
        for name in metric.needs:
            if isinstance(self.extractors[name], PairFeature):
                ours |= self._of(name, generated, true)
            else:
                ours |= self._of(name, generated)
                if metric.compares:
                    theirs |= self._of(name, true)
        return ours, theirs

    def needed(self, metric: Metric | type[Metric]) -> list[str]:
        """Names of all features behind a metric, including those that other features depend on."""
        return sorted(self._with_after(metric.needs))

    def fields(self, metric: Metric | type[Metric]) -> set[str]:
        """Fields of a clip that a metric reads through its features."""
        return {f for name in self.needed(metric) for f in self.extractors[name].fields}

    def weights_state(self, metric: Metric | type[Metric]) -> str:
        """The worst state of the weights behind a metric."""
        return worst_state([self.extractors[name].weights_state for name in self.needed(metric)])

    def fingerprints(self, metric: Metric | type[Metric]) -> dict[str, str]:
        """The fingerprints of the features behind a metric, which include the hashes of their weights."""
        return {name: self.extractors[name].fingerprint for name in self.needed(metric)}

    def _after(self, name: str) -> tuple[str, ...]:
        extractor = self.extractors[name]
        return extractor.after if isinstance(extractor, Feature) else ()

    def _with_after(self, names: Iterable[str]) -> set[str]:
        return {n for name in names for n in (name, *self._with_after(self._after(name)))}

    def _of(self, name: str, clip: Clip, true: Clip | None = None) -> dict[str, np.ndarray]:
        outcomes = self._pair[id(clip)][2]
        if name not in outcomes:
            try:
                outcomes[name] = self._cached(name, clip, true)
            except ItemError as error:
                outcomes[name] = error
        outcome = outcomes[name]
        if isinstance(outcome, ItemError):
            raise outcome
        return outcome

    def _cached(self, name: str, clip: Clip, true: Clip | None) -> dict[str, np.ndarray]:
        behind = sorted(self._with_after([name]))
        fields = sorted({f for n in behind for f in self.extractors[n].fields})
        key = "+".join(self._hash(c, f) for c in (clip, true) if c is not None for f in fields)
        key = hashlib.sha256(key.encode()).hexdigest()
        print_ = fingerprint([self.extractors[n].fingerprint for n in behind])
        cached = self.cache.get(name, print_, key)
        if cached is not None:
            return cached
        try:
            arrays = self._run(name, clip, true)
        except ItemError as error:
            self.cache.put_failure(name, print_, key, error)
            raise
        self.cache.put(name, print_, key, arrays)
        return self.cache.get(name, print_, key) or arrays

    def _run(self, name: str, clip: Clip, true: Clip | None) -> dict[str, np.ndarray]:
        extractor = self.extractors[name]
        given = {k: v for n in self._after(name) for k, v in self._of(n, clip).items()}
        began = time.perf_counter()
        try:
            if isinstance(extractor, PairFeature):
                assert true is not None
                return extractor.run(clip, true)
            return extractor.run(clip, given)
        finally:
            self.seconds[name] += time.perf_counter() - began

    def _hash(self, clip: Clip, field: str) -> str:
        hashes = self._pair[id(clip)][1]
        if field not in hashes:
            if field not in clip:
                raise ItemError(f"no_{field}", f"{clip.id} has no {field}")
            hashes[field] = content_hash(clip, field)
        return hashes[field]


def check_files(
    metrics: Sequence[Metric | type[Metric]], protocol: ScoringProtocol, *, fields: Collection[str] | None = None
) -> None:
    """Raise one `InputError` that names every missing weight file of the metrics.

    It serves the policy `files`, before anything is generated. With `fields`, only metrics that can be computed from
    these fields of a clip count. A file that is damaged raises as well.
    """
    extraction = Extraction(metrics, protocol)
    chosen = [m for m in metrics if fields is None or extraction.fields(m) <= set(fields)]
    networks = [r for m in chosen for name in extraction.needed(m) for r in extraction.extractors[name].resolved]
    missing = {r.weight.name: r.weight for r in networks if r.path is None}.values()
    if missing:
        files = ", ".join(f"{weight.file} ({weight.name})" for weight in missing)
        names = " ".join(weight.name for weight in missing if weight.url)
        fetch = f", or: dawn-bench weights fetch {names}" if names else ""
        lacks = f"lacks {counted(len(missing), 'weight file')}: {files}."
        raise InputError(lacks, path=folder(), hint=f"Put them there{fetch}")
