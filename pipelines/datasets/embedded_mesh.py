"""The embedded synthetic meshes: BIWI's layout and split under a name of their own, never reported as BIWI."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.datasets.biwi import split
from dawn_bench.pipelines.meshes.layout import LAYOUTS, Layout, sources
from dawn_bench.pipelines.settings import PrepareSettings

LAYOUTS["embedded-mesh"] = Layout(fps=25, stride=1, split=split)


@DATASETS.register("embedded-mesh")
def embedded_mesh(root: Path, settings: PrepareSettings) -> Iterable[Source]:
    """Sources written by `dawn_bench.pipelines.meshes.write.write_meshes` below `root`."""
    return sources(root, dataset="embedded-mesh")
