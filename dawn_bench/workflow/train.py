"""Train the stages of a preset, one after another, into one run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import modality_of
from dawn_bench.cache import Cache
from dawn_bench.config import Config
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import KEY, SHARED_FIELDS, of_provenance, to_json
from dawn_bench.files import replacing
from dawn_bench.models.checkpoint import provenance_of, read_metadata
from dawn_bench.models.generator import CROP
from dawn_bench.models.notes import SUBSTITUTES_KEY, VALIDATION
from dawn_bench.models.spec import MODELS, ModelSpec, default_model, stage_key
from dawn_bench.models.substitutes import Substitute
from dawn_bench.pipelines.extractors.compatibility import differences, words
from dawn_bench.progress import console
from dawn_bench.provenance import fingerprint
from dawn_bench.text import counted
from dawn_bench.training.data import training_ids
from dawn_bench.training.holdout import Holdout, write_holdout
from dawn_bench.training.loop import MODEL_FILE, STATE_FILE, claim, distributed, fit, rank
from dawn_bench.training.resume import extends, saved_step
from dawn_bench.training.trackers import DEFAULT, TrackerName
from dawn_bench.workflow.folders import run_folder
from dawn_bench.workflow.training_setup import checked_substitutes, has_started, holdouts, wrong_size


@on_its_device
def train(
    cache: Cache,
    settings: Any,
    *,
    out: Path,
    stages: Sequence[str],
    seed: int,
    device: str,
    resume: bool = False,
    model: str | None = None,
    track: Sequence[TrackerName] = DEFAULT,
) -> dict[str, Path]:
    """Train `stages` of `model` (names, or `all`) on the cache's train split; returns the checkpoint of each stage.

    `settings` are those of the model (`ModelSpec.preset`), `track` the services that show the training. Raises
    `InputError` when a stage is unknown, when `out` lacks the trained stage that it needs, when `out` holds another
    run, when another process trains a stage there, or when the settings refuse what would take the place of missing
    features or networks, or add a stage to their preset.
    """
    spec = MODELS[model or default_model()]
    check_stages(spec, settings)
    if not len(cache):
        raise InputError("has no usable clip.", path=cache.root, hint="See dawn-bench cache stats.")
    if (modality := modality_of(next(iter(cache)))) != spec.modality:
        clips = {"video": "videos", "mesh": "meshes"}
        what = f"holds {clips[modality]}; {spec.title} learns from {clips[spec.modality]}."
        raise InputError(what, path=cache.root, hint=f"Give a cache of {clips[spec.modality]}, or another --model.")
    names = list(dict.fromkeys(_chosen(spec, settings, stages)))
    holdout_by_stage = holdouts(spec, settings, cache, names, out)
    caches = {name: holdout.apply_to(cache) for name, holdout in holdout_by_stage.items()}
    settings = spec.fit_to_cache(settings, next(iter(caches.values()), cache))
    _check_trained(spec, out, cache, names)
    for name in names:  # before anything is written or trained
        if (config := getattr(settings, stage_key(name))) is not None:
            claim(out / name, config, resume=resume)
            _check_dependants(spec, name, config, out)
    size = (
        None if resume and any(has_started(out / name) for name in spec.stages) else wrong_size(spec, settings, cache)
    )
    try:
        substitutes = checked_substitutes(spec, settings, caches, out, resume=resume)
    except InputError as error:
        if size is None:
            raise
        raise InputError(f"{size.what} {size.hint} Besides: {error.what}", path=size.path, hint=error.hint) from error
    if size is not None:
        raise size
    provenance = {
        name: {
            "model": spec.name,
            "preset": settings.preset,
            "cache": fingerprint(cache.settings),
            "clips": len(training_ids(seen)),
            "dataset": cache.settings.get("dataset"),
            CROP: cache.settings.get("crop"),
            SUBSTITUTES_KEY: [substitute.report_note for substitute in substitutes[name]],
            VALIDATION: holdout_by_stage[name].facts(),
            **spec.facts(seen),
            KEY: to_json(cache.extractors),
        }
        for name, seen in caches.items()
    }
    checkpoints: dict[str, Path] = {}
    with ExitStack() as stack:
        if rank() == 0:
            for line in [*_announced(substitutes, holdout_by_stage), *_trained_on_all(cache)]:
                console().print(line)
            for name in names:
                stack.enter_context(run_folder(out / name))
            with replacing(out / f"settings-{spec.name}.yaml") as temporary:
                settings.to_yaml(temporary)
        device = stack.enter_context(distributed(device))
        for name in names:
            first = spec.after.get(name)
            if first is not None and not (out / first / MODEL_FILE).is_file():
                raise InputError(
                    f"holds no trained {first}, which {name} needs.",
                    path=out,
                    hint=f"Train --stage {first} first.",
                )
            stage = spec.stage(name)(caches[name], settings, run=out, seed=seed, device=device)
            if rank() == 0 and not has_started(out / name):
                write_holdout(out / name, holdout_by_stage[name])
            checkpoints[name] = fit(
                stage,
                out=out / name,
                seed=seed,
                device=device,
                resume=resume,
                provenance=provenance[name],
                validation_split=holdout_by_stage[name].split,
                track=track,
            )
    return checkpoints


def check_stages(spec: ModelSpec, settings: Any) -> None:
    """Raise `InputError` where the settings have a part of a stage that their preset leaves out.

    The rest of it would be created from defaults, at another size than the preset's other stages. A whole stage may be
    added: the settings of a run that was trained with it have all of its sections.
    """
    try:
        preset = spec.preset(settings.preset)
    except InputError:
        return  # of the user's own
    for name in spec.stages:
        key = stage_key(name)
        given = getattr(settings, key)
        if getattr(preset, key) is None and given is not None and not _whole(given):
            having = [p for p in spec.presets if getattr(spec.preset(p), key) is not None]
            raise InputError(
                f"preset {settings.preset} has no stage {name}, so {key} cannot be set.",
                hint=f"Presets that have it: {', '.join(having)}." if having else "",
            )


def _whole(stage: Config) -> bool:
    """Whether all sections of a stage's settings are given, none of them taken from defaults."""
    sections = {name for name in type(stage).model_fields if isinstance(getattr(stage, name), Config)}
    return sections <= stage.model_fields_set


