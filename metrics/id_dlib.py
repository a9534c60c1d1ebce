"""ID (dlib): cosine similarity of dlib's face embeddings, frame by frame. Higher is better, -1..1.

The embedding comes with a Python package, so that the number is real without a download. It is not ArcFace's, and its
cosines lie close together: one person's frames reach .99, two people .9. Only differences between methods are
informative, and the true clips of other people are the floor. Every fifth frame is embedded. The protocol's
`csim_reference` and `csim_missing` apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dawn_bench.metrics.csim import Csim
from dawn_bench.metrics.scoring.base import METRICS


@METRICS.register("id-dlib")
class IdDlib(Csim):
    """Mean over clips of the mean cosine."""

    name, title, order, optional = "id-dlib", "ID (dlib)", 72, True
    description = (
        "Cosine similarity of dlib's face embeddings of generated and true frame, every fifth frame: identity, by a "
        "network that needs no download. Two people reach .9, so read it as a distance from 1. Not CSIM."
    )
    needs = ("id-dlib",)
    notes: ClassVar[Mapping[str, str]] = {}
