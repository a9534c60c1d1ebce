"""The embedded synthetic dataset: CREMA-D's files and names, under its own name so that no score passes for its."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.datasets.crema import crema
from dawn_bench.pipelines.settings import PrepareSettings


@DATASETS.register("embedded")
def embedded(root: Path, settings: PrepareSettings) -> Iterable[Source]:
    """List what `dawn_bench.pipelines.synthetic.write_embedded` wrote below `root`, as CREMA-D is listed."""
    return crema(root, settings)
