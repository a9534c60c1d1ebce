"""DAWN's presets by name: quick ones, those with published settings, and `NAME+ABLATION`.

The audio width is taken from the cache (`fit_to_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import unknown_name
from dawn_bench.models.dawn.ablations import ABLATIONS, TTR_STRIDE
from dawn_bench.models.dawn.published_presets import (
    dawn_128,
    dawn_128_24gb,
    dawn_128_crema,
    dawn_128_fixed,
    dawn_128_paper,
    dawn_128_vox,
    dawn_256,
)
from dawn_bench.models.dawn.quick_presets import small, tiny
from dawn_bench.models.dawn.settings import TrainSettings
from dawn_bench.models.dawn.substitutes import of_checkpoint
from dawn_bench.models.notes import training_notes
from dawn_bench.pipelines.extractors.base import audio_encoder_of
from dawn_bench.progress import console

__all__ = ["ABLATIONS", "PRESETS", "TTR_STRIDE", "facts", "fit_to_cache", "frame_size", "preset", "report_notes"]

#: The former suffix of the names of `-fixed` presets.
_FORMER_ENDING = "-mended"

PRESETS: dict[str, Callable[[], TrainSettings]] = {
    "tiny": tiny,
    "small": small,
    "dawn-128": dawn_128,
    "dawn-128-24gb": dawn_128_24gb,
    "dawn-128-fixed": dawn_128_fixed,
    "dawn-128-paper": dawn_128_paper,
    "dawn-256": dawn_256,
    "dawn-128-crema": dawn_128_crema,
    "dawn-128-vox": dawn_128_vox,
}


def preset(name: str) -> TrainSettings:
    """The preset called `name`, or `name+ablation`; raises `InputError` listing the known names.

    The former suffix `-mended` of `-fixed` still works, with a note.
    """
    base, plus, change = name.partition("+")
    if base.endswith(_FORMER_ENDING):
        base = base.removesuffix(_FORMER_ENDING) + "-fixed"
        console().print(f"preset {name} is now called {base}{plus}{change}")
        name = f"{base}{plus}{change}"
    if base not in PRESETS:
        raise unknown_name("preset", base, PRESETS)
    if not change:
        return PRESETS[base]()
    if change not in ABLATIONS:
        raise unknown_name("ablation", change, ABLATIONS)
    changed = ABLATIONS[change](PRESETS[base]())
    return changed.model_copy(update={"preset": name, "note": f"{changed.note}; {change}"})


def frame_size(settings: TrainSettings) -> int | None:
    """The side of the frames that a preset with published settings is for; None for the quick ones and other networks.

    A network of another size trains as well, but takes no released weights and compares with no published number.
    """
    base = settings.preset.partition("+")[0]
    if base not in PRESETS or not base.startswith("dawn-") or settings.lfg.model != PRESETS[base]().lfg.model:
        return None
    return int(base.split("-")[1])


def fit_to_cache(settings: TrainSettings, cache: Cache) -> TrainSettings:
    """Set the width of the audio features from the data, and the widths of the A2V-FDM from the LFG."""
    clip = next(iter(cache))
    audio = clip[audio_encoder_of(clip)].shape[1]
    shared = {"audio_dim": audio, "source_dim": settings.lfg.model.latent_channels}

    def fitted(stage: Any, changes: dict[str, int]) -> Any:
        return stage and stage.model_copy(update={"model": stage.model.model_copy(update=changes)})

    a2v = {name: fitted(getattr(settings, name), shared) for name in ("a2v_1", "a2v_2", "a2v_ttr")}
    return settings.model_copy(update={**a2v, "pbnet": fitted(settings.pbnet, {"audio_dim": audio})})


def facts(cache: Cache) -> Mapping[str, Any]:
    """Facts on the data: frame size and audio features."""
    return {"size": cache.size, "audio_encoder": audio_encoder_of(next(iter(cache)))}


def report_notes(run: Path) -> list[str]:
    """Notes for the report on a run: preset and substitutes."""
    stages = ("lfg", "a2v-1", "a2v-2", "a2v-ttr", "pbnet")
    return training_notes(run, title="DAWN", main="lfg", stages=stages, more=of_checkpoint)
