"""What `dawn-bench train --model NAME` needs to know of a model; one file each in `training/recipes/`.

A model's settings are a `Config` with the fields `preset` and `note` and one field per stage: stage `a2v-1` has the
field `a2v_1`, which is None where a preset leaves the stage out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """`stages` are names of `STAGES` in the order in which `--stage all` trains them."""

    stages: tuple[str, ...]
    #: The settings of a preset by name; raises `InputError` listing the known ones.
    preset: Callable[[str], Any]
    #: Settings with what only the data knows; raises `InputError` when the cache holds no data for this model.
    fit_to_cache: Callable[[Any, Cache], Any]
    #: Facts of the data that the checkpoints' provenance keeps.
    facts: Callable[[Cache], Mapping[str, Any]]
    #: Stages that learn from the checkpoint of an earlier one.
    after: Mapping[str, str] = field(default_factory=dict)


def stage_key(name: str) -> str:
    """What the settings and `--set` call a stage."""
    return name.replace("-", "_")


#: Models by command-line name.
RECIPES: Registry[Recipe] = Registry("model", group="dawn_bench.model", package="dawn_bench.models", module="spec")
