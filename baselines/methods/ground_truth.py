"""The true clip itself: the ceiling of every metric that compares with the truth."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, serves


class GroundTruth:
    """Frames and sound, or vertices, as they are in the cache."""

    name = "ground-truth"
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    uses: tuple[str, ...] = ("truth",)
    fingerprint = "ground-truth/1"

    def generate(self, item: Item) -> Generated:
        """The true frames and audio."""
        return Generated(item.clip["frames"], np.asarray(item.clip["audio"]))


class GroundTruthMesh(GroundTruth):
    """The true vertices: no error at all."""

    fingerprint = "mesh-ground-truth/1"

    def generate(self, item: Item) -> Generated:
        """The true vertices as one take."""
        return Generated(vertices=np.asarray(item.clip["vertices"])[None])


@METHODS.register("ground-truth")
@serves("video", "mesh")
def build(context: Context) -> GroundTruth:
    """No options."""
    return GroundTruthMesh() if context.modality == "mesh" else GroundTruth()
