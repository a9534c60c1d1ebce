"""CSIM: cosine similarity of identity embeddings (ArcFace, Deng et al. 2019), frame by frame.

Generated frame t is compared with true frame t (the ground truth then scores 1), or with the source, the first true
frame with a face (`csim_reference=source`). Mean over the pairs in which both faces were detected, then over clips. The
note gives the share of missed pairs (`csim_missing=zero`: they count 0), and the network where it is not ArcFace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dawn_bench.metrics.features.identity import STRIDE
from dawn_bench.metrics.features.landmarks import variant_of
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, Score, join_notes
from dawn_bench.metrics.scoring.frames import ranges

#: Rows whose cosines are taken at once.
_BLOCK = 4096
#: Notes for networks other than the canonical one.
NOTES = {
    "arcface-r100": "ArcFace IResNet100, not the IResNet50",
    "dlib": "dlib 128-d embedding, not ArcFace, every 5th frame",
    "mobilefacenet": "MobileFaceNet 128-d embedding, not insightface's ArcFace",
}


@dataclass(frozen=True)
class Faces(Part):
    """A clip's share, its network, and the number of frame pairs without a face in one of them."""

    network: str = ""
    missed: int = 0


@METRICS.register("csim")
class Csim(RatioMetric):
    """Mean over clips of the mean cosine, -1..1."""

    group = "identity"
    name, title, higher_is_better, order = "csim", "CSIM", True, 70
    description = "Cosine similarity of the face embeddings of generated and true frame, frame by frame: identity."
    needs = ("identity",)
    shows = ("face", "motion")
    #: Notes by network.
    notes: ClassVar[Mapping[str, str]] = NOTES

    def measure(self, generated: Arrays, true: Arrays) -> Faces:
        """The clip's mean cosine; weight 0 where no pair has both faces."""
        (feature,) = self.needs
        network, ours = variant_of(generated, feature)
        theirs, seen = variant_of(true, feature)[1], f"{feature}.found"
        count = min(len(ours), len(theirs))
        both = generated[seen][:count]
        if self.protocol.csim_reference == "source":
            theirs = np.broadcast_to(theirs[np.argmax(true[seen])], (count, theirs.shape[1]))
        else:
            both = both & true[seen][:count]
        pairs = int(both.sum())
        zero = self.protocol.csim_missing == "zero"
        numbers = np.flatnonzero(~both) * STRIDE.get(network, 1) + self.protocol.skip_first
        total = float(cosines(ours[:count][both], theirs[:count][both]).sum()) / (count if zero else max(pairs, 1))
        return Faces(
            total,
            1 if zero else min(pairs, 1),
            n_frames=pairs,
            network=network,
            missed=count - pairs,
            left_out="" if zero else ranges(numbers),
        )

    def fold(self, records: Mapping[str, Faces]) -> Score:  # type: ignore[override]
        """The mean over clips, with network and missed pairs in the note."""
        score = super().fold(records)
        missed, pairs = (sum(getattr(r, k) for r in records.values()) for k in ("missed", "n_frames"))
        texts = [score.note, *(self.notes[n] for n in sorted({r.network for r in records.values()}) if n in self.notes)]
        if missed:
            texts.append(f"no face in {missed / (missed + pairs):.1%} of the frames")
        return replace(score, note=join_notes(*texts))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of `a` with the same row of `b`: float64 (N,) of float (N,D)."""
    similar = np.empty(len(a))
    for start in range(0, len(a), _BLOCK):  # an hour in float64, with its products, takes 2 GB
        part = slice(start, start + _BLOCK)
        x, y = a[part].astype(np.float64), b[part].astype(np.float64)
        similar[part] = (x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return similar
