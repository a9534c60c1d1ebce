"""Train the stages of a preset, one after another, into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.provenance import fingerprint
from dawn_bench.training.data import training_ids
from dawn_bench.training.loop import MODEL_FILE, claim, distributed, fit, rank
from dawn_bench.training.presets import fit_to_cache
from dawn_bench.training.settings import TrainSettings
from dawn_bench.training.stage import STAGES

#: The order in which `--stage all` trains; a2v-2 only where the preset has it.
ALL = ("lfg", "a2v-1", "a2v-2", "pbnet")


def train(
    cache: Cache,
    settings: TrainSettings,
    *,
    out: Path,
    stages: Sequence[str],
    seed: int,
    device: str,
    resume: bool = False,
) -> dict[str, Path]:
    """Train `stages` (names of `STAGES`, or `all`) on the cache's train split; returns each stage's checkpoint.

    Raises `InputError` when an A2V-FDM stage comes without a trained LFG, or `out` holds another run.
    """
    if not len(cache):
        raise InputError("holds no usable clip.", path=cache.root, mend="Look at: dawn-bench cache stats")
    settings = fit_to_cache(settings, cache)
    names = [n for n in ALL if n != "a2v-2" or settings.a2v_2 is not None] if "all" in stages else list(stages)
    provenance = {
        "preset": settings.preset,
        "cache": fingerprint(cache.settings),
        "clips": len(training_ids(cache)),
        "dataset": cache.settings.get("dataset"),
        "size": cache.size,
        "audio_encoder": next(iter(cache)).audio_encoder,
    }
    done: dict[str, Path] = {}
    builders = {name: STAGES[name] for name in names}
    for name in names:  # refused before anything is written or trained
        if (config := getattr(settings, name.replace("-", "_"), None)) is not None:
            claim(out / name, config, resume=resume)
    with distributed(device) as device:
        if rank() == 0:
            out.mkdir(parents=True, exist_ok=True)
            settings.to_yaml(out / "settings.yaml")
        for name, build in builders.items():
            if name.startswith("a2v") and not (out / "lfg" / MODEL_FILE).is_file():
                raise InputError(
                    "holds no trained LFG, which A2V-FDM learns from.", path=out, mend="Train --stage lfg first."
                )
            stage = build(cache, settings, run=out, seed=seed, device=device)
            done[name] = fit(stage, out=out / name, seed=seed, device=device, resume=resume, provenance=provenance)
    return done
