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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import (
    FEATURES,
    KNOWN_FRAMES,
    KNOWN_ROWS,
    TARGET,
    Feature,
    Metric,
    PairFeature,
    worst_state,
)
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, content_hash
from dawn_bench.metrics.scoring.matching import whole_of
from dawn_bench.metrics.scoring.person import (
    TRACKS,
    Person,
    clearly_at,
    face_at,
    faces_of,
    person_of,
    target_of,
    which,
)
from dawn_bench.provenance import FEATURE_LIBRARIES, fingerprint, versions
from dawn_bench.storage import raise_if_refused
from dawn_bench.weights import Policy

#: The arrays of a feature, or why the clip has none.
Outcome = dict[str, np.ndarray] | ItemError

#: Bytes of a feature's arrays up to which a pair of clips keeps them; larger ones are read from the store each time.
KEPT = 1 << 26

#: Moments at which two clips are compared before equal frames are looked for in all of them.
_MOMENTS = 8

#: The feature that lists the faces of a clip.
_FACES = "landmarks"


@dataclass
class _Entry:
    """A clip of the current pair, what is known of it, and the true clip that says which of its faces is meant."""

    clip: Clip
    true: Clip
    hashes: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    faces: Outcome | None = None
    person: Person | ItemError | None = None  # of a true clip


