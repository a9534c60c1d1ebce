"""A command from a job: the fields of the pydantic model become the flags.

`@job_command(Evaluation)` turns a function of an `Evaluation` into a command with one flag per field, `--config FILE`
and `--set key=value`. This module knows no specific command.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from dawn_bench.cli.help_text import help_of
from dawn_bench.cli.output import JSON_HELP, json_output
from dawn_bench.config import Config
from dawn_bench.errors import InputError
from dawn_bench.files import user_path
from dawn_bench.job import FieldFlag, Job, field_flags, read_job
from dawn_bench.progress import ticking

J = TypeVar("J", bound=Job)

HELP_ALL = "--help-all"
CONFIG_HELP = "YAML file with any of these flags as keys. Flags override it."
SET_HELP = "One key of the config file; overrides flags. Repeatable."


class JobFunction(Generic[J]):
    """The function of a command, called with the typed values; `job` parses them without running the command."""

    def __init__(self, run: Callable[..., None], kind: type[J], settings: Callable[[J], Config] | None) -> None:
        self.run, self.kind, self.settings = run, kind, settings
        #: The key of each parameter in `read_job`: the field, or the flag where a field has more than one.
        self.names: dict[str, str] = {}
        parameters = []
        for field in field_flags(kind):
            for number, (flag, annotation, option) in enumerate(_options(field)):
                name = f"{field.field}_{number}" if number else field.field
                self.names[name] = flag if number else field.field
                parameters.append(_parameter(name, annotation, option))
        config = typer.Option("--config", parser=str, metavar="FILE", help=CONFIG_HELP)
        changes = typer.Option("--set", metavar="KEY=VALUE", help=SET_HELP)
        parameters += [_parameter("config", Path | None, config), _parameter("set_", list[str] | None, changes)]
        parameters.append(_parameter("json", bool, typer.Option("--json", help=JSON_HELP), default=False))
        self.__name__, self.__doc__ = run.__name__, run.__doc__
        self.__annotations__: dict[str, Any] = {}  # typer takes the types from the signature
        self.__signature__ = inspect.Signature(parameters)

    def job(
        self, *, config: str | None = None, set_: list[str] | None = None, json: bool = False, **typed: Any
    ) -> tuple[J, Config | None]:
        """The parsed job, and the second configuration of commands that have it; raises `InputError`.

        `json` is of the result, not of the job.
        """
        flags = {self.names[name]: value for name, value in typed.items() if value not in (None, (), [])}
        file = user_path(config) if config else None
        return read_job(self.kind, flags, file=file, overrides=set_ or (), settings=self.settings)

    def __call__(self, *, json: bool = False, **typed: Any) -> None:
        job, settings = self.job(**typed)
        with json_output(json), ticking(self.__name__):
            self.run(job) if settings is None else self.run(job, settings)


def job_command(
    kind: type[J], *, settings: Callable[[J], Config] | None = None
) -> Callable[[Callable[..., None]], JobFunction[J]]:
    """Decorator: turns a function of a job into a command.

    `settings` is a function of the job that returns the defaults of a second configuration. Keys of `--config` and
    `--set` that are not fields of the job set it; the decorated function takes it as second argument.
    """
    return lambda run: JobFunction(run, kind, settings)


class Group(TyperGroup):
    """A group of commands whose help is plain text; all of it is short."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line up to the subcommand."""
        return super().parse_args(ctx, ["--help" if word == HELP_ALL and word == args[0] else word for word in args])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(f"{help_of(self, ctx)}\n")


