"""Typed configuration: a pydantic model, an optional YAML file, and `--set key.sub=value` on top.

Every invalid value raises an `InputError` that names it as the user wrote it: `--max-clips`,
`--set 'lfg.loop.steps'`, or the key of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from dawn_bench.errors import InputError, did_you_mean, nearest
from dawn_bench.files import user_path, write_atomic
from dawn_bench.readers import parse_yaml, read_yaml, shortened


class Config(BaseModel):
    """Base of every configuration: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    #: Fields that files of earlier versions lack (`with_later_fields`).
    later: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false, which pydantic reads as 1 and 0, where the field is a number."""
        kinds = _leaves(cls.model_fields[info.field_name or ""].annotation)
        entries = value if isinstance(value, list | tuple) else (value,)
        wrong = [entry for entry in entries if isinstance(entry, bool)]
        if wrong and {int, float} & set(kinds) and not {bool, Any} & set(kinds):
            raise InputError(
                f"{str(wrong[0]).lower()} is not a number.", hint="YAML reads yes, no, on and off as true or false."
            )
        return value

    def to_yaml(self, path: Path) -> None:
        """Write the configuration as a file that `--config` reads."""
        write_atomic(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False).encode())


#: A path that a user writes in an option or a file of settings; it may begin with `~`.
UserPath = Annotated[Path, AfterValidator(user_path)]
C = TypeVar("C", bound=Config)


class Origin(NamedTuple):
    """Where a value was written: a flag (`--max-clips`), or a key of a file or of `--set`."""

    label: str
    key: str = ""
    file: Path | None = None


class Values:
    """Nested values from several sources, and the origin of each. A later source replaces only its own keys."""

    def __init__(self, data: Mapping[str, Any] | None = None, *, what: str = "setting") -> None:
        self.data: dict[str, Any] = dict(data or {})
        self.what = what
        self._origins: dict[tuple[str, ...], Origin] = {}

    def put(self, path: Sequence[str], value: Any, origin: Origin) -> None:
        """Set the value at `path`; a mapping is merged into the mapping that is there."""
        path, nested = tuple(path), value
        for part in reversed(path):
            nested = {part: nested}
        _merge(self.data, nested)
        self._origins = {p: o for p, o in self._origins.items() if p[: len(path)] != path} | {path: origin}

    def validated(self, kind: type[C], *, known: Sequence[str] = (), file: Path | None = None) -> C:
        """The values as a configuration; raises `InputError` for the first key that is unknown or wrong.

        `known` are the keys listed in the error for an unknown key, where they are not the names of the fields; `file`
        is named in the error for a value without an origin.
        """
        try:
            return kind.model_validate(self.data)
        except ValidationError as error:
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a misspelt key comes first
            loc = tuple(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise self.unknown_key(kind, loc, known=known, file=file) from error
            raise self._error(loc, *_problem(kind, first), file=file) from error

    def unknown_key(
        self, kind: type[Config], loc: tuple[str, ...], *, known: Sequence[str] = (), file: Path | None = None
    ) -> InputError:
        """The error for a key that `kind` does not have; it names the same key of a nested configuration, or near ones.

        `known` and `file` are as in `validated`.
        """
        nested = [".".join(path) for path in _paths(kind, self.data) if path[-1] == loc[-1]] if len(loc) == 1 else []
        if nested:
            return self._error(loc, "is not known.", f"Did you mean {' or '.join(nested)}?", file=file)
        here = _model_at(kind, loc[:-1])
        if len(loc) > 1 or not known:
            known = list(here.model_fields) if here is not None else []
        return self._error(loc, "is not known.", nearest(loc[-1], known, label=f"Known {self.what}s"), file=file)

    def _error(self, loc: tuple[str, ...], problem: str, hint: str, *, file: Path | None) -> InputError:
        name, own_file = self.name(loc)
        return InputError(f"{name}: {problem}" if name else problem, path=own_file or file, hint=hint)

    def name(self, loc: tuple[str, ...]) -> tuple[str, Path | None]:
        """The value at `loc` as the user wrote it, and the file that contains it."""
        above = [p for p in self._origins if p == loc[: len(p)]]
        below = [p for p in self._origins if p[: len(loc)] == loc]
        if not loc or not (above or below):
            return (f"{self.what} {'.'.join(loc)!r}" if loc else ""), None
        path = max(above, key=len) if above else below[-1]
        origin = self._origins[path]
        parts = origin.key.split(".")
        key = ".".join((*parts, *loc[len(path) :]) if above else parts[: len(loc)])
        return f"{origin.label} {key!r}" if origin.key else origin.label, origin.file


def split_override(text: str, where: str = "--set") -> tuple[list[str], Any]:
    """Split `key.sub=value` into the parts of the key and the value, read as YAML; raises `InputError`."""
    key, sep, value = text.partition("=")
    shown = f"{where} {shortened(text)!r}"
    if not sep:
        raise InputError(f"{shown} is not of the form key=value.", hint=f"Example: {where} {key.strip()}=VALUE")
    hint = f"Put text into quotes: {where} '{shortened(key)}=\"TEXT\"'"
    return key.strip().split("."), typed_value(value, where=shown, hint=hint)


def typed_value(text: str, *, where: str, hint: str) -> Any:
    """A value typed on the command line, read as YAML; raises `InputError` that begins with `where`."""
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{where}: the value is not valid YAML ({error}).", hint=hint) from error


def resolve_config(default: C, *, file: Path | None = None, overrides: Sequence[str] = (), where: str = "--set") -> C:
    """`default`, updated by a YAML file, updated by `key.sub=value` strings (values are read as YAML).

    Raises `InputError` naming the key when a key is unknown or a value has the wrong type.
    """
    values = Values(default.model_dump())
    given = with_later_fields(type(default), read_yaml(file)) if file is not None else {}
    for key, value in given.items():
        values.put((key,), value, Origin("setting", key, file))
    for text in overrides:
        path, value = split_override(text, where)
        values.put(path, value, Origin(where, ".".join(path)))
    return values.validated(type(default))


def with_later_fields(kind: type[Config], data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file, with the defaults of `Config.later` in each part that an earlier version wrote whole.

    A preset may have other values for these fields; what was begun without them goes on without them.
    """
    parts = {name: field.annotation for name, field in kind.model_fields.items()}
    settings = {
        name: with_later_fields(part, value)
        if isinstance(part := parts.get(name), type) and issubclass(part, Config) and isinstance(value, Mapping)
        else value
        for name, value in data.items()
    }
    missing = set(kind.model_fields) - set(data)
    if missing and missing <= kind.later:
        settings |= {name: kind.model_fields[name].get_default(call_default_factory=True) for name in missing}
    return settings


