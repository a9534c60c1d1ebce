"""The `dawn-bench` command: one file per subcommand, no logic here beyond turning errors into one line.

The rooms are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from dawn_bench.errors import EXIT_INTERNAL, EXIT_STOPPED, DawnBenchError
from dawn_bench.progress import console

app = typer.Typer(
    name="dawn-bench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "One benchmark pipeline for talking-head generation: prepare videos, train DAWN, generate, score, report.\n\n"
        "New here? [bold]dawn-bench quickstart --out demo[/bold] runs everything once on a small synthetic dataset, "
        "offline, in a few minutes."
    ),
)

#: Subcommands in the order in which a user meets them; each module has a function of the same name.
COMMANDS = (
    "quickstart", "download", "prepare", "train", "generate", "evaluate", "reproduce",
    "methods", "report", "weights", "cache", "doctor",
)  # fmt: skip
GROUPS = ("weights", "cache")


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if debug:
        os.environ["DAWN_BENCH_DEBUG"] = "1"
    if version:
        from dawn_bench import __version__

        typer.echo(__version__)
        raise typer.Exit


for _name in COMMANDS:
    _module = import_module(f"dawn_bench.cli.{_name}")
    if _name in GROUPS:
        app.add_typer(_module.app, name=_name)
    else:
        app.command(_name)(getattr(_module, _name))


def main() -> None:
    """Run the command line; errors become one line and an exit code (see `dawn_bench.errors`)."""
    try:
        app()
    except DawnBenchError as error:
        _stop(error, error.exit_code, prefix="error")
    except SystemExit as end:
        if end.code == EXIT_STOPPED:  # Typer's answer to Ctrl-C
            console().print(
                "stopped: what was finished is kept; run the same command again to go on (train: with --resume)",
                markup=False,
            )
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _stop(error, 2, prefix="error", line=f"{error.filename or 'system'}: {error.strerror or error}")
    except Exception as error:
        line = f"{type(error).__name__}: {error} (this is a fault of dawn-bench; --debug shows where)"
        _stop(error, EXIT_INTERNAL, prefix="internal error", line=line)


def _stop(error: BaseException, code: int, *, prefix: str, line: str | None = None) -> None:
    if os.environ.get("DAWN_BENCH_DEBUG") or "--debug" in sys.argv:
        raise error
    text = " ".join(str(line if line is not None else error).split())
    console().print(f"{prefix}: {text}", markup=False)
    sys.exit(code)
