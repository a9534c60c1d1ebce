"""Which clips choose the best checkpoint of a run: those of split `val`, else some that are held out of training.

Never those of `test`: a checkpoint that was chosen on them would be scored on what chose it. Where a cache has no split
`val`, whole speakers are moved there from training for the run alone; the cache does not change. The stage's folder
records them, so that a run goes on with the clips that it began with. A run begun before this existed has no record,
and goes on as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.readers import DamageError, read_json
from dawn_bench.text import counted, few
from dawn_bench.training.data import training_ids

#: The record of a stage; the split of clips that are held out; that on which earlier versions validated.
HOLDOUT_FILE, HELD_OUT, LEGACY_SPLIT = "held-out.json", "val", "test"
_HINT = "Restore it from a copy, or train in another --out."


@dataclass(frozen=True)
class Holdout:
    """The `split` that validation reads, and the `clips` and their `speakers` that are moved there from training."""

    split: str = HELD_OUT
    clips: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()

    def apply_to(self, cache: Cache) -> Cache:
        """The cache as the run sees it; raises `InputError` where it lacks a clip that was held out."""
        if not self.clips:
            return cache
        if absent := [clip for clip in self.clips if clip not in cache]:
            hint = "Use the cache that the run began with."
            raise InputError(f"has no clip {absent[0]!r}, which was held out of training.", path=cache.root, hint=hint)
        moved = dict.fromkeys(self.clips, self.split)
        rest = {clip: "train" for clip in training_ids(cache) if clip not in moved}  # all clips, without split `train`
        return cache.resplit(moved | rest)

    def sentence(self) -> str:
        """What is held out, without a verb: for training and for reports; empty for a cache with a split `val`."""
        if self.split == LEGACY_SPLIT:
            return f"best checkpoint chosen on split {LEGACY_SPLIT}: begun by a version without validation clips"
        if self.split != HELD_OUT:
            return "no clip to hold out; best checkpoint chosen on training clips"
        if not self.clips:
            return ""
        speakers = f"speaker{'s' * (len(self.speakers) > 1)} {few(self.speakers)}"
        whose = speakers if self.speakers else "the only speaker"
        return f"held out for validation: {counted(len(self.clips), 'clip')} of {whose}; no split {HELD_OUT}"

    def facts(self) -> dict[str, Any]:
        """The record, for a JSON file."""
        return asdict(self)


def hold_out(cache: Cache, count: int) -> Holdout:
    """The validation clips of a new run, of which `count` are read (0: the run does not validate).

    Without split `val`, speakers are held out in an order that depends on their names alone until they have `count`
    clips, but never more than half of the clips; of a single speaker a tenth of the clips, and at least one of two.
    """
    if not count or (HELD_OUT in cache.splits and cache.ids(HELD_OUT)):
        return Holdout()
    speakers: dict[str, list[str]] = {}
    ids = training_ids(cache)
    for clip in ids:
        speakers.setdefault(cache[clip].speaker, []).append(clip)
    if len(speakers) == 1:
        chosen = sorted(ids, key=_place)[: min(count, max(1, len(ids) // 10))] if len(ids) > 1 else []
        return Holdout(clips=tuple(chosen)) if chosen else Holdout(split="train")
    moved: list[str] = []
    names = []
    for name in sorted(speakers, key=_place):
        if len(moved) < count and 2 * (len(moved) + len(speakers[name])) <= len(ids):
            moved += speakers[name]
            names.append(name)
    return Holdout(clips=tuple(moved), speakers=tuple(names))


def earlier_holdout(cache: Cache) -> Holdout:
    """What a run of a version without records validates on: `val`, else `test`, else what it trains on."""
    splits = (name for name in (HELD_OUT, LEGACY_SPLIT) if name in cache.splits and cache.ids(name))
    return Holdout(split=next(splits, "train"))


def write_holdout(stage: Path, holdout: Holdout) -> None:
    """Record the held-out clips of a stage in its folder."""
    stage.mkdir(parents=True, exist_ok=True)
    write_atomic(stage / HOLDOUT_FILE, json.dumps(holdout.facts()).encode())


def read_holdout(stage: Path) -> Holdout | None:
    """The record in a stage's folder, None without one; raises `InputError` where it is damaged."""
    path = stage / HOLDOUT_FILE
    if not path.exists():
        return None
    holdout = parse_holdout(read_json(path, dict, hint=_HINT))
    if holdout is None:
        raise DamageError("is not a record of held-out clips.", path=path, hint=_HINT)
    return holdout


def parse_holdout(facts: Any) -> Holdout | None:
    """A record as read from JSON; None where it is none."""
    if not isinstance(facts, Mapping) or not isinstance(facts.get("split"), str):
        return None
    clips, speakers = facts.get("clips"), facts.get("speakers")
    if not all(isinstance(v, list | tuple) and all(isinstance(t, str) for t in v) for v in (clips, speakers)):
        return None
    return Holdout(facts["split"], tuple(clips or ()), tuple(speakers or ()))


def _place(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
