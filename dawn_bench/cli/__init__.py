"""The `dawn-bench` command: one file per subcommand, loaded on use.

This package turns flags into jobs and errors into one line; the logic is in the lower layers. `weights`, `cache`,
`methods`, `protocols` and `doctor` are look-ups: they have no job and take no `--config`.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer

from dawn_bench.cli.help_text import help_of
from dawn_bench.cli.job import Group
from dawn_bench.cli.output import JsonFlag, json_output, show
from dawn_bench.errors import EXIT_INTERNAL, EXIT_STOPPED, DawnBenchError, did_you_mean
from dawn_bench.stopping import before_exit, stop_on_signals, stopped_by
from dawn_bench.storage import storage_error
from dawn_bench.terminal import console, echo, show_logs, show_traceback

#: Subcommands by theme in order of typical use; each is a function, or a `Typer` called `app`, of its module.
GROUPS = {
    "Start": {
        "quickstart": "Run everything once, offline, on a small synthetic dataset.",
    },
    "The four steps, and the page": {
        "prepare": "Turn videos into a cache.",
        "train": "Train a model on a cache.",
        "generate": "Generate a talking clip from a portrait and speech.",
        "evaluate": "Generate with each method, score the clips, write the report.",
        "report": "Write the leaderboard of a results folder.",
    },
    "Data and networks": {
        "download": "Download the videos of a published list.",
        "cache": "List, check, count and export a cache.",
        "weights": "List, fetch, verify and add network weights.",
    },
    "DAWN's paper": {
        "reproduce": "Run the rows of a table of the DAWN paper.",
    },
    "Look up": {
        "methods": "List the methods that can be evaluated.",
        "protocols": "List the protocols under which they are scored.",
        "doctor": "Show what is installed and what each component uses.",
        "help": "Show the options of a command, or what the exit codes mean.",
        "completion": "Print the script that completes commands in a shell.",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}
SETTINGS: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}}
#: `UsageError`, the base of what typer raises for an unknown flag or command; typer exports only this subclass.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class Commands(Group):
    """Loads subcommands on demand, so that `dawn-bench --help` imports none of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, the command and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


def load(name: str) -> Any:
    """The command `name` with its flags."""
    from dawn_bench.cli.job import JobCommand

    module = import_module(f"dawn_bench.cli.{name}")
    single = getattr(module, "app", None)
    if single is None:
        single = typer.Typer(add_completion=False)
        single.command(name, cls=JobCommand, **SETTINGS)(getattr(module, name))
    command = typer.main.get_command(single)
    command.name = name
    return command


app = typer.Typer(
    name="dawn-bench",
    cls=Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    **SETTINGS,
    help=(
        "Benchmark of talking-head generation: prepare videos, train models, generate, score, report.\n\n"
        "New here? This runs everything once on a small synthetic dataset, offline, in minutes: "
        "dawn-bench quickstart --out demo\n\n"
        "Without a command: what is in the present folder, and the next command.\n\n"
        "Every job can be configured in a file: defaults < --config FILE < flags < --set key=value. "
        "Results go to standard output, with --json as JSON; progress and notes go to standard error. "
        "Exit codes: dawn-bench help exit-codes"
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from dawn_bench import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
    ),
    json: JsonFlag = False,
) -> None:
    """Options before the subcommand; without one, where the user stands."""
    if debug:
        os.environ["DAWN_BENCH_DEBUG"] = "1"
    if ctx.invoked_subcommand is None:
        from dawn_bench.cli.home import home

        facts, lines = home(Path())
        with json_output(json):
            show(facts, lines)
    elif json:
        raise typer.BadParameter(f"--json stands after the command: {ctx.invoked_subcommand} --json")


def _unloaded() -> None:
    """Never called: `Commands` loads the real command first."""


for _group, _commands in GROUPS.items():
    for _name, _summary in _commands.items():
        app.command(_name, help=_summary, rich_help_panel=_group)(_unloaded)


