"""The embedded synthetic dataset: CREMA-D's layout under a name of its own, so scores are never reported as CREMA-D."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS, Source
from dawn_bench.pipelines.datasets.crema import crema
from dawn_bench.pipelines.settings import PrepareSettings


@DATASETS.register("embedded")
def embedded(root: Path, settings: PrepareSettings) -> Iterable[Source]:
    """Sources written by `dawn_bench.pipelines.synthetic.write_embedded` below `root`, listed as in CREMA-D."""
    return crema(root, settings)
