"""DiT-Head: Wav2Vec2 features, 11 to a frame. The paper states no crop; size and crop are those of our preset."""

from __future__ import annotations

from dawn_bench.pipelines.recipes.base import RECIPES, Recipe

RECIPES.register("dit-head")(
    Recipe(
        title="DiT-Head (arXiv 2312.06400)",
        settings={"size": 256, "crop": "face", "extract": ("pose", "blink", "wav2vec2", "masks")},
        differs=("size and crop are ours: what is known of the paper states neither",),
    )
)
