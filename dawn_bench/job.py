"""Jobs: the settings of one command, declared once as a pydantic model.

A field of a `Job` is a flag of the command line, a key of the config file and a key of `--set`. Its type, default,
bounds and description come from the model; a `Flag` in its annotation adds what a type cannot express::

    class Evaluation(Job):
        cache: Path = Field(description="The cache with the true clips.")
        methods: Annotated[tuple[str, ...], Flag("--method")] = Field(("dawn",), description="Methods to score.")

`read_job` is the only parser. Precedence: defaults < config file < flags < `--set`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from dawn_bench.config import Config, Origin, Values, split_override, typed_value, with_later_fields
from dawn_bench.devices import AUTO, checked_device
from dawn_bench.errors import InputError
from dawn_bench.files import user_path
from dawn_bench.processes import Engine
from dawn_bench.progress import console
from dawn_bench.readers import read_yaml, shortened

J = TypeVar("J", bound="Job")


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line, where its name and type do not determine it.

    Args:
        name: the flag, where it differs from the field's name: `--method` for the field `methods`.
        positional: an argument without a flag.
        off: the flag that disables a switch, or empties a list: `--allow-silent`. Default for switches: `--no-NAME`.
        commas: whether a comma separates the entries of a list.
        adds: the flag's entries are added to those of the config file or the default.
        choices: the names that help lists, usually a registry; read only when help is shown.
        old: deprecated names, flags (`--methods`) and keys (`methods_file`). They still work and print a note.
    """

    name: str | None = None
    positional: bool = False
    off: str | None = None
    commas: bool = True
    adds: bool = False
    choices: Iterable[str] | Callable[[], Iterable[str]] = ()
    old: tuple[str, ...] = ()


class Job(Config):
    """Base of every job. Paths may begin with `~`."""

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values in place of the defaults that follow from the `given` ones, by field: those of a recipe."""
        return {}

    @field_validator("*", mode="after")
    @classmethod
    def _resolved(cls, value: Any, info: ValidationInfo) -> Any:
        """Expand `~`, and look up devices, which imports torch: only where every field before it is valid."""
        if isinstance(value, Path):
            return user_path(value)
        if isinstance(value, Mapping):
            return {k: user_path(v) if isinstance(v, Path) else v for k, v in value.items()}
        if isinstance(value, tuple):
            return tuple(user_path(v) if isinstance(v, Path) else v for v in value)
        names = list(cls.model_fields)
        name = info.field_name or ""
        field = cls.model_fields[name]
        if DEVICE in field.metadata and info.data.keys() >= set(names[: names.index(name)]):
            spread = value == AUTO and not field.validate_default
            return value if spread else checked_device(value)
        return value


#: Marks the field of a job that names a torch device.
DEVICE = object()
#: A torch device. `auto` is resolved when the job is created, or stays where the default is not validated: there the
#: workers are spread over the devices of their machine.
Device = Annotated[str, DEVICE]
#: Where workers run, and the address of their cluster: fields of every job that has workers.
OnEngine = Annotated[Engine, Field(description="loky: this machine; dask or ray: a cluster.")]
OnAddress = Annotated[str | None, Field(description="Scheduler of the cluster: tcp://host:8786.")]
#: The number of workers that generate and score, and the GPUs that have one of their own.
WorkerCount = Annotated[
    int | None,
    Field(
        ge=1,
        description="Number of worker processes, of one core each. Default: number of cores where there is work for "
        "them and memory, else 1; with --devices up to four for each.",
    ),
]
OwnWorkers = Annotated[
    tuple[str, ...],
    Field(description="GPUs of this machine, each with a worker of its own: cuda:0,cuda:1 or all."),
]

Shape = Literal["switch", "list", "mapping", "value"]


@dataclass(frozen=True)
class FieldFlag:
    """One field of a job as the command line sees it. `of` is the type of the value, or of an entry or mapped value."""

    field: str
    flag: Flag
    shape: Shape
    of: Any
    info: FieldInfo

    @property
    def name(self) -> str:
        """The flag as the user types it; for an argument, the field's name in capitals."""
        if self.flag.positional:
            return self.field.upper()
        return self.flag.name or f"--{self.field.replace('_', '-')}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The key in config files and `--set`: the flag's name, or the field's."""
        return tuple(dict.fromkeys((_key(self.name), self.field)))

    @property
    def old_flags(self) -> tuple[str, ...]:
        """Deprecated flags."""
        return tuple(name for name in self.flag.old if name.startswith("--"))

    def choices(self) -> list[str]:
        """The names that help lists."""
        if get_origin(self.of) is Literal:
            return [str(v) for v in get_args(self.of)]
        given = self.flag.choices
        return list(given() if callable(given) else given)


