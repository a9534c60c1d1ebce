"""`dawn-bench help`: the commands, one of them, or the exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

#: What each exit code means.
EXIT_CODES = {
    "0": "done",
    "1": "internal error: a bug",
    "2": "wrong input, a full disk or a folder in use: one line says which",
    "3": "done, but some items failed and --strict was given",
    "4": "scored, but a method solved no clip; the other rows are written",
    "130, 143, 129": "stopped by Ctrl-C, SIGTERM, SIGHUP; the same command continues",
}
TOPIC = "exit-codes"


def help(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help=f"A command, as `cache stats`, or {TOPIC}.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the options for special cases.")] = False,
) -> None:
    """Show the commands, the options of one of them, or what the exit codes mean.

    Example: dawn-bench help evaluate
    """
    from dawn_bench.cli.help_text import help_of
    from dawn_bench.errors import unknown_name
    from dawn_bench.terminal import echo, print_table

    if words == [TOPIC]:
        print_table("code", "meaning", rows=EXIT_CODES.items())
        return
    command, context = root()
    for word in words or ():
        known = getattr(command, "commands", {})
        if word not in known:
            raise unknown_name("command", word, [*known, TOPIC] if command.name == "dawn-bench" else known)
        name, command, _ = command.resolve_command(context, [word])
        context = command.context_class(command, parent=context, info_name=name)
    for line in help_of(command, context, everything=everything).splitlines():
        echo(line)


def root() -> tuple[Any, Any]:
    """The command `dawn-bench` and its context."""
    from dawn_bench.cli import app

    command = typer.main.get_command(app)
    return command, command.context_class(command, info_name="dawn-bench", **command.context_settings)