def main() -> None:
    """Run the command line; errors become one line and an exit code (see `dawn_bench.errors`)."""
    show_logs()
    stop_on_signals()
    try:
        code = app(standalone_mode=False)
    except DawnBenchError as error:
        _stop(error, error.exit_code, prefix="error")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if (refused := storage_error(error)) is not None:
            _stop(refused, refused.exit_code, prefix="error")
        _stop(error, 2, prefix="error", line=f"{error.filename or 'system'}: {error.strerror or error}")
    except USAGE_ERROR as error:
        _usage(error)
    except KeyboardInterrupt:  # while another error was being handled
        _say_stopped()
    except Exception as error:
        if (refused := storage_error(error)) is not None:
            _stop(refused, refused.exit_code, prefix="error")
        line = f"{type(error).__name__}: {error} (this is a bug in dawn-bench; --debug shows where)"
        _stop(error, EXIT_INTERNAL, prefix="internal error", line=line)
    else:
        if code == EXIT_STOPPED:  # typer's exit code for Ctrl-C, and for the signals that act like it
            _say_stopped()
        sys.exit(code or 0)


def _say_stopped() -> NoReturn:
    """One line on what is kept; the exit code is that of the signal."""
    number = stopped_by()
    by = "" if number == signal.SIGINT else f" by {number.name}"
    line = f"stopped{by}: {_kept()} with: {_again()}"
    with suppress(OSError):  # the terminal of a SIGHUP is gone
        console().print(line)
    before_exit()
    sys.exit(128 + number)


def _kept() -> str:
    """What a stopped command leaves: only an export for other tools, whose folder appears whole, leaves nothing."""
    words = {word.rpartition("=")[2] for word in sys.argv[1:]}
    whole = {"cache", "export"} <= words and "inputs" not in words
    return "nothing was written; start again" if whole else "finished work is kept; continue"


def _again() -> str:
    """The command that continues a stopped one: the same, for `train` with --resume."""
    words = [word for word in sys.argv[1:] if word != "--no-resume"]
    resume = ["--resume"] if "train" in words[:2] and "--resume" not in words else []
    return shlex.join(["dawn-bench", *words, *resume])


def _usage(error: Any) -> None:
    """Print a usage error as one line; for a group without a command, its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        echo(help_of(error.ctx.command, error.ctx))
        sys.exit(0)
    where = f" See {error.ctx.command_path} --help." if error.ctx is not None else ""
    text = error.format_message().rstrip(".")
    if (option := getattr(error, "option_name", None)) is not None and error.ctx is not None:
        visible = [p for p in error.ctx.command.get_params(error.ctx) if not getattr(p, "hidden", False)]
        near = did_you_mean(option, [name for param in visible for name in param.opts if name.startswith("--")])
        near = _as_option(option, visible) or near
        text = f"{error.message.rstrip('.')}. {near}".rstrip(". ")
    end = "" if text.endswith("?") else "."
    _stop(error, error.exit_code, prefix="error", line=f"{text[:1].lower()}{text[1:]}{end}{where}")


def _as_option(flag: str, known: list[Any]) -> str:
    """What to type in place of a flag of `generate` in a command that takes the options of a method by name."""
    from dawn_bench.cli.themes import METHOD_OPTIONS

    if flag not in METHOD_OPTIONS or not any("--option" in param.opts for param in known):
        return ""
    return f"Give it to the methods: --option {flag.lstrip('-').replace('-', '_')}=VALUE"


def _stop(error: BaseException, code: int, *, prefix: str, line: str | None = None) -> NoReturn:
    if os.environ.get("DAWN_BENCH_DEBUG") or "--debug" in sys.argv:
        show_traceback(error)
        sys.exit(code)
    text = " ".join(str(line if line is not None else error).split())
    console().print(f"{prefix}: {text}")
    sys.exit(code)
