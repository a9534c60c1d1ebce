"""Typed configuration: a pydantic model, an optional YAML file, and `--set key.sub=value` on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dawn_bench.errors import InputError


class Config(BaseModel):
    """Base of every configuration: unknown keys are refused, and a config never changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_yaml(self, path: Path) -> None:
        """Write the resolved configuration beside the output that it made."""
        path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


C = TypeVar("C", bound=Config)


def resolve_config(default: C, *, file: Path | None = None, overrides: Sequence[str] = (), where: str = "--set") -> C:
    """`default`, updated by a YAML file, updated by `key.sub=value` strings (values are read as YAML).

    Raises `InputError` naming the key when a key is unknown or a value has the wrong type.
    """
    data = default.model_dump()
    if file is not None:
        try:
            loaded = yaml.safe_load(file.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"cannot be read as YAML ({' '.join(str(error).split())}).", path=file) from error
        if not isinstance(loaded, dict):
            raise InputError("is not a YAML mapping of settings.", path=file)
        _merge(data, loaded)
    for text in overrides:
        key, sep, value = text.partition("=")
        if not sep:
            raise InputError(f"{where} {text!r} is not of the form key=value.", hint="Example: --set steps=500")
        try:
            nested: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"{where} {text!r}: the value is no YAML.", hint="Example: --set steps=500") from error
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        _merge(data, nested)
    return validated(type(default), data, file=file)


def validated(kind: type[C], data: Mapping[str, Any], *, what: str = "setting", file: Path | None = None) -> C:
    """`data` as a configuration of one kind; raises `InputError` naming the first key that is unknown or wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(p) for p in first["loc"])
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):  # from a look-up in a registry
            raise InputError(f"{what} {name!r}: {cause.what}", path=file, hint=cause.hint) from error
        known = ", ".join(kind.model_fields)
        raise InputError(f"{what} {name!r}: {first['msg']}.", path=file, hint=f"Known {what}s: {known}.") from error


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
