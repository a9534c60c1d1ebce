"""Walks over fields: another value for each, and the demand that a test knows what every field must change."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def check_classified(names: Collection[str], where: str, *classes: Collection[str]) -> None:
    """Fail for a name that is in none of the classes, or in two, and for one that is classified and gone."""
    known = [name for group in classes for name in group]
    assert not (new := set(names) - set(known)), f"say in {where} what {sorted(new)} must change"
    assert not (gone := set(known) - set(names)), f"{where} still classifies {sorted(gone)}"
    assert len(known) == len(set(known)), f"{where} has a name in two classes"


def leaves(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and annotation of every setting of nested configurations."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, field.annotation


def with_leaf(config: Any, name: str, value: Any) -> Any:
    """The configuration with another value at a dotted name; validators do not run."""
    head, _, rest = name.partition(".")
    return config.model_copy(update={head: with_leaf(getattr(config, head), rest, value) if rest else value})


def another(value: Any, annotation: Any = None) -> Any:
    """A value that differs, of the same kind: of a choice another one, of nothing what the annotation allows."""
    choices = [choice for choice in _choices(annotation) if choice != value]
    if choices:
        return choices[0]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value + 0.25 if value < 0.5 else value / 2
        case str():
            return f"{value}-other"
        case Path():
            return value / "other"
        case tuple() | list():
            plain = bool(value) and isinstance(value[0], bool | int | float | str)
            return type(value)([another(value[0]), *value[1:]] if plain else [*value, *(value[:1] or ["other"])])
        case Mapping():
            return {} if value else {"other": "1"}
    kinds = _kinds(annotation)
    models = [kind() for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    sample = next((sample for kind, sample in _SAMPLES.items() if kind in kinds), *models or [None])
    assert sample is not None, f"say in another() what differs from {value!r} of {annotation}"
    return sample


_SAMPLES: dict[type, Any] = {Path: Path("other"), int: 7, float: 0.5, str: "other", bool: True}


def _kinds(annotation: Any) -> set[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    return {annotation}


def _choices(annotation: Any) -> list[Any]:
    """The members of the literals in an annotation."""
    return [choice for kind in _kinds(annotation) if get_origin(kind) is Literal for choice in get_args(kind)]
