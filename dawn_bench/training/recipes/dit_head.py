"""DiT-Head: a VQGAN of faces, a VQGAN of masked faces, then the transformer on the latents of both."""

from __future__ import annotations

from dawn_bench.training.dit_head import facts, fit_to_cache, preset
from dawn_bench.training.recipe import RECIPES, Recipe

RECIPES.register("dit-head")(
    Recipe(
        stages=("vqgan-face", "vqgan-masked", "dit"),
        preset=preset,
        fit_to_cache=fit_to_cache,
        facts=facts,
        after={"dit": "vqgan-masked"},
    )
)