class OnceCommand(TyperCommand):
    """A command that refuses a flag of one value that is given twice: the parser would keep the last one in silence.

    Its help is plain text, by theme; `--help-all` has the options for special cases too.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(f"{help_of(self, ctx)}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; raises `InputError` naming a repeated flag. Switches may be repeated."""
        if HELP_ALL in args:
            typer.echo(help_of(self, ctx, everything=True))
            raise typer.Exit
        args = self._named_arguments(args)
        order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        single = {p for p in order if p.param_type_name == "option" and not (p.multiple or p.is_flag or p.count)}
        for param, times in Counter(order).items():
            if param in single and times > 1:
                flag = max(param.opts, key=len)
                words = "twice" if times == 2 else f"{times} times"
                raise InputError(f"{flag} is given {words}, and takes one value.", hint="Give it once.")
        return super().parse_args(ctx, args)

    def _named_arguments(self, args: list[str]) -> list[str]:
        """`--cache my-cache` in place of the argument CACHE: what is a flag in one command is one in all of them."""
        flags = {flag for param in self.params for flag in param.opts}
        for param in self.params:
            name = f"--{str(getattr(param, 'metavar', None) or '').lower()}"
            if param.param_type_name != "argument" or param.nargs != 1 or name in flags:
                continue
            parts = [(name, arg[len(name) + 1 :]) if arg.startswith(f"{name}=") else (arg,) for arg in args]
            args = [word for words in parts for word in words]
            if args.count(name) == 1 and args[-1] != name:
                at = args.index(name)
                args = [args[at + 1], *args[:at], *args[at + 2 :]]
        return args

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a look-up shows that it is alive from here on, a job once it is read."""
        if isinstance(self.callback, JobFunction):
            return super().invoke(ctx)
        with ticking(self.name or ""):
            return super().invoke(ctx)


class JobCommand(OnceCommand):
    """A command whose help lists the names in registries, which are read only when help is shown."""

    def name_choices(self) -> None:
        """Put the known names of a registry after the description of its flag."""
        kind = getattr(self.callback, "kind", None)
        fields = {field.field: field for field in field_flags(kind)} if kind is not None else {}
        for param in self.params:
            if param.name in fields:
                param.help = help_text(fields[param.name], names=True)  # type: ignore[attr-defined]


def help_text(field: FieldFlag, *, names: bool) -> str:
    """The description of a field, its known names if the description lacks any of them, and its default."""
    words = field.info.description or ""
    known = field.choices() if names else []
    listed = "" if all(name in words for name in known) else f"Known: {', '.join(known)}."
    return " ".join(text for text in (words, listed, _default(field)) if text)


def _default(field: FieldFlag) -> str:
    """`Default: 128.`, or an empty string where the default is trivial."""
    default = field.info.get_default(call_default_factory=True)
    if field.info.is_required():
        return "Required."
    if field.shape == "switch":
        return "Default: yes." if default else ""
    if default is None or field.shape == "mapping" or default == ():
        return ""
    return f"Default: {','.join(map(str, default)) if field.shape == 'list' else default}."


def _parameter(name: str, annotation: Any, option: Any, *, default: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[annotation, option])


def _options(field: FieldFlag) -> list[tuple[str, Any, Any]]:
    """The flags of a field, first its own: name, type and typer option. The model validates the strings."""
    text = help_text(field, names=False)
    if field.flag.positional:
        return [(field.name, str | None, typer.Argument(metavar=field.name, help=text, show_default=False))]
    named = bool(field.flag.choices) or get_origin(field.of) is Literal
    names: dict[str, Any] = {"show_default": False, "autocompletion": field.choices if named else None}
    options: list[tuple[str, Any, Any]]
    if field.shape == "switch":
        off = field.flag.off or field.name.replace("--", "--no-", 1)
        options = [(field.name, bool | None, typer.Option(f"{field.name}/{off}", help=text, show_default=False))]
    elif field.shape == "value":
        of = field.of if field.of in (int, float, Path) else str
        options = [(field.name, of | None, typer.Option(field.name, parser=str, help=text, **names))]
    else:
        options = [(field.name, list[str] | None, typer.Option(field.name, help=text, **names))]
        if field.flag.off:
            nothing = typer.Option(field.flag.off, help=f"None of {field.name}.", show_default=False)
            options.append((field.flag.off, bool | None, nothing))
    hidden = [(old, str | None, typer.Option(old, hidden=True)) for old in field.old_flags]
    return [*options, *hidden]
