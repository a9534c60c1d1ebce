"""Vertices of a talking mesh, for the methods that make meshes instead of pictures."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.base import FEATURES, Arrays, Feature


@FEATURES.register("mesh")
class Mesh(Feature):
    """`mesh.vertices` (T,V,3) and, where the clip has it, `mesh.template` (V,3), the face at rest.

    They are the clip's arrays `vertices` and `template`. Raises `ItemError("no_mesh")` for a clip without vertices.
    """

    name, fields, version = "mesh", ("vertices", "template"), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        if "vertices" not in clip:
            raise ItemError("no_mesh", f"{clip.id} has no vertices")
        return {f"mesh.{name}": np.asarray(clip[name]) for name in self.fields if name in clip}
