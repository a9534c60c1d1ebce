"""DAWN: LFG, A2V-FDM in its stages, PBNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.presets import fit_to_cache, preset
from dawn_bench.models.spec import RECIPES, Recipe
from dawn_bench.pipelines.extractors.base import audio_encoder_of


def facts(cache: Cache) -> Mapping[str, Any]:
    """Side of the frames, and the sound features."""
    return {"size": cache.size, "audio_encoder": audio_encoder_of(next(iter(cache)))}


RECIPES.register("dawn")(
    Recipe(
        stages=("lfg", "a2v-1", "a2v-2", "a2v-ttr", "pbnet"),
        preset=preset,
        fit_to_cache=fit_to_cache,
        facts=facts,
        after={"a2v-1": "lfg", "a2v-2": "lfg", "a2v-ttr": "lfg"},
    )
)