def field_flags(kind: type[Config]) -> list[FieldFlag]:
    """The fields of a job that a flag can set, in order; a field that is a configuration of its own has none."""
    flags = []
    for name, info in kind.model_fields.items():
        shape, of = _shape(info.annotation)
        if isinstance(of, type) and issubclass(of, Config):
            continue
        flag = next((m for m in info.metadata if isinstance(m, Flag)), Flag())
        flags.append(FieldFlag(name, flag, shape, of, info))
    return flags


def read_job(
    kind: type[J],
    flags: Mapping[str, Any],
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    settings: Callable[[J], Config] | None = None,
) -> tuple[J, Config | None]:
    """A job from its config file, its flags and its `--set` arguments; later sources win.

    Args:
        flags: the typed values by field: a string, a list of strings for lists and mappings, a bool for switches.
            Fields that were not given are absent or None. Old flags and a list's `off` flag go by their own names.
        settings: for commands with a second configuration (`train`: the preset's settings), a function from the job
            to its defaults. It receives the keys that the job does not have, and is returned second.

    Raises `InputError` naming the first value that is unknown, wrong or missing, as the user wrote it.
    """
    fields = field_flags(kind)
    by_key = {key: f for f in reversed(fields) for key in f.keys}
    by_old = {key: f for f in fields for old in f.flag.old for key in (_key(old),) if key not in by_key}
    job = Values()
    rest: list[tuple[Sequence[str], Any, Origin]] = []

    def put(path: Sequence[str], value: Any, origin: Origin) -> None:
        key = _key(path[0])
        field = by_key.get(key)
        if field is None and (field := by_old.get(key)) is not None:
            renamed(path[0], field.keys[0])
        if field is None and settings is not None:
            rest.append((path, value, origin))
        elif field is None:
            job.put(path, value, origin)  # refused below, with every other unknown key
        else:
            if field.shape == "list" and isinstance(value, str) and len(path) == 1:
                value = _entries(field, [value])
            job.put((field.field, *path[1:]), value, origin)

    for key, value in read_yaml(file).items() if file is not None else ():
        put((key,), value, Origin("setting", key, file))
    changes = [split_override(text) for text in overrides]
    single = {by_key[key].field: value for parts, value in changes if (key := _key(parts[0])) in by_key}
    defaults = kind.defaults({**job.data, **flags, **single})
    for field in fields:
        for old in field.old_flags:
            if flags.get(old) is not None:
                renamed(old, field.name)
                if flags.get(field.field) is not None and field.shape == "value":
                    raise InputError(f"{field.name} is given twice, once as {old}.", hint="Give it once.")
                _check_old_flag(field, old, flags[old], by_key=by_key)
                _put_flag(job, field, flags[old], Origin(old), defaults=defaults)
        if flags.get(field.field) is not None:
            _put_flag(job, field, flags[field.field], Origin(field.name), defaults=defaults)
        if field.shape == "list" and field.flag.off and flags.get(field.flag.off):
            job.put((field.field,), [], Origin(field.flag.off))
    for parts, value in changes:
        put(parts, value, Origin("--set", ".".join(parts)))

    for field in fields:
        if field.info.is_required() and field.field not in job.data:
            first, stop, _ = (field.info.description or "").partition(". ")
            raise InputError(f"{field.name} is required: {_first_lower(first)}{stop.strip()}".rstrip(": "))
    keys = [field.keys[0] for field in fields]
    for key in job.data:
        if key not in kind.model_fields:  # before the validators, which read registries and import torch
            raise job.unknown_key(kind, (key,), known=keys)
    result = job.validated(kind, known=keys)
    if settings is None:
        return result, None
    others = settings(result)
    values = Values(others.model_dump())
    for path, value, origin in rest:
        stage = _stage(path[0], others)
        if len(path) == 1:
            value = with_later_fields(type(others), {stage: value})[stage]
        values.put((stage, *path[1:]), value, origin)
    return result, values.validated(type(others), known=[*type(others).model_fields, *keys])