def validated(kind: type[C], data: Mapping[str, Any], *, what: str = "setting", file: Path | None = None) -> C:
    """`data` as a configuration of one kind; raises `InputError` naming the first key that is unknown or wrong."""
    return Values(data, what=what).validated(kind, file=file)


def replace(config: C, **changes: Any) -> C:
    """A copy of a configuration with some fields changed; raises `InputError` for an unknown or wrong one."""
    return validated(type(config), {name: getattr(config, name) for name in type(config).model_fields} | changes)


def _problem(kind: type[Config], error: ErrorDetails) -> tuple[str, str]:
    """What is wrong with the value of a known key, and what to do."""
    value, loc = error["input"], tuple(map(str, error["loc"]))
    if error["type"] == "missing":
        return "is required.", ""
    if error["type"] == "literal_error":
        choices = [str(v) for v in _literals(kind, loc)]
        hint = nearest(value, choices)
        if not did_you_mean(value, choices) and (meant := _described(value, choices, _description(kind, loc))):
            hint = f"Did you mean {meant}? {hint}"
        return f"there is no {loc[-1].replace('_', ' ')} {value!r}.", hint
    if isinstance(cause := error.get("ctx", {}).get("error"), InputError):
        return cause.what, cause.hint
    if isinstance(cause, Exception):
        return f"{str(cause).rstrip('.')}.", ""
    shown = shortened(repr(value)) if isinstance(value, str | int | float) else "this value"
    return f"{error['msg'].replace('Input', shown, 1)}.", ""


def _described(value: Any, choices: Sequence[str], description: str) -> str:
    """The choice that a description explains with a word near `value`: `none (centred square)`; empty without one."""
    for name, words in re.findall(r"([\w-]+): ([^;.]+)", description):
        if name in choices and get_close_matches(str(value).casefold(), words.casefold().split(), cutoff=0.75):
            return f"{name} ({words.strip()})"
    return ""


def _description(kind: type[Config], loc: Sequence[str]) -> str:
    """The description of the field at `loc`; empty without one."""
    names = [part for part in loc if not part.isdigit()]
    here = _model_at(kind, names[:-1])
    return "" if here is None else here.model_fields[names[-1]].description or ""


def _paths(kind: type[Config], data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of nested configurations, except those that `data` leaves out with None."""
    for name, info in kind.model_fields.items():
        inner = _config_in(info.annotation)
        below = data.get(name, {})
        if inner is not None and below is not None:
            yield from ((name, field) for field in inner.model_fields)
            yield from ((name, *path) for path in _paths(inner, below if isinstance(below, Mapping) else {}))


def _config_in(annotation: Any) -> type[Config] | None:
    """The configuration class that a field's type names."""
    return next((t for t in _types(annotation) if issubclass(t, Config)), None)


def _model_at(kind: type[Config], loc: Sequence[str]) -> type[Config] | None:
    """The configuration class of the field at `loc`."""
    here: type[Config] | None = kind
    for part in loc:
        if here is None or part not in here.model_fields:
            return None
        here = _config_in(here.model_fields[part].annotation)
    return here


def _literals(kind: type[Config], loc: Sequence[str]) -> list[Any]:
    """The values that the `Literal` field at `loc` takes."""
    names = [part for part in loc if not part.isdigit()]
    here = _model_at(kind, names[:-1])
    return (
        []
        if here is None
        else [v for v in _leaves(here.model_fields[names[-1]].annotation) if v not in (None, type(None))]
    )


def _leaves(annotation: Any) -> list[Any]:
    args = get_args(annotation)
    return [leaf for arg in args for leaf in _leaves(arg)] if args else [annotation]


def _types(annotation: Any) -> list[type]:
    return [leaf for leaf in _leaves(annotation) if isinstance(leaf, type)]


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
