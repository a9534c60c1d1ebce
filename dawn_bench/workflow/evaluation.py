"""What one evaluation is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import MethodClass
from dawn_bench.weights import Policy


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate and how; see `dawn-bench evaluate --help`."""

    cache: Path
    out: Path
    methods: tuple[str, ...] = ("dawn",)
    checkpoint: Path | None = None
    outputs: Path | None = None
    mapping: Path | None = None
    split: str = "test"
    metrics: tuple[str, ...] | None = None
    max_clips: int | None = None
    protocol: str = "paper-dawn"
    protocol_set: tuple[str, ...] = ()
    weights: Policy = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    sanity: bool = True
    methods_file: Path | None = None
    method_class: MethodClass | None = None
    naming: str = "{clip}"
    min_coverage: float = 0.5
    seed: int = 0
    device: str = "cpu"
    notes: tuple[str, ...] = ()
