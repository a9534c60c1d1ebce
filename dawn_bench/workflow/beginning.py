"""What is settled before a training begins: the clips that choose its best checkpoint, and what it trains without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.spec import ModelSpec, stage_key
from dawn_bench.models.substitutes import Substitute, how_to_do_without
from dawn_bench.training.holdout import Holdout, earlier_holdout, hold_out, read_holdout
from dawn_bench.training.resume import MODEL_FILE, STATE_FILE


def begun(stage: Path) -> bool:
    """Whether the folder of a stage holds a run."""
    return any((stage / name).is_file() for name in (STATE_FILE, MODEL_FILE))


def holdouts(spec: ModelSpec, settings: Any, cache: Cache, names: Sequence[str], out: Path) -> dict[str, Holdout]:
    """The validation clips of each stage: of a run that goes on those that it began with, else those of a new run.

    A new run holds the same clips out of every stage, so that no stage has seen those on which another is validated.
    Raises `InputError` where a record is damaged.
    """
    counts = {name: _validation_clips(settings, name) for name in spec.stages}
    new = hold_out(cache, max(counts.values(), default=0))
    chosen = {}
    for name in names:
        record = read_holdout(out / name) if begun(out / name) else new
        chosen[name] = record or (earlier_holdout(cache) if counts[name] else Holdout())
    return chosen


def _validation_clips(settings: Any, stage: str) -> int:
    """The clips on which a stage is validated; 0 where it is not."""
    loop = getattr(getattr(settings, stage_key(stage), None), "loop", None)
    return 0 if loop is None or loop.validate_every is None else loop.validation_clips


def checked_substitutes(
    spec: ModelSpec, settings: Any, caches: Mapping[str, Cache], out: Path, *, resume: bool
) -> dict[str, list[Substitute]]:
    """The substitutes of each stage of `caches`.

    Raises `InputError` where the settings refuse one, except in a run that goes on: it keeps what it began with.
    """
    substitutes = {name: spec.substitutes(settings, cache, name) for name, cache in caches.items()}
    refused = [s for of_stage in substitutes.values() for s in of_stage if s.refused]
    goes_on = resume and any(begun(out / name) for name in spec.stages)
    if refused and not goes_on and getattr(settings, "substitutes", "allow") == "refuse":
        raise InputError(
            f"preset {settings.preset!r} refuses substitutes: {' '.join(dict.fromkeys(s.before for s in refused))}",
            hint=how_to_do_without(refused),
        )
    return substitutes
