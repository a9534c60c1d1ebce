"""A recipe: the settings of `prepare` with which a paper, or its code, prepared data (`prepare --like NAME`).

A recipe states what is known and leaves everything else at its default. Settings that are given beside it override it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dawn_bench.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """How the data of a paper were prepared.

    Args:
        title: the method, and where the facts are from.
        settings: `PrepareSettings` that differ from the defaults, by name.
        differs: sentences on what these settings cannot reproduce, for the user.
    """

    title: str
    settings: Mapping[str, Any]
    differs: tuple[str, ...] = ()


#: Recipes by the name that `--like` takes.
RECIPES: Registry[Recipe] = Registry(
    "recipe", group="dawn_bench.recipe", package="dawn_bench.pipelines.recipes", base=Recipe
)
