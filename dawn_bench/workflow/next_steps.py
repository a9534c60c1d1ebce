"""The command that comes next, with the user's own paths filled in: after a command, and for a whole folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dawn_bench.workflow.where import DONE, RUNNING, STOPPED, Place, Survey, survey

Command = tuple[str, ...]
#: Datasets of meshes, and the model that learns from them.
MESHES, MESH_MODEL = ("biwi", "vocaset", "embedded-mesh"), "diffspeaker"
#: Settings that the plan of a cache keeps as they were chosen: they need not be given again.
_CHOSEN = ("face", "crop", "extract")
#: Characters of a setting's value that a command repeats.
LONGEST = 200
#: What every cache has.
_USUAL = ("pose", "blink", "logmel", "masks")


def after_prepare(cache: Path, *, meshes: bool = False) -> Command:
    """Train on the new cache, in a folder of its own beside it; without a clip to train on, export it for a method."""
    if not meshes and not _trainable(cache):
        items = str(cache.with_name(f"{cache.name}-items"))
        return ("cache", "export", str(cache), "--split", "test", "--format", "inputs", "--out", items)
    model = ("--model", MESH_MODEL) if meshes else ()
    return ("train", "--cache", str(cache), "--out", str(_beside(cache, "run")), "--stage", "all", *model)


def after_train(cache: Path, run: Path, *, model: str) -> Command:
    """Train the stages that are still missing, else evaluate the model on its cache."""
    place = next(iter(survey(run).of("run")), None)
    if place is not None and place.path == Path() and place.state == STOPPED:
        return _continued(place, run, cache=cache)
    results = str(_beside(run, "results"))
    return ("evaluate", "--method", model, "--checkpoint", str(run), "--cache", str(cache), "--out", results)


def after_generate(checkpoint: Path, *, model: str | None) -> Command:
    """Evaluate the model on a cache: that beside its run, or in the present folder; without one, prepare one."""
    here, beside = Path(), checkpoint.parent
    for folder in dict.fromkeys((beside, here)):
        for cache in survey(folder).of("cache", state=DONE):
            name = model or _model_of(checkpoint)
            words = ("--checkpoint", str(checkpoint), "--cache", str(folder / cache.path))
            return ("evaluate", "--method", name, *words, "--out", str(_beside(checkpoint, "results")))
    return _prepare(survey(here))


def here(place: Survey) -> Command | None:
    """The next command in a folder; None where everything is done and only the page is left to read."""
    for quickstart in place.of("quickstart", state=STOPPED):
        return _quickstart(quickstart)
    for cache in place.of("cache", state=STOPPED):
        return _prepared_again(cache)
    caches, runs, results = (place.of(kind, state=DONE) for kind in ("cache", "run", "results"))
    for run in place.of("run", state=STOPPED):
        return _continued(run, run.path, cache=_nearest(run.path, caches))
    for unfinished in place.of("results", state=STOPPED):
        if unfinished.facts.get("scored"):
            return ("report", str(unfinished.path))
    if results or any(p.state == RUNNING for p in place.places):
        return None
    if caches and runs:
        return after_train(_nearest(runs[0].path, caches) or caches[0].path, runs[0].path, model=_named(runs[0]))
    if caches:
        return after_prepare(caches[0].path, meshes=caches[0].facts.get("dataset") in MESHES)
    if place.videos is not None or runs:
        return _prepare(place)
    return ("quickstart", "--out", "demo")


def _trainable(cache: Path) -> bool:
    """Whether a cache has clips of the split `train`, by that column of its index; True where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        splits = pq.read_table(cache / "index.parquet", columns=["split"])["split"].to_pylist()
    except (OSError, KeyError, pa.ArrowException):
        return True
    return "train" in splits or "test" not in splits


