"""The embedded synthetic dataset: CREMA-D's layout under a name of its own, so scores are never reported as CREMA-D."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dawn_bench.pipelines.datasets.base import DATASETS, Dataset, Source
from dawn_bench.pipelines.datasets.crema import Crema
from dawn_bench.pipelines.settings import PrepareSettings


@DATASETS.register("embedded")
class Embedded(Dataset):
    """What `dawn_bench.pipelines.synthetic.write_embedded` writes."""

    name = "embedded"

    def sources(self, root: Path, settings: PrepareSettings) -> Iterable[Source]:
        """Sources of the clips below `root`, listed as in CREMA-D."""
        return (replace(source, cropped=False) for source in Crema().sources(root, settings))
