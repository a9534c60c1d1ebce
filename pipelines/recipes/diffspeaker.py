"""DiffSpeaker: meshes of BIWI at 25 fps or of VOCASET at 30 fps; the model encodes the sound itself."""

from __future__ import annotations

from dawn_bench.pipelines.recipes.base import RECIPES, Recipe

RECIPES.register("diffspeaker")(
    Recipe(
        title="DiffSpeaker (arXiv 2402.05712); for VOCASET add --dataset vocaset",
        settings={"dataset": "biwi", "extract": ()},
    )
)