class Extraction:
    """The feature extractors of some metrics, with their arrays for the current pair of clips.

    Arrays are written to `features_dir`, or to a temporary folder that lives as long as this object and what metrics
    keep of its arrays. `writer` is as in `FeatureCache`.
    """

    def __init__(
        self,
        metrics: Sequence[Metric | type[Metric]],
        protocol: ScoringProtocol = PAPER_DAWN,
        *,
        weights: Policy = "auto",
        device: str = "cpu",
        features_dir: Path | None = None,
        writer: str = "",
    ) -> None:
        # the version of dawn-bench is not among them: that of each feature is in its fingerprint
        libraries = {name: number for name, number in versions(FEATURE_LIBRARIES).items() if name != "python"}
        kind = device.split(":")[0]
        computed_by = fingerprint([kind, libraries])
        # always on disk: metrics then keep places in files, and memory does not grow with the number of clips;
        # earlier versions computed some features in TF32 on a GPU
        self.cache = FeatureCache(features_dir, computed_by, trusted=kind == "cpu", writer=writer)
        self.extractors: dict[str, Feature | PairFeature] = {}
        self.seconds: dict[str, float] = {}
        waiting = [need for metric in metrics for need in metric.needs]
        while waiting:
            name = waiting.pop()
            if name not in self.extractors:
                self.extractors[name] = FEATURES[name](protocol, weights=weights, device=device)
                self.seconds[name] = 0.0
                waiting += self._after(name)
                if self._follows(name) == "tracked":
                    waiting.append(_FACES)
        self._pair: dict[int, _Entry] = {}

    def arrays(
        self, metric: Metric | type[Metric], generated: Clip, true: Clip
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The arrays that `metric` needs of the generated and of the true clip (empty where it does not compare).

        Both clips have the same length and size (`dawn_bench.metrics.scoring.matching.matched`). Raises `ItemError`.
        """
        self._pair = {k: e for k, e in self._pair.items() if e.clip is generated or e.clip is true}
        for clip in (generated, true):
            entry = self._pair.get(id(clip))
            if entry is None or entry.true is not true:
                hashes = {} if entry is None else entry.hashes
                self._pair[id(clip)] = _Entry(clip, true, hashes)
        ours: dict[str, np.ndarray] = {}
        theirs: dict[str, np.ndarray] = {}
        wanted: list[tuple[dict[str, np.ndarray], str, Clip, Clip | None]] = []
        for name in metric.needs:
            pair = isinstance(self.extractors[name], PairFeature)
            wanted.append((ours, name, generated, true if pair else None))
            if metric.compares and not pair:
                wanted.append((theirs, name, true, None))
        for _, name, clip, other in wanted:  # one after the other: computing those of a long clip takes memory
            self._of(name, clip, other)
        for arrays, name, clip, other in wanted:
            arrays |= self._of(name, clip, other)
        return ours, theirs

    def flush(self) -> None:
        """Write the arrays that are not on disk yet."""
        self.cache.flush()

    def needed(self, metric: Metric | type[Metric]) -> list[str]:
        """Names of all features behind a metric, including those that other features depend on."""
        return sorted(self._with_after(metric.needs))

    def fields(self, metric: Metric | type[Metric]) -> set[str]:
        """Fields of a clip that a metric reads through its features."""
        return {f for name in self.needed(metric) for f in self.extractors[name].fields}

    def weights_state(self, metric: Metric | type[Metric]) -> str:
        """The worst state of the weights behind a metric."""
        return worst_state([self.extractors[name].weights_state for name in self.needed(metric)])

    def research_only(self, metric: Metric | type[Metric]) -> list[str]:
        """Registry names of the weights behind a metric that are licensed for research only."""
        return sorted({name for needed in self.needed(metric) for name in self.extractors[needed].research_only})

    def fingerprints(self, metric: Metric | type[Metric]) -> dict[str, str]:
        """The fingerprints of the features behind a metric, which include the hashes of their weights."""
        return {name: self.extractors[name].fingerprint for name in self.needed(metric)}

    def _after(self, name: str) -> tuple[str, ...]:
        extractor = self.extractors[name]
        return extractor.after if isinstance(extractor, Feature) else ()

    def _follows(self, name: str) -> str:
        extractor = self.extractors[name]
        return extractor.follows if isinstance(extractor, Feature) else ""

    def _with_after(self, names: Iterable[str]) -> set[str]:
        return {n for name in names for n in (name, *self._with_after(self._after(name)))}

    def _of(self, name: str, clip: Clip, true: Clip | None = None) -> dict[str, np.ndarray]:
        outcomes = self._pair[id(clip)].outcomes
        if name not in outcomes:
            outcome: Outcome
            try:
                if name == _FACES and self._lists_faces:
                    outcome = face_at(self._faces(clip), self._face(clip))
                else:
                    outcome = self._cached(name, clip, true)
            except ItemError as error:
                outcome = error
            if not isinstance(outcome, ItemError) and sum(a.nbytes for a in outcome.values()) > KEPT:
                return outcome
            outcomes[name] = outcome
        return _arrays(outcomes[name])

    def _cached(self, name: str, clip: Clip, true: Clip | None = None) -> dict[str, np.ndarray]:
        behind = sorted(self._with_after([name]))
        fields = sorted({f for n in behind for f in self.extractors[n].fields})
        key = self._key(fields, clip, true)
        if name != _FACES and _FACES in behind and (face := self._face(clip)):
            key += f"-face{face}"  # of the clip's faces, which its frames determine
        target = self._target(name, clip)
        at = ""
        if target is not None:
            at += f"-at{target.digest()}"
        print_ = fingerprint([self.extractors[n].fingerprint for n in behind])
        extractor = self.extractors[name]
        if isinstance(extractor, PairFeature):
            assert true is not None
            return self._stored(
                name, name, print_, key + at, partial(self._timed, name, partial(extractor.run, clip, true))
            )

        def run() -> dict[str, np.ndarray]:
            given = {k: v for n in self._after(name) for k, v in self._of(n, clip).items()}
            if target is not None:
                given[TARGET] = target.face.boxes
            given |= self._known(extractor, clip, print_)
            for part, read in extractor.parts.items():
                work = partial(self._timed, name, partial(extractor.run_part, part, clip, dict(given)))
                given |= self._stored(name, f"{name}.{part}", print_, self._key(sorted(read), clip) + at, work)
            return self._timed(name, partial(extractor.run, clip, given))

        of_parts = {f for read in extractor.parts.values() for f in read}
        if of_parts != set(fields):
            return self._stored(name, name, print_, key + at, run)
        # where the parts read all fields, they are all that is stored; earlier versions stored the whole
        whole = self.cache.get(name, print_, key + at)
        return run() if whole is None else whole

    def _known(self, extractor: Feature, clip: Clip, print_: str) -> dict[str, np.ndarray]:
        """The stored rows of the whole true clip, where some frames of `clip` are those of its true clip."""
        true = self._pair[id(clip)].true
        whole, field = whole_of(true), extractor.fields[0]
        if not extractor.reuses or whole is clip or f"{field}_sha256" not in whole.meta:
            return {}
        if clip is not true and not _share_frames(clip[field], true[field]):
            return {}
        key = hashlib.sha256(content_hash(whole, field).encode()).hexdigest()
        with suppress(ItemError):
            if (stored := self.cache.get(extractor.name, print_, key)) is not None:
                return {KNOWN_FRAMES: whole[field], KNOWN_ROWS: stored[extractor.reuses]}
        return {}

    def _stored(
        self, name: str, label: str, print_: str, key: str, run: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """What `run` returns, or raises, for the feature `name`; stored as `label`, and not run where it is there."""
        cached = self.cache.get(label, print_, key)
        earlier = name == _FACES and self._lists_faces and cached is not None and TRACKS not in cached
        if cached is not None and not earlier:  # earlier versions kept one face, whichever moved its lips
            return cached
        try:
            arrays = run()
        except ItemError as error:
            raise_if_refused(error)
            self.cache.put_failure(label, print_, key, error)
            raise
        self.cache.put(label, print_, key, arrays)
        if sum(array.nbytes for array in arrays.values()) > KEPT:
            del arrays  # before they are read again
            return self.cache.get(label, print_, key) or run()
        return self.cache.get(label, print_, key) or arrays

    def _timed(self, name: str, run: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        began = time.perf_counter()
        try:
            return run()
        finally:
            self.seconds[name] += time.perf_counter() - began

    def _key(self, fields: Sequence[str], clip: Clip, true: Clip | None = None) -> str:
        key = "+".join(self._hash(c, f) for c in (clip, true) if c is not None for f in fields)
        return hashlib.sha256(key.encode()).hexdigest()

    def _hash(self, clip: Clip, field: str) -> str:
        hashes = self._pair[id(clip)].hashes
        if field not in hashes:
            if field not in clip:
                raise ItemError(f"no_{field}", f"{clip.id} has no {field}")
            hashes[field] = content_hash(clip, field)
        return hashes[field]

    @property
    def _lists_faces(self) -> bool:
        """Whether the feature `landmarks` in use reports all faces; one that somebody registered may not."""
        extractor = self.extractors.get(_FACES)
        return isinstance(extractor, Feature) and extractor.lists_faces

    def _faces(self, clip: Clip) -> dict[str, np.ndarray]:
        """The landmarks of all faces of a clip; raises `ItemError`."""
        entry = self._pair[id(clip)]
        if entry.faces is None:
            try:
                entry.faces = self._cached(_FACES, clip)
            except ItemError as error:
                entry.faces = error
        return _arrays(entry.faces)

    def _face(self, clip: Clip) -> int:
        """Index of the face that is meant among those of a clip; raises `ItemError("no_face")`."""
        if not self._lists_faces:
            return 0
        faces, true = faces_of(self._faces(clip)), self._pair[id(clip)].true
        target = target_of(true)
        if target is not None and clearly_at(faces, target):
            return 0
        try:
            person = self._person(true)
        except ItemError:  # the true clip's face cannot be detected: nobody else is either
            return 0
        return which(clip.id, faces, person)

    def _person(self, true: Clip) -> Person:
        """Whom a true clip is about; raises `ItemError`."""
        entry = self._pair[id(true)]
        if entry.person is None:
            try:
                entry.person = person_of(true, faces_of(self._faces(true)))
            except ItemError as error:
                entry.person = error
        if isinstance(entry.person, ItemError):
            raise entry.person
        return entry.person

    def _target(self, name: str, clip: Clip) -> Person | None:
        """Whom a feature that detects faces itself has to follow; None where one face is in view."""
        follows, true = self._follows(name), self._pair[id(clip)].true
        if follows == "index":
            tracks = true.meta.get("tracks")  # of anybody's index
            face = target_of(true) if isinstance(tracks, int | float) and tracks > 1 else None
            return None if face is None else Person(face)
        if follows == "tracked":
            try:
                person = self._person(true)
                if not person.alone or len(faces_of(self._faces(clip))) > 1:
                    return person
            except ItemError:  # of the 68 points; the feature's own detector may see the face
                return None
        return None


def _share_frames(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether frames of two clips are equal at one of a few moments."""
    at = np.unique(np.linspace(0, min(len(one), len(two)) - 1, _MOMENTS).astype(int))
    return any(np.array_equal(one[t], two[t]) for t in at)


def _arrays(outcome: Outcome) -> dict[str, np.ndarray]:
    """The arrays of an outcome; raises the `ItemError` that it is instead."""
    if isinstance(outcome, ItemError):
        raise outcome
    return outcome
