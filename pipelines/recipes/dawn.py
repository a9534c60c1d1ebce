"""DAWN: frames resized without any other step (paper, Section 4.1); conditions as in the released code."""

from __future__ import annotations

from dawn_bench.pipelines.recipes.base import RECIPES, Recipe

RECIPES.register("dawn")(
    Recipe(
        title="DAWN (arXiv 2410.13726) and its released weights; for those of 256 px add --size 256",
        settings={
            "size": 128,
            "crop": "paper",
            "pose": "3ddfa",
            "blink": "one-pair",
            "extract": ("pose", "blink", "hubert", "masks"),
        },
        differs=(
            "eyes and face boxes are of the face back end's 68 points, not of 3DDFA_V2's",
            "DAWN smoothed its head poses and blinks in a way that is not published",
            "DAWN's CREMA-D clips were the aligned ones of Diffused Heads",
        ),
    )
)
