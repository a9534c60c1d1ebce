"""Two small files describe how an external method is run.

The adapter (`baselines/adapters/<name>.yaml`, or the user's own) describes the repository: its command as a template,
where its output appears, which folders it writes to, its limits, licence and quirks. The installs file holds what only
the user knows, where it is installed:

    wav2lip:
      python: /envs/wav2lip/bin/python
      repo: /src/Wav2Lip
      weights: {checkpoint: checkpoints/wav2lip_gan.pth}

Templates use `{image}` `{audio}` `{out}` (a folder per item) `{work}` (the working copy, where the command
runs) `{seed}` `{frames}` `{seconds}` `{size}` `{weights[NAME]}` `{options[NAME]}` `{files[NAME]}` `{tracks[NAME]}`.

The whole adapter enters the fingerprint of the method's outputs: a change of any field or text generates them again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from dawn_bench.baselines.base import MethodClass
from dawn_bench.config import Config, validated
from dawn_bench.errors import InputError, nearest
from dawn_bench.names import name_fault

BUNDLED = Path(__file__).parents[1] / "adapters"
#: Environment variables that name the installs file where none is given; the second is that of an earlier release.
INSTALLS_VARIABLE, OLD_INSTALLS_VARIABLE = "DAWN_BENCH_INSTALLS", "DAWN_BENCH_METHODS"


class Limits(Config):
    """What the method accepts, in seconds of sound; items beyond are not run. `timeout` is in seconds of wall time."""

    min_seconds: float = 0.0
    max_seconds: float | None = None
    silent: bool = True
    timeout: float = 1800.0


class Refusal(Config):
    """A repository whose `file` contains `text` is refused; `hint` says what to do."""

    file: str
    text: str
    hint: str


class MatlabTrack(Config):
    """A MATLAB file of per-frame arrays under `keys` (frames first), extended to the item's length by ping-pong."""

    path: str
    keys: tuple[str, ...]


class Adapter(Config):
    """How one external method is run; the fields are those of the YAML file.

    `argv` is the command after the interpreter, `output` a glob pattern that one file must match. `scratch` are folders
    the method writes to, `files` extra text files by name, `weights` paths by name within the repository. `says` maps
    a status to a regular expression searched in the log, `ready` matches the log once the models are loaded.
    """

    name: str
    method_class: MethodClass
    licence: str
    source: str
    commit: str = ""
    argv: tuple[str, ...]
    output: str
    environment: dict[str, str] = Field(default_factory=dict)
    scratch: tuple[str, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)
    tracks: dict[str, MatlabTrack] = Field(default_factory=dict)
    weights: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    limits: Limits = Limits()
    portrait_size: int | None = None
    seeded_launch: bool = False
    changes_crop: bool = False
    refuse: tuple[Refusal, ...] = ()
    says: dict[str, str] = Field(default_factory=dict)
    ready: str | None = None
    quirks: tuple[str, ...] = ()

    @field_validator("files", "tracks")
    @classmethod
    def _plain(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if (fault := name_fault(name)) is not None:
                raise ValueError(f"the name {name!r} {fault}")
        return named

    @field_validator("scratch")
    @classmethod
    def _within(cls, scratch: tuple[str, ...]) -> tuple[str, ...]:
        for name in scratch:
            if not name or name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"the folder {name!r} leads out of the working copy")
        return scratch

    @field_validator("says")
    @classmethod
    def _known(cls, says: dict[str, str]) -> dict[str, str]:
        for status, pattern in says.items():
            if status not in ("no_face", "oom"):
                raise ValueError(f"status {status!r} is not one of no_face, oom")
            re.compile(pattern)
        return says


class Install(Config):
    """Where a method is installed: its interpreter, its repository, and the weights and options that differ."""

    python: Path
    repo: Path
    adapter: str = ""
    weights: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    timeout: float | None = None


def bundled() -> dict[str, Path]:
    """The adapter files bundled with dawn-bench, by method name."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.yaml"))}


def read_adapter(path: Path) -> Adapter:
    """Read one adapter file; raises `InputError` naming the key that is unknown or wrong."""
    return validated(Adapter, _mapping(path), what="key", file=path)


def installs_file(given: Path | None) -> Path | None:
    """The installs file given, or the one that the environment names."""
    named = os.environ.get(INSTALLS_VARIABLE) or os.environ.get(OLD_INSTALLS_VARIABLE)
    return given or (Path(named) if named else None)


def installed_names(path: Path | None) -> list[str]:
    """The methods named in an installs file, unchecked; none without a file."""
    return list(_mapping(path)) if path is not None else []


def installs(path: Path, *, only: str | None = None) -> dict[str, tuple[Adapter, Install]]:
    """The methods of an installs file (or one of them) by name; relative paths start at the file's folder.

    Raises `InputError` for a file that cannot be read, an unknown key or adapter, an interpreter, repository or weight
    that does not exist, or a repository that its adapter refuses.
    """
    checked = {}
    for name, entry in _mapping(path).items():
        if only not in (None, name):
            continue
        if not isinstance(entry, Mapping):
            raise InputError(f"{name!r} is not a mapping.", path=path, hint="Give it `python:` and `repo:`.")
        install = validated(Install, entry, what=f"key of {name}:", file=path)
        checked[name] = _checked(name, install, path)
    return checked


def _checked(name: str, install: Install, path: Path) -> tuple[Adapter, Install]:
    known, base = bundled(), path.absolute().parent
    wanted = install.adapter or name
    file = known.get(wanted, base / wanted)
    if not file.is_file():
        raise InputError(
            f"{name}: there is no adapter {wanted!r}.",
            path=path,
            hint=f"{nearest(wanted, known, label='Bundled')} Or give your own file: adapter: my_method.yaml",
        )
    adapter = read_adapter(file).model_copy(update={"name": name})
    if install.timeout is not None:
        limits = adapter.limits.model_copy(update={"timeout": install.timeout})
        adapter = adapter.model_copy(update={"limits": limits})
    python, repo = base / install.python.expanduser(), base / install.repo.expanduser()
    if not os.access(python, os.X_OK):
        raise InputError(
            f"{name}: {python} is not executable.", path=path, hint="`python:` is the method's interpreter."
        )
    if not repo.is_dir():
        raise InputError(f"{name}: {repo} is not a folder.", path=path, hint=f"Clone {adapter.source} there.")
    for kind, given, allowed in (
        ("weight", install.weights, adapter.weights),
        ("option", install.options, adapter.options),
    ):
        for key in given:
            if key not in allowed:
                raise InputError(f"{name}: {kind} {key!r} is unknown.", path=path, hint=nearest(key, allowed))
    weights = {key: str(repo / given) for key, given in (adapter.weights | install.weights).items()}
    for key, weight in weights.items():
        if not Path(weight).exists():
            raise InputError(f"{name}: {key}: {weight} does not exist.", path=path, hint="See the repository's README.")
    for refusal in adapter.refuse:
        script = repo / refusal.file
        if script.is_file() and refusal.text in script.read_text(errors="replace"):
            raise InputError(f"{name}: {script} contains {refusal.text!r}.", path=path, hint=refusal.hint)
    options = adapter.options | install.options
    return adapter, install.model_copy(update={"python": python, "repo": repo, "weights": weights, "options": options})


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read as YAML ({' '.join(str(error).split())}).", path=path) from error
    if not isinstance(data, dict):
        raise InputError("is not a YAML mapping.", path=path)
    return data
