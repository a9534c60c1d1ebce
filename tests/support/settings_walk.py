"""The fields of the settings of all training stages, and settings with another value of one field."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from dawn_bench.config import Config
from dawn_bench.models.dit_head.presets import VQGANTraining
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.training.stage import LoopConfig


def config_of(annotation: Any) -> type[Config] | None:
    """The configuration class of a field; it may be None as well."""
    kinds = typing.get_args(annotation) if typing.get_origin(annotation) in (types.UnionType, typing.Union) else ()
    return next((k for k in (annotation, *kinds) if isinstance(k, type) and issubclass(k, Config)), None)


def fields(kind: type[Config], prefix: str = "") -> Iterator[str]:
    """Every field of a configuration class by dotted name; the parts of a part come after it if it may be None."""
    for name, field in kind.model_fields.items():
        inner = config_of(field.annotation)
        if inner is LoopConfig:
            continue
        if inner is None or inner is not field.annotation:
            yield prefix + name
        if inner is not None:
            yield from fields(inner, f"{prefix}{name}.")


def walk() -> Iterator[tuple[str, str, str]]:
    """Each field of each stage; of stages with one class of settings those of the first, as they train alike."""
    seen: set[type[Config]] = set()
    for model in MODELS:
        settings = type(MODELS[model].preset(MODELS[model].presets[0]))
        for stage in MODELS[model].stages:
            inner = config_of(settings.model_fields[stage_key(stage)].annotation)
            assert inner is not None, f"{model}.{stage} has no settings"
            if inner not in seen or inner is VQGANTraining:  # whose stages differ in the mask
                yield from ((model, stage, name) for name in fields(inner))
            seen.add(inner)


def another(value: Any, field: Any) -> Any:
    """Another valid value of a field."""
    choices = typing.get_args(field.annotation)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str) and value in choices:
        return next(c for c in choices if c != value)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, tuple):
        return tuple(v + 1 for v in value)
    raise AssertionError(f"no other value for {value!r}: give one in OTHER of setting_labels.py")


def changed(settings: Any, key: str, name: str, other: Any) -> Any:
    """The settings with another value of one field."""
    data = settings.model_dump()
    *parts, last = (key, *name.split("."))
    inner = data
    for part in parts:
        inner[part] = inner[part] or {}  # a part that the base leaves out
        inner = inner[part]
    inner[last] = other
    return type(settings).model_validate(data)
