"""Vertices of a talking mesh, for the methods that make meshes instead of pictures, and the face at rest."""

from __future__ import annotations

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.base import FEATURES, Arrays, Feature


@FEATURES.register("mesh")
class Mesh(Feature):
    """`mesh` float (T,V,3): the clip's `vertices`."""

    name, fields, version = "mesh", ("vertices",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        return {self.name: np.asarray(clip["vertices"])}


@FEATURES.register("meshrest")
class MeshRest(Feature):
    """`meshrest` float (1,V,3): the clip's `template`, its subject's face at rest."""

    name, fields, version = "meshrest", ("template",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        return {self.name: np.asarray(clip["template"])}
