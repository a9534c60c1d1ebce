"""Diffused Heads: CREMA-D at 128 px, aligned to a mean face (the authors' README)."""

from __future__ import annotations

from dawn_bench.pipelines.recipes.base import RECIPES, Recipe

RECIPES.register("diffused-heads")(
    Recipe(
        title="Diffused Heads (arXiv 2301.03396)",
        settings={"dataset": "crema", "size": 128},
        differs=(
            "its clips are aligned to a mean face: the authors' aligned clips are taken whole, the original ones are "
            "only cropped",
        ),
    )
)
