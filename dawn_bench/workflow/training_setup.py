"""What is settled before a training begins: the clips that choose its best checkpoint, and what it trains without."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.spec import ModelSpec, stage_key
from dawn_bench.models.substitutes import Substitute, refusal_hint
from dawn_bench.training.holdout import HELD_OUT, Holdout, earlier_holdout, hold_out, read_holdout
from dawn_bench.training.resume import MODEL_FILE, STATE_FILE


def has_started(stage: Path) -> bool:
    """Whether the folder of a stage holds a run."""
    return any((stage / name).is_file() for name in (STATE_FILE, MODEL_FILE))


def holdouts(spec: ModelSpec, settings: Any, cache: Cache, names: Sequence[str], out: Path) -> dict[str, Holdout]:
    """The validation clips of each stage: those that it began with, else those of the run's other stages.

    All stages of a run hold the same clips out, so that none has seen those on which another is validated. Only where
    no stage of it has held clips out are they chosen anew. Raises `InputError` where a record is damaged.
    """
    counts = {name: _validation_clips(settings, name) for name in spec.stages}
    records = {name: read_holdout(out / name) for name in spec.stages if has_started(out / name)}
    shared = (
        record for record in records.values() if record is not None and (record.clips or record.split != HELD_OUT)
    )
    new = next(shared, None) or hold_out(cache, max(counts.values(), default=0))
    chosen = {}
    for name in names:
        record = records.get(name, new)
        chosen[name] = record or (earlier_holdout(cache) if counts[name] else Holdout())
    return chosen


def _validation_clips(settings: Any, stage: str) -> int:
    """The clips on which a stage is validated; 0 where it is not."""
    loop = getattr(getattr(settings, stage_key(stage), None), "loop", None)
    return 0 if loop is None or loop.validate_every is None else loop.validation_clips


def wrong_size(spec: ModelSpec, settings: Any, cache: Cache) -> InputError | None:
    """The error for a cache whose frames have another size than the preset is for; None where they fit."""
    size = spec.size(settings)
    if size in (None, cache.size):
        return None
    fitting = [p for p in spec.presets if p != settings.preset and spec.size(spec.preset(p)) == cache.size]
    words = ["dawn-bench", "prepare", "--dataset", str(cache.settings["dataset"])]
    words += ["--root", str(cache.settings.get("root") or "VIDEOS"), "--cache", f"{cache.root}-{size}"]
    hint = f"Prepare the videos at {size} px: {shlex.join([*words, '--size', str(size)])}"
    hint += f"; or train another preset: {', '.join(fitting)}." if fitting else "."
    what = f"holds frames of {cache.size} px, and preset {settings.preset} is for {size} px."
    return InputError(what, path=cache.root, hint=hint)


def checked_substitutes(
    spec: ModelSpec, settings: Any, caches: Mapping[str, Cache], out: Path, *, resume: bool
) -> dict[str, list[Substitute]]:
    """The substitutes of each stage of `caches`.

    Raises `InputError` where the settings refuse one, except in a run that goes on: it keeps what it began with.
    """
    substitutes = {name: spec.substitutes(settings, cache, name) for name, cache in caches.items()}
    refused = [s for of_stage in substitutes.values() for s in of_stage if s.refused]
    goes_on = resume and any(has_started(out / name) for name in spec.stages)
    if refused and not goes_on and getattr(settings, "substitutes", "allow") == "refuse":
        sentences = " ".join(dict.fromkeys(s.announcement for s in refused))
        raise InputError(f"preset {settings.preset!r} refuses substitutes: {sentences}", hint=refusal_hint(refused))
    return substitutes
