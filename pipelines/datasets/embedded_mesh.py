"""The embedded synthetic meshes: BIWI's layout and split under a name of their own, never reported as BIWI."""

from __future__ import annotations

from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.datasets.biwi import Biwi


@DATASETS.register("embedded-mesh")
class EmbeddedMesh(Biwi):
    """What `dawn_bench.pipelines.meshes.write.write_meshes` writes."""

    name = "embedded-mesh"
