"""DiT-Head: a VQGAN of faces, a VQGAN of masked faces, then the transformer on the latents of both."""

from __future__ import annotations

from dawn_bench.models.dit_head.presets import facts, fit_to_cache, preset
from dawn_bench.models.spec import RECIPES, Recipe

RECIPES.register("dit-head")(
    Recipe(
        stages=("vqgan-face", "vqgan-masked", "dit"),
        preset=preset,
        fit_to_cache=fit_to_cache,
        facts=facts,
        after={"dit": "vqgan-masked"},
    )
)