def _check_old_flag(field: FieldFlag, old: str, given: Any, *, by_key: Mapping[str, FieldFlag]) -> None:
    """Refuse a name after an old flag that takes a file: `--methods wav2lip` was meant as `--method wav2lip`."""
    near, path = by_key.get(_key(old)), Path(given)
    if field.of is Path and near is not None and not path.suffix and not path.expanduser().exists():
        raise InputError(f"{old} {given!r} is not a file.", hint=f"Did you mean {near.name} {given}?")


def _put_flag(job: Values, field: FieldFlag, given: Any, origin: Origin, *, defaults: Mapping[str, Any]) -> None:
    """Set the value typed after a flag; `defaults` are those of `Job.defaults`."""
    if field.shape == "list":
        if not (entries := _entries(field, given)):
            what = f"{field.name} {shortened(','.join(given))!r} names nothing."
            raise InputError(what, hint="Leave it out, or name something.")
        default = defaults.get(field.field, field.info.get_default(call_default_factory=True)) or ()
        before = job.data.get(field.field, default) if field.flag.adds else ()
        job.put((field.field,), [*before, *entries], origin)
    elif field.shape == "mapping":
        keys = [text.partition("=")[0].strip() for text in given]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise InputError(f"{field.name} {shortened(twice[0])} is given twice.", hint="Give it once.")
        for text in given:
            key, sep, value = text.partition("=")
            where = f"{field.name} {shortened(text)!r}"
            if not sep:
                raise InputError(f"{where} is not of the form name=value.")
            read = value
            if field.of not in (str, Path):
                quoted = f"{field.name} '{shortened(key)}=\"TEXT\"'"
                read = typed_value(value, where=where, hint=f"Put text into quotes: {quoted}")
            job.put((field.field, key.strip()), read, origin)
    else:
        job.put((field.field,), given, origin)


def _entries(field: FieldFlag, texts: Sequence[str]) -> list[str]:
    if not field.flag.commas:
        return list(texts)
    return [entry.strip() for text in texts for entry in text.split(",") if entry.strip()]


def _shape(annotation: Any) -> tuple[Shape, Any]:
    """The shape of a field's type, and the type of its value, entry or mapped value; `X | None` counts as X.

    `X | tuple[X, ...]` is a list: the flag may be repeated, and the model decides what one entry becomes.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(inner) == 2 and get_args(inner[1]) == (inner[0], ...):
            inner = inner[1:]
        return _shape(inner[0]) if len(inner) == 1 else ("value", str)
    if annotation is bool:
        return "switch", bool
    if annotation is Any:
        return "value", str
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping", args[1]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return "list", args[0]
    return "value", annotation


def renamed(old: str, new: str) -> None:
    """Print a note that a flag or key was renamed."""
    console().print(f"note: {old} is called {new} now; the old name goes away in the next release")


def _stage(key: str, settings: Config) -> str:
    """A key of the second configuration; the stage `a2v-1` may be written like its name or like its field, `a2v_1`."""
    field = _key(key)
    return field if field in type(settings).model_fields else key


def _key(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def check_address(engine: str, address: str | None) -> None:
    """Raise `InputError` for the address of a cluster where none is used."""
    if address is not None and engine == "loky":
        what = f"--address {address} is of a cluster, and --engine is loky, which is this machine."
        raise InputError(what, hint="Give --engine dask or --engine ray with it.")
