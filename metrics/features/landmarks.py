"""The 68 face landmarks of every frame, detected once for identity, head pose, beats and blinks.

They are always detected in the scored frames, never taken from the cache: cached landmarks may come from sharper
sources or another model, and generated and true clips would then be measured differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.lazy import each_row
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature
from dawn_bench.metrics.scoring.person import FOUND, OTHERS, OTHERS_FOUND, TRACKS
from dawn_bench.pipelines.faces.base import FaceBackend, KnownNetworks, backend_name, declared_weights, pick_backend
from dawn_bench.pipelines.faces.choice import MOST_FACES
from dawn_bench.pipelines.faces.repeated import once_per_picture
from dawn_bench.pipelines.faces.tracking import Tracker
from dawn_bench.provenance import fingerprint
from dawn_bench.training.mouth import mouth_opening
from dawn_bench.weights import Policy, Resolved
from dawn_bench.weights_needs import Needs
from dawn_bench.weights_table import Weight

__all__ = [
    "FOUND",
    "Landmarks",
    "face_needs",
    "face_weights",
    "landmarks_of",
    "model_note",
    "seen_landmarks",
    "seen_opening",
    "variant_of",
]

#: Arrays beside the variants.
_BESIDE = {"found", "tracks", "others", "others_found"}


@FEATURES.register("landmarks")
class Landmarks(Feature):
    """`landmarks.<model>` float32 (T,68,2), pixels of the frame, and `landmarks.found` bool (T,).

    Points of frames without a face are interpolated between their neighbours. Raises `ItemError("no_face")` when no
    frame has one. With several faces these are of the one that the tracker chooses; `landmarks.tracks` int64 (1,) is
    their number, and `landmarks.others` (K,T,68,2) and `landmarks.others_found` (K,T) are the others. Features and
    metrics receive points and flags of the face that the true clip is about (`dawn_bench.metrics.scoring.person`).
    """

    name, fields, version = "landmarks", ("frames",), 1
    lists_faces = True

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        self.backend = pick_backend()
        self.resolved += face_weights(self.backend)

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The files of the face back end."""
        return face_needs()

    def settings(self) -> Mapping[str, Any]:
        """The face back end."""
        return {"faces": self.backend.fingerprint()}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """Points and detection flags of every frame."""
        frames = clip["frames"]
        tracker = Tracker(once_per_picture(self.backend), max_gap=len(frames), max_tracks=MOST_FACES)
        for frame in each_row(frames):
            tracker.step(frame)
        chosen = tracker.choose()
        points, detected = tracker.result(chosen)
        arrays = {f"{self.name}.{self.backend.name}": points, FOUND: detected}
        arrays[TRACKS] = np.array([len(tracker.tracks)])
        others = [tracker.result(track) for track in tracker.tracks if track is not chosen]
        if others:
            arrays[OTHERS], arrays[OTHERS_FOUND] = (np.stack(part) for part in zip(*others, strict=True))
        return arrays


def face_needs() -> Needs:
    """The files of the face back end that scores use."""
    return declared_weights(backend_name())


def face_weights(backend: FaceBackend) -> list[Resolved]:
    """The weights that a face back end has opened and their states; one with files of its own counts as `user`.

    These are real networks under every policy: seeded weights would detect no face.
    """
    if not hasattr(backend, "networks"):
        network = Weight(
            name=backend.name,
            file="",
            purpose="face points",
            origin=f"the package {backend.name}",
            licence="the package's own",
        )
        return [Resolved(network, "user", None, fingerprint(backend.fingerprint()))]
    return list(cast(KnownNetworks, backend).networks)


def landmarks_of(arrays: Arrays) -> tuple[str, np.ndarray]:
    """The landmark model and its points (T,68,2), from a clip's arrays."""
    return variant_of(arrays, "landmarks")


def seen_landmarks(arrays: Arrays) -> tuple[str, np.ndarray]:
    """As `landmarks_of`, float64, with NaN in the frames in which no face was detected."""
    model, points = landmarks_of(arrays)
    points = points.astype(np.float64)
    if (detected := arrays.get(FOUND)) is not None:
        points[~detected] = np.nan
    return model, points


def model_note(records: Iterable[Any]) -> str:
    """`landmarks by dlib`: the landmark models of records that have a `model`, for a note."""
    return f"landmarks by {', '.join(sorted({record.model for record in records}))}"


def seen_opening(arrays: Arrays) -> tuple[str, np.ndarray]:
    """The landmark model and the mouth's opening float64 (T,), NaN in the frames in which no face was detected.

    A repeated picture has the opening of the picture before it: landmarks drift on it for seconds, since each search
    begins where the last one ended.
    """
    model, points = seen_landmarks(arrays)
    opening = mouth_opening(points)
    for t in np.flatnonzero(arrays.get("repeated", False)):
        opening[t] = opening[t - 1]
    return model, opening


def variant_of(arrays: Arrays, name: str) -> tuple[str, np.ndarray]:
    """(variant, array) of the only array called `<name>.<variant>` that is neither a flag nor about other faces."""
    key = next(k for k in arrays if k.startswith(f"{name}.") and k.removeprefix(f"{name}.") not in _BESIDE)
    return key.removeprefix(f"{name}."), arrays[key]