def _announced(substitutes: Mapping[str, Sequence[Substitute]], holdout_by_stage: Mapping[str, Holdout]) -> list[str]:
    """The notes before training: what takes the place of the paper's, and which clips are held out."""
    lines = [f"note: {each.announcement}" for of_stage in substitutes.values() for each in of_stage]
    lines += [f"note: {sentence}" for holdout in holdout_by_stage.values() if (sentence := holdout.sentence())]
    return list(dict.fromkeys(lines))


def _trained_on_all(cache: Cache) -> list[str]:
    """A note where the cache has no split to train on, so that its test clips are trained on too."""
    if "train" in cache.splits or not (others := cache.splits):
        return []
    parts = ", ".join(f"{counted(len(cache.ids(split)), 'clip')} of split {split}" for split in others)
    return [f"note: the cache has no split train: all clips are trained on, {parts}"]


def _check_trained(spec: ModelSpec, out: Path, cache: Cache, names: Sequence[str]) -> None:
    """Raise `InputError` where a trained stage of `out` took head poses or blinks that mean something else.

    The stages of a run are used together. Those of `names` are trained again or resumed, which has checks of its own.
    """
    for stage in spec.driven:
        path = out / stage / MODEL_FILE
        if stage in names or not path.is_file():
            continue
        trained = of_provenance(provenance_of(read_metadata(path), path))
        for difference in differences(trained, cache.extractors, fields=SHARED_FIELDS):
            if difference.fits is False:
                raise InputError(
                    f"was trained on {words(difference.field)} by {difference.trained}; this cache has them by "
                    f"{difference.given}.",
                    path=path.parent,
                    hint="Train on the same cache, or in another --out.",
                )


def _check_dependants(spec: ModelSpec, name: str, config: Config, out: Path) -> None:
    """Raise `InputError` where more steps of a stage would change what another trained stage was built on."""
    if not extends(out / name, config):
        return
    built = [*spec.after.items(), *spec.starts_from.items()]
    for later, first in built:
        if first == name and any((out / later / file).is_file() for file in (STATE_FILE, MODEL_FILE)):
            raise InputError(
                f"was trained on the present {name}, which more steps would change.",
                path=out / later,
                hint=f"Extend {name} in a copy of the run without this folder, then train {later} there.",
            )


def saved(run: Path) -> str:
    """A sentence on the last saved step of a run folder, from which `--resume` continues."""
    states = sorted(run.glob(f"*/{STATE_FILE}"), key=lambda path: path.stat().st_mtime)
    if not states:
        return f"no step is saved in {run} yet"
    try:
        step = saved_step(states[-1])
    except InputError as error:
        return str(error)
    return f"{states[-1].parent.name}: step {step} is saved in {states[-1]}; later steps are trained again"


def _chosen(spec: ModelSpec, settings: Any, stages: Sequence[str]) -> list[str]:
    """The stages to train, in order; `all` means every stage in the settings."""
    if "all" in stages:
        return [name for name in spec.stages if getattr(settings, stage_key(name)) is not None]
    for name in stages:
        spec.stage(name)
    return [spec.stage_name(name) for name in stages]
