"""Which published files a job needs, for `dawn-bench weights fetch --for`.

Nothing is listed here: extractors, face back ends, features and models declare their files, and this module asks those
that a job would use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from dawn_bench import weights
from dawn_bench.config import Config, split_override
from dawn_bench.errors import InputError, unknown_name
from dawn_bench.job import J, field_flags, read_job
from dawn_bench.weights_needs import Needs

if TYPE_CHECKING:
    from dawn_bench.models.spec import ModelSpec


def job_needs(name: str, changes: Sequence[str] = ()) -> Needs:
    """The needs of what is called `name`: a command, or a protocol, metric, method, model, preset, extractor, ...

    `changes` are settings of a command or fields of a protocol, as `--set` takes them: `pose=3ddfa`. A name with
    several meanings needs what each of them needs. Raises `InputError` for an unknown name or setting.
    """
    if name in _COMMANDS:
        return _distinct(_COMMANDS[name](changes))
    if name in _protocols():
        return _distinct(_scoring(None, name, tuple(changes)))
    if changes:
        known = (*_COMMANDS, *_protocols())
        raise InputError(f"--set does not go with --for {name}.", hint=f"It goes with {', '.join(known)}.")
    kinds = [kind() for kind in _KINDS]
    if not any(name in kind for kind in kinds):
        from dawn_bench.metrics.scoring.listing import metric_names

        with suppress(InputError):
            return job_needs(*metric_names([name]))  # by its label: LSE-C
        names = dict.fromkeys([*_COMMANDS, *_protocols(), *(n for kind in kinds for n in kind)])
        raise unknown_name("job, protocol, metric, method, preset, extractor or weight file", name, list(names))
    return _distinct(need for kind in kinds if name in kind for need in kind[name]())


#: The items of one kind: by name, what tells their needs.
NeedsByName = Mapping[str, Callable[[], Needs]]


def _metrics() -> NeedsByName:
    from dawn_bench.metrics.scoring.base import METRICS

    return {name: partial(_scoring, (name,), None, ()) for name in METRICS}


def _methods() -> NeedsByName:
    """Models, and methods that run one: `dawn-sar` runs `dawn`. Those of external methods are in no registry."""
    from dawn_bench.baselines.base import METHODS
    from dawn_bench.models.spec import MODELS

    models = {name: partial(MODELS[name].weights, None) for name in MODELS}
    of = {method: next((m for m in models if method == m or method.startswith(f"{m}-")), "") for method in METHODS}
    return {method: models.get(model, tuple) for method, model in of.items()} | models


def _presets() -> NeedsByName:
    """Presets, with or without variant; one that several models have stands for all of them."""
    from dawn_bench.models.spec import MODELS

    models: dict[str, list[ModelSpec]] = {}
    for name in MODELS:
        spec = MODELS[name]
        for preset in spec.presets:
            for full in (preset, *(f"{preset}+{variant}" for variant in spec.variants)):
                models.setdefault(full, []).append(spec)
    return {name: partial(_of_preset, name, specs) for name, specs in models.items()}


def _of_preset(name: str, specs: Sequence[ModelSpec]) -> Needs:
    return tuple(need for spec in specs for need in spec.weights(spec.preset(name)))


def _released() -> NeedsByName:
    """Released models, with what generating with them needs."""
    from dawn_bench.models.spec import MODELS

    specs = [MODELS[name] for name in MODELS]
    return {name: partial(_of_released, name, spec) for spec in specs for name in spec.released_weights}


def _of_released(name: str, spec: ModelSpec) -> Needs:
    extractors = _extractors()
    conditions = (need for extractor in spec.released_extractors for need in extractors[extractor]())
    return (*spec.released_weights[name], *spec.weights(None), *conditions)


def _extractors() -> NeedsByName:
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    return {name: partial(_declared, EXTRACTORS[name]) for name in EXTRACTORS}


def _back_ends() -> NeedsByName:
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS

    return {name: partial(_declared, FACE_BACKENDS[name]) for name in FACE_BACKENDS}


def _entries() -> NeedsByName:
    return {weight.name: partial(tuple, [(weight.name,)]) for weight in weights.WEIGHTS}


def _declared(item: object) -> Needs:
    needs: Needs = getattr(item, "weights", ())
    return needs


_KINDS = (_metrics, _methods, _presets, _released, _extractors, _back_ends, _entries)


def _prepare(changes: Sequence[str]) -> Needs:
    from dawn_bench.pipelines.extractors.base import blink_sources, pose_sources
    from dawn_bench.pipelines.settings import AUTO
    from dawn_bench.workflow.jobs import Preparation

    job = _job(Preparation, changes)
    face = _back_ends()[job.face]() if job.face != AUTO else ()
    extractors, sources = _extractors(), (pose_sources()[job.pose], blink_sources()[job.blink])
    return (*face, *(need for name in (*sources, *job.extract) for need in extractors[name]()))


def _train(changes: Sequence[str]) -> Needs:
    from dawn_bench.models.spec import MODELS
    from dawn_bench.workflow.jobs import Training

    job, settings = read_job(
        Training, _filled(Training), overrides=changes, settings=lambda job: MODELS[job.model].preset(job.preset)
    )
    return MODELS[job.model].weights(settings)


def _generate(changes: Sequence[str]) -> Needs:
    from dawn_bench.workflow.generate import Generation

    return _of_checkpoint(str(_job(Generation, changes).checkpoint))


def _evaluate(changes: Sequence[str]) -> Needs:
    from dawn_bench.workflow.evaluation import Evaluation

    job = _job(Evaluation, changes)
    return (*_scoring(job.metrics, job.protocol, job.protocol_set), *_of_checkpoint(str(job.checkpoint)))


def _reproduce(changes: Sequence[str]) -> Needs:
    from dawn_bench.workflow.reproduction import Reproduction

    runs = _job(Reproduction, changes).checkpoints
    return (*_scoring(None, None, ()), *(need for run in runs for need in _of_checkpoint(str(run))))


def _nothing(changes: Sequence[str]) -> Needs:
    return ()


_COMMANDS: Mapping[str, Callable[[Sequence[str]], Needs]] = {
    "prepare": _prepare,
    "train": _train,
    "generate": _generate,
    "evaluate": _evaluate,
    "reproduce": _reproduce,
    "quickstart": _nothing,
}


def _job(kind: type[J], changes: Sequence[str]) -> J:
    """The job with its changes. A name for a list whose flag adds (`extract`) adds as the flag does.

    A list in brackets replaces, as for the command itself.
    """
    adding = {key: flag.field for flag in field_flags(kind) if flag.flag.adds for key in flag.keys}
    flags, others = _filled(kind), []
    for change in changes:
        path, value = split_override(change)
        if (field := adding.get(".".join(path))) is None or isinstance(value, list) or not value:
            others.append(change)
        else:
            flags[field] = [*flags.get(field, ()), str(value)]
    return read_job(kind, flags, overrides=others)[0]


def _filled(kind: type[Config]) -> dict[str, Any]:
    """Values for the flags that a job requires and that decide nothing here: its folders."""
    return {flag.field: "1" if flag.field == "table" else "." for flag in field_flags(kind) if flag.info.is_required()}


def _of_checkpoint(checkpoint: str) -> Needs:
    """The files behind a released name; a trained run needs none."""
    released = _released()
    return released[checkpoint]() if checkpoint in released else ()


def _scoring(metrics: Iterable[str] | None, protocol: str | None, fields: tuple[str, ...]) -> Needs:
    from dawn_bench.metrics.protocols.base import PAPER_DAWN
    from dawn_bench.metrics.protocols.base import protocol as find_protocol
    from dawn_bench.metrics.scoring.base import METRICS
    from dawn_bench.metrics.scoring.listing import usual_metrics
    from dawn_bench.metrics.scoring.needs import metric_needs

    chosen = find_protocol(protocol or PAPER_DAWN.id, fields)
    return metric_needs([METRICS[name] for name in metrics or usual_metrics(chosen)], chosen)


def _protocols() -> Iterable[str]:
    from dawn_bench.metrics.protocols.base import PROTOCOLS

    return PROTOCOLS


def _distinct(needs: Iterable[tuple[str, ...]]) -> Needs:
    return tuple(dict.fromkeys(needs))