def _quickstart(place: Place) -> Command:
    """The command that continues a quickstart: that of its plan."""
    plan = place.facts
    changed = {name: plan.get(name) for name, usual in (("preset", "tiny"), ("seed", 0)) if plan.get(name) != usual}
    words = [word for name, value in changed.items() if isinstance(value, str | int) for word in (f"--{name}", value)]
    return ("quickstart", "--out", str(place.path), *map(str, words))


def _prepared_again(place: Place) -> Command:
    """The command that continues a cache: its root, and the settings of its plan that are not the usual ones."""
    root, settings = place.facts.get("root"), place.facts.get("settings")
    words = ("prepare", "--root", str(root) if isinstance(root, str) else "VIDEOS")
    flags = _flags(settings) if isinstance(settings, dict) else ()
    added = place.facts.get("added")
    names = settings.get("extract") if isinstance(settings, dict) else []
    names = [*names] if isinstance(names, list) else []
    names += [name.removeprefix("extractor ") for name in added] if isinstance(added, dict) else []
    more = [name for name in map(str, names) if name not in _USUAL and not name.startswith(("pose-", "blink-"))]
    extract = ("--extract", ",".join(dict.fromkeys(more))) if more else ()
    return (*words, *flags, *extract, "--cache", str(place.path))


def _flags(settings: Mapping[str, Any]) -> Command:
    """The flags of `prepare` for settings that differ from the defaults, or from those of their recipe."""
    from dawn_bench.errors import DawnBenchError
    from dawn_bench.job import field_flags
    from dawn_bench.pipelines.settings import PrepareSettings, recipe_settings

    usual = {flag.field: flag.info.get_default(call_default_factory=True) for flag in field_flags(PrepareSettings)}
    with suppress(DawnBenchError):  # a recipe of another distribution
        usual |= recipe_settings(settings.get("like"))
    words: list[str] = []
    for flag in field_flags(PrepareSettings):
        value = settings.get(flag.field)
        if flag.field in _CHOSEN or flag.field not in settings or value == usual[flag.field]:
            continue
        if flag.shape == "switch":
            words.append(flag.name if value else flag.flag.off or flag.name.replace("--", "--no-", 1))
        elif isinstance(value, str | int | float) and len(str(value)) < LONGEST:
            words += [flag.name, str(value)]
    return tuple(words)


def _continued(place: Place, run: Path, *, cache: Path | None) -> Command:
    """The command that continues a run, with the settings that are in it."""
    settings = place.facts.get("settings")
    config = ("--config", str(run / settings.name)) if isinstance(settings, Path) else ()
    model = _named(place)
    chosen = ("--model", model) if model != "dawn" else ()
    where = ("--cache", str(cache) if cache is not None else "CACHE", "--out", str(run))
    return ("train", *where, *chosen, *config, "--stage", "all", "--resume")


def _named(run: Place) -> str:
    return str(run.facts.get("model") or "dawn")


def _model_of(checkpoint: Path) -> str:
    run = next((place for place in survey(checkpoint).of("run") if place.path == Path()), None)
    return _named(run) if run is not None else "dawn"


def _nearest(run: Path, caches: list[Place]) -> Path | None:
    """The cache that a run most likely goes with: of the same name, or beside it, else the first."""
    by_name = [c.path for c in caches if c.path.name == run.name]
    beside = [c.path for c in caches if c.path.parent == run.parent]
    return next(iter([*by_name, *beside, *(c.path for c in caches)]), None)


def _prepare(place: Survey) -> Command:
    root = str(place.videos) if place.videos is not None else "VIDEOS"
    return ("prepare", "--root", root, "--cache", "cache")


def _beside(folder: Path, name: str) -> Path:
    """`runs/crema` for the cache `caches/crema`, `demo/run` for `demo/cache`; results stand beside both."""
    group = {"run": "runs", "results": "results"}[name]
    if folder.parent.name in ("caches", "runs"):
        return folder.parent.parent / group / folder.name
    return folder.parent / (name if folder.name in ("cache", "run") else f"{folder.name}-{name}")
