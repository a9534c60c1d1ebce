"""The run behind a row of a reproduced table: which one it is, and whether it is what the row names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import Context, Method, build_method
from dawn_bench.baselines.methods.dawn import Dawn
from dawn_bench.cache import Cache
from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError, nearest, unknown_name
from dawn_bench.models.dawn.generator import COARSE_FILE, RUN_FILES
from dawn_bench.models.dawn.released import find_released
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.readers import read_yaml
from dawn_bench.training.resume import CONFIG_FILE
from dawn_bench.workflow.paper_rows import ROWS, PaperRow, PaperTable
from dawn_bench.workflow.reproduction import Reproduction

#: The ablations of training that leave out one stage of A2V-FDM.
_ONE_STAGE = ("only-stage-1", "only-stage-2")


def check_job(job: Reproduction) -> None:
    """Raise `InputError` for mistyped settings, which would fail every row or be ignored by every row."""
    variants = {row.variant for rows in ROWS.values() for row in rows if row.variant is not None}
    if unknown := set(job.variants) - variants:
        raise unknown_name("ablation", min(unknown), variants)
    for run in (*job.checkpoints, *job.variants.values()):
        if not run.exists() and find_released(run) is None:
            raise InputError("there is no such run.", path=run, hint="Train it with dawn-bench train.")
    if job.installs is not None and not job.installs.is_file():
        raise InputError("there is no such file.", path=job.installs, hint="dawn-bench methods NAME prints an example.")
    kinds = [kind for _, kind in STRATEGIES.values()]
    if unknown := set(job.options).difference(*(kind.model_fields for kind in kinds)):
        known = dict.fromkeys(name for kind in kinds for name in kind.model_fields)
        raise InputError(f"there is no option {min(unknown)!r} of DAWN's rows.", hint=nearest(min(unknown), known))
    for kind in kinds:
        validated(kind, _known(kind, job.options), what="option")


def _known(kind: type[Config], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kind.model_fields}


def rows_of(table: PaperTable, cache: Cache, published: Mapping[str, Mapping[str, float]]) -> list[PaperRow]:
    """The rows of the table for this dataset, plus a row for the cache's frame size if the table has none."""
    rows = [r for r in table.rows if not published or r.label in published or r.length is not None]
    if table.number == 7 and all(r.size != cache.size for r in rows):
        rows.append(PaperRow(f"DAWN, {cache.size} px", f"dawn-{cache.size}-px", size=cache.size))
    return rows


def method_of(row: PaperRow, job: Reproduction, cache: Cache) -> tuple[Method, str]:
    """The row's method under the row's name, and a remark; raises `InputError` saying what is missing."""
    if row.size is not None and row.size != cache.size:
        raise InputError(
            f"this cache has {cache.size} px; run it on a cache of {row.size} px with a run trained on that."
        )
    run, options, remark = settings_of(row, job)
    try:
        context = Context(run, job.device, job.seed, options, job.installs, job.out / "logs")
        method = build_method(row.method, context)
    except InputError as error:
        if row.strategy is not None or error.path is not None:
            raise
        raise InputError(
            error.what, hint=f"Give its location with --installs FILE; see dawn-bench methods {row.method}."
        ) from error
    if isinstance(method, Dawn):
        _check_run(method, row, run, cache, given=row.variant in job.variants)
    method.name = row.name
    return method, remark


def settings_of(row: PaperRow, job: Reproduction) -> tuple[Path | None, dict[str, Any], str]:
    """The run and the options of a row, and a remark; raises `InputError` where there is no run."""
    run, options, remark = _run_of(row, job)
    if row.strategy is not None:
        options = _known(STRATEGIES[row.strategy][1], job.options) | options  # the row's own options take precedence
    return run, options, remark


def _run_of(row: PaperRow, job: Reproduction) -> tuple[Path | None, dict[str, Any], str]:
    """The run of a row, the row's options, and a remark; raises `InputError` where there is none."""
    options, run = dict(row.options), next(iter(job.checkpoints), None)
    if row.variant is None:
        return run, options, ""
    if (variant := job.variants.get(row.variant)) is not None:
        return variant, options, ""
    train = f"train --preset NAME+{row.variant}, then --variant {row.variant}=RUN"
    if row.variant == "ttr":
        single = run is not None and not (run / COARSE_FILE).is_file()
        return run, options, f"one model for both resolutions; for separate models, {train}" if single else ""
    if row.variant == "only-stage-1" and run is not None and all((run / s).is_file() for s in RUN_FILES["a2v"]):
        remark = f"the first stage of the same run, not trained for longer instead of the second; for that, {train}"
        return run, options | {"stage": "a2v-1"}, remark
    raise InputError(f"needs a run of its own: {train}.")


def _check_run(method: Dawn, row: PaperRow, run: Path | None, cache: Cache, *, given: bool) -> None:
    """Raise `InputError` where a run does not fit the cache, or is not the ablation that the row names.

    `given` says whether the run was given for this row, with `--variant`.
    """
    method.check(next(iter(cache)))
    generator = method.generator
    if (generator.pbnet is None) != (row.variant == "no-pbnet"):
        raise InputError(
            f"this run has {'no' if generator.pbnet is None else 'a'} PBNet, so it is not this row.", path=run
        )
    if row.variant in _ONE_STAGE and generator.facts["a2v"].get("stage") != "a2v-1":
        raise InputError("this run was trained in two stages, so it is not this row.", path=run)
    trained = _ablation(generator.facts["a2v"], run, given=given and row.variant in _ONE_STAGE)
    if trained is not None and trained != row.variant:
        raise InputError(f"this run is the ablation {trained}, so it is not this row.", path=run)
    if given and row.variant == "ttr" and generator.coarse is None:
        raise InputError("this run has no coarse model, so it is not this row.", path=run)


def _ablation(facts: Mapping[str, Any], run: Path | None, *, given: bool) -> str | None:
    """The ablation that an A2V-FDM is of: by the preset of its training, else of a `given` run by its stage's settings.

    A coarse model in addition (`ttr`) is no ablation of the others. None where it is none, or nothing is recorded.
    """
    named = str(facts.get("preset", "")).partition("+")[2]
    if named:
        return None if named == "ttr" else named
    settings = (run or Path()) / "a2v-1" / CONFIG_FILE
    if not given or not settings.is_file():
        return None
    return _ONE_STAGE[bool(read_yaml(settings).get("random_source"))]  # the second stage takes any frame as source
