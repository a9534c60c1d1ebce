"""Which of several runs belongs to which of several caches: the one that fits it, and was trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import provenance_of, read_metadata
from dawn_bench.models.dawn.generator import RUN_FILES
from dawn_bench.models.dawn.needs import AUDIO
from dawn_bench.models.dawn.released import find_released
from dawn_bench.provenance import fingerprint


@dataclass(frozen=True)
class _Trained:
    """What a run was trained on; published weights state no dataset."""

    run: Path
    size: int
    encoder: str
    dataset: str = ""
    cache: str = ""

    @classmethod
    def of(cls, run: Path) -> _Trained:
        """Read from the provenance of the run's checkpoints, without their tensors."""
        if (files := find_released(run)) is not None:
            return cls(run, files.size, AUDIO)
        path = next((run / name for name in RUN_FILES["a2v"] if (run / name).is_file()), run / RUN_FILES["a2v"][0])
        facts = provenance_of(read_metadata(path), path)
        named = (str(facts.get(key) or "") for key in ("audio_encoder", "dataset", "cache"))
        return cls(run, int(facts.get("size") or 0), *named)

    def fits(self, cache: Cache) -> bool:
        return self.size == cache.size and self.encoder in cache.fields

    def closeness(self, cache: Cache) -> int:
        """2: trained on this cache; 1: on this dataset; 0: neither."""
        if self.cache == fingerprint(cache.settings):
            return 2
        return int(self.dataset == cache.settings["dataset"])


def paired(caches: Sequence[Cache], runs: Sequence[Path]) -> list[Path | None]:
    """The run of each cache; None without any run. A single run is that of every cache, whether it fits or not.

    Of several runs a cache takes the one that fits: its frame size and audio features are the cache's. Of several that
    fit, it takes the one trained on this cache, else on this dataset. Raises `InputError` for a run without a
    checkpoint, where two runs fit a cache equally well, and for a run that no cache takes.
    """
    if len(runs) < 2:
        return [runs[0] if runs else None for _ in caches]
    trained = [_Trained.of(run) for run in dict.fromkeys(runs)]
    chosen: list[Path | None] = []
    for cache in caches:
        fitting = sorted((t for t in trained if t.fits(cache)), key=lambda t: -t.closeness(cache))
        if len(fitting) > 1 and fitting[0].closeness(cache) == fitting[1].closeness(cache):
            raise InputError(
                f"fits {cache.root} as well as {fitting[1].run} does.",
                path=fitting[0].run,
                hint="Give one of them to each call; the parts of a table add up in --out.",
            )
        # a run that does not fit says in its rows why
        chosen.append(fitting[0].run if fitting else trained[0].run)
    for t in trained:
        if t.run not in chosen:
            raise InputError(
                f"was trained at {t.size} px on {t.encoder} features, which is not what any cache takes.",
                path=t.run,
                hint="Leave it out, or add its cache with --cache.",
            )
    return chosen
