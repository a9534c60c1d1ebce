"""DiffSpeaker: one stage, on a mesh cache."""

from __future__ import annotations

from dawn_bench.models.diffspeaker.presets import facts, fit_to_cache, preset
from dawn_bench.models.spec import RECIPES, Recipe

RECIPES.register("diffspeaker")(Recipe(stages=("diffspeaker",), preset=preset, fit_to_cache=fit_to_cache, facts=facts))
